//! What a person may ask.

use serde::{Deserialize, Serialize};

use super::VERSION;
use super::answer::Exported;
use super::octets::Octets;
use crate::queue_id::QueueId;

/// One line to the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// What is wanted.
    pub command: Command,
}

impl Request {
    /// What a line asks for.
    ///
    /// # Errors
    /// A sentence for whoever wrote it.
    pub(super) fn read(line: &[u8]) -> Result<Command, String> {
        /// Only the version, so that a newer request is named so.
        #[derive(Deserialize)]
        struct Peek {
            version: u32,
        }
        let malformed = |error: serde_json::Error| format!("not a request: {error}");
        let Peek { version } = serde_json::from_slice(line).map_err(malformed)?;
        if version != VERSION {
            return Err(format!("this relay speaks version {VERSION} of the control protocol, not {version}"));
        }
        let Self { version: _, command } = serde_json::from_slice(line).map_err(malformed)?;
        Ok(command)
    }
}

/// What is wanted. All but the three before the last are answered beside what else goes on; an import belongs to its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Command {
    /// Messages of the queue: [`Answer::Message`](super::Answer::Message) for each.
    List(List),
    /// How many there are: [`Answer::Counted`](super::Answer::Counted).
    Count(Filter),
    /// One message with its header: [`Answer::Detail`](super::Answer::Detail).
    Show {
        /// Which.
        id: QueueId,
    },
    /// Their number by destination and age: [`Answer::Row`](super::Answer::Row) for each destination.
    Summary {
        /// Which messages.
        filter: Filter,
        /// What makes a row.
        by: By,
    },
    /// Does something to messages: [`Answer::Changed`](super::Answer::Changed).
    Act {
        /// What.
        act: Act,
        /// To which.
        filter: Filter,
    },
    /// Messages, whole: [`Answer::Exported`](super::Answer::Exported) for each, and then its content in pieces, as many
    /// octets as it said; or [`Answer::Skipped`](super::Answer::Skipped) instead of that, or of what is left of it.
    Export(Filter),
    /// A message from elsewhere, which will be held. [`Answer::Imported`](super::Answer::Imported) says that it is here
    /// already; [`Answer::Ready`](super::Answer::Ready), that its content may come.
    Import(Box<Exported>),
    /// The next piece of its content.
    Piece(Octets),
    /// That was the last: [`Answer::Imported`](super::Answer::Imported).
    End {},
    /// How the relay stands: [`Answer::Status`](super::Answer::Status).
    Status {},
}

/// What is done to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Due now.
    Retry,
    /// Kept from delivery, through restarts.
    Hold,
    /// No longer kept.
    Release,
    /// Gone; nobody is told. A message that is in an attempt is not deleted.
    Delete,
}

impl Act {
    /// The word for it in the log.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Delete => "deleted",
        }
    }
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct List {
    /// Which messages.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// The other way round.
    pub reverse: bool,
    /// No more than so many.
    pub limit: Option<u64>,
}

/// In which order messages are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// The oldest first.
    #[default]
    Age,
    /// The largest first.
    Size,
    /// What is tried next first.
    Next,
    /// What was tried most often first.
    Attempts,
}

/// What makes a row of a summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// The recipient's domain.
    #[default]
    Domain,
    /// The hosts that its mail goes to.
    Host,
    /// The sender's domain.
    Sender,
}

/// Which messages: those for which all that is said is true. Nothing said: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// One of these; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<QueueId>,
    /// An address, `@domain`, or `<>` for the empty sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// An address or `@domain`: that of a recipient that is not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The domain of a recipient that is not settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The name of a RelayHost that such a recipient's mail goes to now, or of a server that it was last tried at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Accepted more than so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Accepted less than so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than: Option<u64>,
}

impl Filter {
    /// Whether nothing is said.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It waits for its time, or its turn.
    Waiting,
    /// One of its recipients is in an attempt.
    Trying,
    /// A person keeps it.
    Held,
}
