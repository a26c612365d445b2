//! What travels beside a message's content (RFC 5321, section 2.3.1), and what becomes of it.

use std::collections::BTreeMap;
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
    /// Whether the content was declared BINARYMIME (RFC 3030): it is no sequence of lines, and goes only by BDAT.
    #[serde(default, skip_serializing_if = "is_false")]
    pub binary: bool,
    /// Whether sender or header need SMTPUTF8 (RFC 6531). A recipient that needs it shows it by its own address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub utf8: bool,
    /// What the client asked about notifications. Absent: nothing, so failures are reported and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn: Option<Box<Dsn>>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What a client asked about notifications (RFC 3461), in decoded form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dsn {
    /// ENVID: the sender's own name for the message, printable ASCII, at most 100 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// RET: how much of the message comes back with a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// By the recipient's place in the envelope; those without a wish are not here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipients: BTreeMap<u32, RecipientDsn>,
}

/// RET (RFC 3461, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Return {
    /// `FULL`: the whole message, as far as the limit of what is returned allows.
    Full,
    /// `HDRS`: its header only.
    Headers,
}

/// What was asked about one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecipientDsn {
    /// NOTIFY (RFC 3461, section 4.1). Absent: failures, and delays where we warn anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461, section 4.2): to whom the message was addressed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
}

/// When a sender wants to hear about a recipient. None of them: `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

/// ORCPT in decoded form: both parts printable, at most 500 octets together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OriginalRecipient {
    /// The kind of address: `rfc822`, `utf-8`.
    pub kind: String,
    /// The address, never interpreted.
    pub address: String,
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
