//! What the spool tells about its messages.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::index::Due;
use crate::envelope::{Envelope, Remote};
use crate::queue_id::QueueId;

/// A message that may be due: one for each recovered at start, for each commit, for each that a person retries, and for
/// each claim that was dropped unsettled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its id.
    pub id: QueueId,
    /// When the first of its recipients is due.
    pub due: Timestamp,
}

/// The queue of arrivals. It is unbounded, by what the spool holds.
#[derive(Debug)]
pub struct Arrivals {
    /// Those recovered at the start, the first ones first, and the time of the start.
    pub(super) recovered: std::vec::IntoIter<(Due, QueueId)>,
    pub(super) start: Timestamp,
    pub(super) since: mpsc::UnboundedReceiver<Arrival>,
}

impl Arrivals {
    /// The next one; `None` when the spool is gone. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Arrival> {
        match self.recovered() {
            Some(arrival) => Some(arrival),
            None => self.since.recv().await,
        }
    }

    /// The next one, if it is there already.
    pub fn try_next(&mut self) -> Option<Arrival> {
        self.recovered().or_else(|| self.since.try_recv().ok())
    }

    fn recovered(&mut self) -> Option<Arrival> {
        let Some((due, id)) = self.recovered.next() else {
            // The last one was taken: the list goes.
            self.recovered = Vec::new().into_iter();
            return None;
        };
        Some(Arrival { id, due: Timestamp::from(due).max(self.start) })
    }
}

/// A message that waits, with those of its recipients that are pending and not claimed.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its id.
    pub id: QueueId,
    /// Its envelope, whole.
    pub envelope: Arc<Envelope>,
    /// In the order of the envelope.
    pub recipients: Vec<PendingRecipient>,
}

/// A recipient that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRecipient {
    /// Its place in the envelope.
    pub index: u32,
    /// How many attempts were settled.
    pub attempts: u32,
    /// Not before this.
    pub due: Timestamp,
    /// What the last attempt heard.
    pub last: Option<Arc<Remote>>,
}

/// One line of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its id.
    pub id: QueueId,
    /// When it was accepted, to the second.
    pub arrived: Timestamp,
    /// Octets of its content.
    pub size: u64,
    /// All its recipients.
    pub recipients: u32,
    /// Those not settled for good.
    pub pending: u32,
    /// Whether one of them is in an attempt now.
    pub claimed: bool,
    /// Whether a person keeps it from delivery.
    pub held: bool,
    /// The most attempts of a pending recipient.
    pub attempts: u32,
    /// When the first pending recipient is due.
    pub due: Timestamp,
    /// What the last attempt for a pending recipient heard.
    pub last: Option<Arc<Remote>>,
}

/// One message, as a person sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As in the queue.
    pub queued: Queued,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// One for each recipient of the envelope.
    pub recipients: Vec<ShownRecipient>,
    /// The header section, as it will be sent.
    pub header: Vec<u8>,
}

/// One recipient, as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRecipient {
    /// `None`: settled for good.
    pub pending: Option<PendingRecipient>,
    /// Whether it is in an attempt now.
    pub claimed: bool,
}

/// What the spool holds, for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Octets of segments and body files.
    pub octets: u64,
    /// The most that they may be.
    pub octets_max: u64,
    /// Octets that live messages need; the rest is pinned until older messages are settled or copied forward.
    pub live_octets: u64,
    /// Messages with a pending recipient.
    pub messages: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Damaged pieces set aside since the start.
    pub corrupt: u64,
    /// Whether new mail is refused for want of room.
    pub full: bool,
}
