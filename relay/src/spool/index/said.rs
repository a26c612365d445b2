//! What the records of the log say about messages, as JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Outcome, Remote};
use crate::spool::record::Kind;

/// What an Outcome record says: one for each recipient of an attempt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct Settled {
    pub(in super::super) recipient: u32,
    pub(super) attempts: u32,
    pub(super) outcome: Kept,
}

/// What the log keeps of an outcome: a reply only while somebody may still ask for it. Of the others it is in the
/// relay's log, and in the notification.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Kept {
    Delivered,
    Failed,
    Deferred { remote: Remote, until: Timestamp },
}

impl From<Outcome> for Kept {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered(_) => Self::Delivered,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Deferred { remote, until } => Self::Deferred { remote, until },
        }
    }
}

/// What a Copy record says in place of the envelope.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Copied {
    pub(super) envelope: Envelope,
    pub(super) recipients: Vec<Standing>,
}

/// How a recipient stands, for whoever keeps a message elsewhere: a copy, or another relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standing {
    /// Settled for good.
    pub done: bool,
    /// How many attempts were settled.
    pub attempts: u32,
    /// Not before this.
    pub due: Timestamp,
    /// What the last attempt heard.
    pub last: Option<Remote>,
}

/// What the record of a message says in place of the envelope.
pub(in super::super) fn json(envelope: &Envelope, recipients: Option<&[Standing]>) -> serde_json::Result<Vec<u8>> {
    /// As [`Copied`], borrowed.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Copying<'a> {
        envelope: &'a Envelope,
        recipients: &'a [Standing],
    }
    match recipients {
        Some(recipients) => serde_json::to_vec(&Copying { envelope, recipients }),
        None => serde_json::to_vec(envelope),
    }
}

/// The envelope in the record of a message.
pub(in super::super) fn envelope(kind: Kind, octets: &[u8]) -> Result<Envelope, serde_json::Error> {
    match kind {
        Kind::Copy => serde_json::from_slice::<Copied>(octets).map(|copied| copied.envelope),
        Kind::Put | Kind::PutFile | Kind::Outcome | Kind::Mark => serde_json::from_slice(octets),
    }
}
