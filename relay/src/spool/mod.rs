//! The spool: every message that was acknowledged and is not yet settled, on stable storage.
//!
//! A [`Receipt`] can be made nowhere else, and only after the message is on stable storage. Nothing unreadable is
//! deleted: it is set aside and counted. A full disk says no at MAIL ([`Refused::Full`]), and never loses what was taken.
//!
//! The drivers meet only here: a server commits, a delivery takes [`Arrivals`], claims and settles.

mod index;
mod intake;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::envelope::{Envelope, Outcome, Remote};
use crate::queue_id::QueueId;
use index::Index;
pub use intake::{Content, Draft, HEAD_MAX, Intake, Unreadable};

/// How a spool is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory, of this process alone.
    pub directory: PathBuf,
    /// Octets of segments and body files together; at least four segments.
    pub size_max: u64,
    /// Octets of message content in memory, shared by all that comes in and all that waits to go out.
    pub memory_max: u64,
    /// Octets of one message.
    pub message_size_max: u64,
    /// Octets of one segment; smaller than the default only in tests.
    pub segment_size: u64,
}

impl Options {
    /// The defaults: 8 GiB of disk, 16 MiB of memory, messages up to 1 GiB, segments of 64 MiB.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            size_max: 8 << 30,
            memory_max: 16 << 20,
            message_size_max: 1 << 30,
            segment_size: 64 << 20,
        }
    }
}

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
pub struct Arrivals(mpsc::UnboundedReceiver<Arrival>);

impl Arrivals {
    /// The next one; `None` when the spool is gone. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.0.recv().await
    }

    /// The next one, if it is there already.
    pub fn try_next(&mut self) -> Option<Arrival> {
        self.0.try_recv().ok()
    }
}

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory cannot be used.
    #[error("spool {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No room for it: 452 4.3.1.
    #[error("the spool is full")]
    Full,
    /// It cannot be stored: 451 4.3.0. The reason is for the log, not for the client.
    #[error("{0}")]
    Failing(String),
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
    /// When it was accepted.
    pub arrived: Timestamp,
    /// Octets of its content.
    pub size: u64,
    /// All its recipients.
    pub recipients: u32,
    /// Those not settled for good.
    pub pending: u32,
    /// Whether one of them is in an attempt now.
    pub claimed: bool,
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

/// Proof that a message is on stable storage.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    id: QueueId,
}

impl Receipt {
    /// The message.
    pub fn id(&self) -> QueueId {
        self.id
    }
}

/// The spool. Clones are the same spool.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    index: Mutex<Index>,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing that holds the lock leaves the index half-changed, so a panic elsewhere does not spoil it.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody listens while the process ends: then the spool on disk tells the next one.
    fn announce(&self, id: QueueId, due: Timestamp) {
        self.arrivals.send(Arrival { id, due }).ok();
    }
}

impl Spool {
    /// Opens the directory, or makes it, and recovers what it holds.
    pub fn open(options: Options, _now: Timestamp) -> Result<(Self, Arrivals), OpenError> {
        std::fs::create_dir_all(&options.directory)
            .map_err(|source| OpenError::File { path: options.directory.clone(), source })?;
        let (arrivals, receiver) = mpsc::unbounded_channel();
        let inner = Inner { options, index: Mutex::new(Index::default()), arrivals };
        Ok((Self(Arc::new(inner)), Arrivals(receiver)))
    }

    /// Room for a new message, of the size that MAIL declared if it did. Says no before the content comes.
    pub fn admit(&self, declared: Option<u64>) -> Result<Intake, Refused> {
        if declared.unwrap_or(0) > self.0.options.size_max {
            return Err(Refused::Full);
        }
        let random = getrandom::u32().map_err(|error| Refused::Failing(format!("no random number: {error}")))?;
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Ok(Intake::new(QueueId::new(millis, random), self.0.options.message_size_max))
    }

    /// Room for a message that we make ourselves, under an id derived from its cause: committing it twice stores it once.
    /// It may use the room that is kept back when the spool is full.
    pub fn admit_as(&self, id: QueueId) -> Result<Intake, Refused> {
        Ok(Intake::new(id, self.0.options.message_size_max))
    }

