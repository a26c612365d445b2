//! SMTP as a server: takes connections, drives a session on each, hands messages to the spool.
//!
//! It decides nothing: the session asks, the rules in force answer, the spool keeps. A panic in one connection ends that
//! connection. Every wait has a deadline, and everything that a client can make grow has a limit.
//!
//! A client that talks before the greeting is not delayed for it: what it sent is read after the greeting was queued, so
//! replies are never out of order. But whoever goes on behind EHLO without its answer is closed, as everyone is who talks
//! behind a command that ends a group (RFC 2920): no message can come in before its client has listened.

mod arrival;
mod connection;
mod desk;
mod handshake;
mod listener;
mod prefixed;
mod proof;
mod seats;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use listener::{Listener, run};

use crate::config::{Live, LiveNames};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::policy::client::Networks;
use crate::queue_id::QueueId;
use crate::smtp::session::{self, Stored};
use crate::spool::{Receipt, Spool};
use crate::tls::Acceptor;

/// What all connections share.
pub struct Server {
    /// What we call ourselves, in the greeting and in Received.
    pub hostname: Arc<str>,
    /// The settings in force, asked at each connection, EHLO and MAIL. A transaction keeps those that it began with.
    pub live: Live,
    /// What the names in them stand for now, asked at each connection and MAIL.
    pub names: LiveNames,
    /// Where messages go.
    pub spool: Spool,
    /// Those whose PROXY header says who the client is.
    pub trusted_proxies: Networks<()>,
    /// Those that no address makes a source: something in between may hide behind it who the client is.
    pub never_sources: Networks<()>,
    /// The limits of this process.
    pub limits: Limits,
    /// Where it counts.
    pub metrics: Metrics,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// What the connections of one listener share.
#[derive(Debug)]
struct Port {
    /// Absent: there are no certificates, and never will be.
    acceptor: Option<Acceptor>,
    /// TLS comes before anything else.
    implicit: bool,
}

impl Port {
    fn can_secure(&self) -> bool {
        self.acceptor.as_ref().is_some_and(Acceptor::is_ready)
    }
}

impl Server {
    fn session_limits(&self) -> session::Limits {
        let Limits { errors, refusals, idle_commands, chunk, .. } = self.limits;
        session::Limits { errors, refusals, idle_commands, chunk }
    }
}

/// The only proof on which a session says `250` to a message.
impl Stored for Receipt {
    fn id(&self) -> QueueId {
        self.id()
    }
}

#[cfg(test)]
mod tests;
