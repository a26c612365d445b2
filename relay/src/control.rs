//! The control socket: a unix socket through which a person sees and moves the queue (`postern queue`).
//!
//! One JSON object a line, both ways, each with the version of this protocol. A request is answered by any number of
//! lines, the last of which is `done` or `failed`. Whoever may open the socket has authority over the queue: it has mode
//! 0600, and nothing here listens on the network.
//!
//! Requests are bounded in size and number, and go on beside delivery: the queue is copied, then messages are read one by
//! one, as fast as the client takes the answers.

mod client;
mod server;
mod socket;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Origin, Remote};
use crate::queue_id::QueueId;
pub use client::{Answers, Client, ClientError};
pub use server::serve;
pub use socket::{Socket, SocketError};

/// The version of the protocol. A relay answers no other one.
pub const VERSION: u32 = 1;

/// One line to the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What is wanted.
    pub command: Command,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Command {
    /// Each message of the queue, by id: [`Answer::Message`].
    List {},
    /// One message with its header: [`Answer::Detail`].
    Show {
        /// Which.
        id: QueueId,
    },
    /// These messages are due now: [`Answer::Retried`].
    Retry(Which),
}

/// Some messages of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Which {
    /// All.
    All {},
    /// These.
    Ids(Vec<QueueId>),
    /// Those with a pending recipient in this domain.
    To(String),
}

/// One line from the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// [`VERSION`].
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
    /// How many messages are due now.
    Retried {
        /// Their number.
        messages: usize,
    },
    /// The last line: it was done.
    Done {},
    /// The last line: why it was not.
    Failed(String),
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
}

/// One message with its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// As in the queue.
    pub message: Message,
    /// The header section as it will be sent. What is not UTF-8 is replaced.
    pub header: String,
}

#[cfg(test)]
mod tests;
