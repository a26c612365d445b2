//! What the relay answers.

use jiff::Timestamp;
use postern_wire::Status;
use serde::{Deserialize, Serialize};

use super::ask::State;
use super::octets::Octets;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Envelope, Origin, Remote};
use crate::queue_id::QueueId;
use crate::spool::Standing as Recipient;

/// One line from the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// What it says.
    pub answer: Answer,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// One message of the queue.
    Message(Box<Message>),
    /// One message with its header.
    Detail(Box<Detail>),
    /// How many there are.
    Counted {
        /// Their number.
        messages: usize,
    },
    /// One destination of a summary.
    Row(Row),
    /// To how many something was done.
    Changed {
        /// To so many.
        messages: usize,
        /// Not to so many, which are in an attempt.
        busy: usize,
    },
    /// A message of which the content follows.
    Exported(Box<Exported>),
    /// A piece of content.
    Content(Octets),
    /// A message that cannot be given, or not whole.
    Skipped {
        /// Which.
        id: QueueId,
        /// Why.
        reason: String,
    },
    /// Content may come.
    Ready {},
    /// A message is here, and held.
    Imported {
        /// Which.
        id: QueueId,
        /// `false`: it was here before.
        new: bool,
    },
    /// How the relay stands.
    Status(Box<Standing>),
    /// So many messages were looked at so far: a sign of life.
    Progress {
        /// Their number.
        messages: usize,
    },
    /// The last line: it was done.
    Done {},
    /// The last line: why it was not.
    Failed(String),
}

/// How a relay stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// What it enforces and how much waits, as `/status` says it.
    pub status: Status,
    /// Why no mail should be sent to it now, as `/readyz` says it. Absent: it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// Octets of its spool.
    pub octets: u64,
    /// Damaged pieces of the spool that were set aside since its start.
    #[serde(default)]
    pub corrupt: u64,
    /// Whether it refuses new mail for want of room.
    #[serde(default)]
    pub full: bool,
    /// RelayHosts that cannot be reached, sorted by name; at most [`Unreachable::TOLD_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<Unreachable>,
    /// What is wrong with the certificates that clients are shown; a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

/// RelayHosts that cannot be reached: what goes there waits, and is not tried one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    /// Their names, in the order in which they are tried: `exchange-a, exchange-b`.
    pub name: String,
    /// What the last attempt heard.
    pub problem: Remote,
    /// Failed attempts in a row.
    pub failures: u32,
    /// When it is tried again.
    pub next_probe: Timestamp,
}

impl Unreachable {
    /// How many are told.
    pub const TOLD_MAX: usize = 100;
}

/// One message of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: QueueId,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// Octets of its content.
    pub size: u64,
    /// How it stands.
    pub state: State,
    /// Its sender; empty for `<>`.
    pub sender: ReversePath,
    /// By which right it is here.
    pub origin: Origin,
    /// Recipients that are delivered or given up.
    pub settled: usize,
    /// Those that are not.
    pub pending: Vec<Pending>,
}

/// A recipient that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Its address.
    pub recipient: Mailbox,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again.
    pub due: Timestamp,
    /// Whether it is being tried now.
    pub trying: bool,
    /// What the last attempt heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Remote>,
    /// Where it goes now, and what stands in its way.
    pub destination: Destination,
}

/// Where mail goes, and what stands in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Names of its RelayHosts, the preferred ones first. Empty: it has no route now.
    pub hosts: Vec<String>,
    /// Why all mail for it waits: none of its servers could be reached, or there is no route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Remote>,
    /// When its servers are tried again, if they could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<Timestamp>,
}

/// One message with its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// As in the queue.
    pub message: Message,
    /// All that travels beside the content.
    pub envelope: Envelope,
    /// The header section as it will be sent. What is not UTF-8 is replaced.
    pub header: String,
}

/// The upper bounds of the ages of a [`Row`], in minutes; the last number of a row is for what is older.
pub const AGES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// One destination of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Recipients that are not settled.
    pub recipients: u64,
    /// The same by the age of their messages: see [`AGES`].
    pub ages: [u64; AGES.len() + 1],
}

/// The version of the form in which messages are exported.
pub const FORMAT: u32 = 1;

/// A message on its way from one spool to another: all of it but its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exported {
    /// [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: QueueId,
    /// Octets of its content.
    pub size: u64,
    /// All that travels beside the content.
    pub envelope: Envelope,
    /// How each recipient of the envelope stands.
    pub recipients: Vec<Recipient>,
}
