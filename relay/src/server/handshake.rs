//! TLS on a connection: the handshake within its time, and what it has shown.

use std::io;

use tokio::time::Instant;

use super::connection::Connection;
use super::proof::Proof;
use super::wire::{Gone, Unsecured};
use crate::metrics::{Handshake, Shaken};

impl Connection {
    /// Lets the client begin TLS; it stands afterwards, or the connection is over. Nothing can be told to a client that is
    /// in the middle of a handshake, so whoever fails finds out why in the log. Meanwhile its place may be given away.
    pub(super) async fn secure(&mut self) -> Result<(), Gone> {
        let config = match &self.port.acceptor {
            Some(acceptor) => acceptor.config(&self.server.live.load().authorities),
            None => return Err(Gone::Told), // nobody offers it then
        };
        let secured = match config {
            Ok(config) => {
                let deadline = Instant::now() + self.server.limits.handshake_time;
                self.seat.idle(Instant::now());
                self.wire.secure(config, deadline, self.seat.asked_to_leave()).await
            }
            Err(error) => Err(Unsecured::Failed(io::Error::other(error))),
        };
        self.seat.busy();
        let result = if secured.is_ok() { Shaken::Ok } else { Shaken::Failed };
        self.server.metrics.server().tls_handshakes.get_or_create(&Handshake { result }).inc();
        if let Err(why) = secured {
            self.note_unsecured(&why);
            return Err(Gone::Told);
        }
        if let Some(tls) = self.wire.tls() {
            self.desk.proven(Proof::new(tls));
        }
        Ok(())
    }

    fn note_unsecured(&self, why: &Unsecured) {
        let reason = match why {
            Unsecured::Late => "not over in time".to_owned(),
            Unsecured::Interrupted => "its place was needed".to_owned(),
            Unsecured::Failed(error) => error.to_string(),
        };
        match why {
            // Whoever only looks whether somebody listens need not be told of.
            Unsecured::Failed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::debug!(client = %self.client, "the client has closed the connection during its TLS handshake");
            }
            _ => {
                let proxy = self.proxy.map(tracing::field::display);
                tracing::info!(client = %self.client, proxy, reason, decision = "tls-handshake", "connection closed");
            }
        }
    }
}
