//! What one message may be, and the refusals at its limits.

use crate::smtp::Reply;
use crate::smtp::reply::Enhanced;

/// The limits of one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message.
    pub message_size: u64,
    /// Recipients of one transaction.
    pub recipients: usize,
    /// Received header fields.
    pub hops: u32,
}

/// RFC 1870, section 6.
pub(super) fn too_large(size: u64, limit: u64) -> Reply {
    let text = format!("the message has {size} octets, at most {limit} are taken");
    Reply::new(552, Enhanced(5, 3, 4), text)
}

/// RFC 5321, section 4.5.3.1.10: temporary, so that the client sends the rest in another transaction.
pub(super) fn too_many_recipients(limit: usize) -> Reply {
    let text = format!("too many recipients: at most {limit} for one message, send the others in another one");
    Reply::new(452, Enhanced(4, 5, 3), text)
}

/// RFC 5321, section 6.3.
pub(super) fn looping(hops: u32, limit: u32) -> Reply {
    let text = format!("the message is looping: it has passed {hops} relays, at most {limit} are allowed");
    Reply::new(554, Enhanced(5, 4, 6), text)
}
