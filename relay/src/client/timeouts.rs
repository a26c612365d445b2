//! How long the other end may take (RFC 5321, section 4.5.3.2). Each is the time for the whole of a step, not between two
//! octets: a slow drip does not move it.

use std::time::Duration;

use crate::limits::Limits;

/// The values in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection, and again for a TLS handshake.
    pub connect: Duration,
    /// For one reply: the greeting, or to a command.
    pub reply: Duration,
    /// For the next 64 KiB of a message to be taken.
    pub send: Duration,
    /// For the reply to the final dot. Giving up here can make a duplicate.
    pub end: Duration,
}

impl From<&Limits> for Timeouts {
    fn from(limits: &Limits) -> Self {
        Self {
            connect: limits.connect_time,
            reply: limits.delivery_reply_time,
            send: limits.delivery_send_time,
            end: limits.delivery_final_time,
        }
    }
}