    /// Stores the message and answers when it is on stable storage; its [`Arrival`] is then already sent. Dropping the
    /// future takes nothing back and leaves nothing half-made. An id that is already here is `Ok`, and stored only once.
    pub async fn commit(&self, draft: Draft, envelope: Envelope) -> Result<Receipt, Refused> {
        let id = draft.id();
        let due = envelope.arrived;
        if self.0.index().insert(id, envelope, draft) {
            self.0.announce(id, due);
        }
        Ok(Receipt { id })
    }

    /// The message and its pending recipients that nobody has claimed; `None` when there is none. For routing.
    pub async fn envelope(&self, id: QueueId) -> Option<Arc<Pending>> {
        self.0.index().pending(id).map(Arc::new)
    }

    /// Those of the named recipients that are pending and not claimed are the caller's, until it settles or drops the
    /// claim. `None` when there is none.
    pub async fn claim(&self, id: QueueId, recipients: &[u32]) -> Option<Claim> {
        let (stored, recipients) = self.0.index().claim(id, recipients)?;
        Some(Claim { spool: Arc::clone(&self.0), id, stored, recipients, settled: false })
    }

    /// What became of the claimed recipients: one outcome for each, in their order. In force at once, on stable storage
    /// soon (a lost outcome costs a duplicate, never a message). Each outcome counts as one attempt.
    ///
    /// A deferred recipient sends no [`Arrival`]: whoever settles it knows when it is due.
    pub async fn settle(&self, mut claim: Claim, outcomes: Vec<Outcome>) {
        debug_assert_eq!(claim.recipients.len(), outcomes.len(), "one outcome for each claimed recipient");
        claim.settled = true;
        self.0.index().settle(claim.id, &claim.recipients, outcomes);
    }

    /// The whole queue, by id.
    pub fn queue(&self) -> Vec<Queued> {
        self.0.index().queue()
    }

    /// One message; `None` when it is not (or no longer) here.
    pub async fn show(&self, id: QueueId) -> Option<Shown> {
        self.0.index().show(id)
    }

    /// Makes the pending recipients of these messages due now, and announces them. Answers how many messages it found.
    pub fn retry(&self, ids: &[QueueId], now: Timestamp) -> usize {
        let found: Vec<_> = {
            let mut index = self.0.index();
            ids.iter().filter(|id| index.retry(**id, now)).copied().collect()
        };
        for id in &found {
            self.0.announce(*id, now);
        }
        found.len()
    }

    /// What it holds.
    pub fn usage(&self) -> Usage {
        let index = self.0.index();
        Usage {
            octets: index.octets(),
            octets_max: self.0.options.size_max,
            live_octets: index.octets(),
            messages: index.len() as u64,
            oldest: index.oldest(),
            corrupt: 0,
            full: false,
        }
    }

    /// Everything that was handed in is on stable storage when this returns.
    pub async fn close(&self) {}
}

/// Recipients of one message that nobody else may attempt. Dropped unsettled, they return to the queue with an [`Arrival`].
#[derive(Debug)]
pub struct Claim {
    spool: Arc<Inner>,
    id: QueueId,
    stored: Arc<intake::Stored>,
    recipients: Vec<PendingRecipient>,
    settled: bool,
}

impl Claim {
    /// The message.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Its envelope, whole.
    pub fn envelope(&self) -> &Envelope {
        &self.stored.envelope
    }

    /// Those claimed, in the order of the envelope.
    pub fn recipients(&self) -> &[PendingRecipient] {
        &self.recipients
    }

    /// Octets of the content.
    pub fn size(&self) -> u64 {
        self.stored.size
    }

    /// Whether any line of the content begins with a dot, so that sending must stuff it (RFC 5321, section 4.5.2).
    pub fn leading_dots(&self) -> bool {
        self.stored.leading_dots
    }

    /// The content from its beginning; may be asked again for another attempt.
    pub async fn content(&self) -> Result<Content, Unreadable> {
        Ok(Content::new(Arc::clone(&self.stored)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.spool.index().unclaim(self.id, &self.recipients);
        if let Some(due) = self.recipients.iter().map(|recipient| recipient.due).min() {
            self.spool.announce(self.id, due);
        }
    }
}

#[cfg(test)]
mod tests;
