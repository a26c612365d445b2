//! What travels beside a message's content (RFC 5321, section 2.3.1), and what becomes of it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{Mailbox, ReversePath};
use crate::queue_id::QueueId;

/// The envelope as the spool keeps it, JSON in the record. It never changes once it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// When the message was accepted: its lifetime counts from here.
    pub arrived: Timestamp,
    /// To whom failures are reported.
    pub sender: ReversePath,
    /// In the order of RCPT, at least one. A recipient is known by its place in this list from here on.
    pub recipients: Vec<Mailbox>,
    /// Who handed it in, and by which right.
    pub origin: Origin,
    /// Whether the content needs 8BITMIME (RFC 6152): the client declared it, or an octet above 127 was seen.
    pub eight_bit: bool,
}

/// By which right a message is in the spool. Its route is asked again at each attempt, and depends on this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Origin {
    /// From anyone, to our domains only.
    Outsider {
        /// The client.
        client: IpAddr,
    },
    /// From a RelayHost's sources, sending as one of our domains.
    #[serde(rename_all = "camelCase")]
    Source {
        /// The client.
        client: IpAddr,
        /// The name of the host section whose sources hold the client.
        host: String,
        /// The domain of ours that it sends as (the sender's, or header From's for the null sender): its outbound route.
        domain: String,
    },
    /// Made here: a notification about another message (RFC 3464).
    Notification {
        /// The message that it is about.
        about: QueueId,
        /// The domain of ours whose mail failed: its bounce route. Absent: there is none; delivered only to our domains.
        domain: Option<String>,
    },
}

/// What became of one recipient in one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// The next hop has taken it.
    Delivered(Remote),
    /// Not now: again at `until`.
    Deferred {
        /// Who said what.
        remote: Remote,
        /// When it is tried again.
        until: Timestamp,
    },
    /// Never: reported to the sender, with its own receipt, before this outcome is settled.
    Failed(Remote),
}

/// Who said what about a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remote {
    /// The next hop that was asked, as `name[address]:port`; empty when none was (no route, expired).
    pub server: String,
    /// Its reply on one line, printable ASCII, at most 500 octets, or our own sentence about why there is none.
    pub reply: String,
    /// The enhanced status code (RFC 3463) that a notification reports: `5.1.1`.
    pub status: String,
}
