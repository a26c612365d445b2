//! Who comes: the client itself, or through a trusted proxy whoever its PROXY header names.
//!
//! A trusted proxy that sends no header in its time, or names nobody, is served as itself, but no address makes it a source:
//! a load balancer that hides addresses must not open the relay. From anyone else such a header is a line of another protocol.

use tokio::time::Instant;

use super::connection::Connection;
use super::wire::{Gone, Waited};
use crate::metrics::{self, Why};
use crate::smtp::proxy::{Begins, Ends, begins};

impl Connection {
    /// Before anything is said, TLS included. Meanwhile its place may be given away.
    pub(super) async fn introduce(&mut self) -> Result<(), Gone> {
        let peer = self.client;
        let mut masked = false;
        if self.server.trusted_proxies.hold(peer) {
            match self.header().await? {
                Some(Ends { client, local }) => {
                    (self.client, self.proxy) = (client, Some(peer));
                    self.desk.introduced(client, local, peer);
                }
                None => masked = true,
            }
        }
        if masked || self.server.never_sources.hold(self.client) {
            self.desk.masked();
        }
        Ok(())
    }

    /// For whom a trusted proxy connects, if it says so.
    async fn header(&mut self) -> Result<Option<Ends>, Gone> {
        let deadline = Instant::now() + self.server.limits.proxy_header_time;
        loop {
            match begins(self.wire.octets()) {
                Begins::Undecided => {
                    self.seat.idle(Instant::now());
                    let waited = self.wire.fill(deadline, self.seat.asked_to_leave()).await;
                    self.seat.busy();
                    match waited? {
                        Waited::Read => {}
                        Waited::Late => return Ok(None),
                        Waited::Interrupted => return Err(Gone::Told),
                    }
                }
                Begins::Otherwise => return Ok(None),
                Begins::Header(length, ends) => {
                    self.wire.consume(length);
                    return Ok(ends);
                }
                Begins::Broken(reason) => {
                    let why = metrics::Closed::Protocol;
                    self.server.metrics.server().closed.get_or_create(&Why { why }).inc();
                    tracing::info!(client = %self.client, reason, decision = "proxy-header", "connection closed");
                    return Err(Gone::Told);
                }
            }
        }
    }
}
