//! The spool: every message that was acknowledged and is not yet settled, on stable storage.
//!
//! A [`Receipt`] can be made nowhere else, and only after the message is on stable storage. Nothing unreadable is
//! deleted: it is set aside and counted. A full disk says no at MAIL ([`Refused::Full`]), and never loses what was taken.
//!
//! The drivers meet only here: a server commits, a delivery takes [`Arrivals`], claims and settles.

mod backlog;
mod claim;
mod committer;
mod content;
mod disk;
#[cfg(fuzzing)]
pub mod fuzzing;
mod index;
mod intake;
mod job;
mod log;
mod memory;
mod open;
mod person;
mod progress;
mod record;
mod room;
mod segment;
mod survivors;
mod view;
mod warm;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::envelope::{Envelope, Outcome};
use crate::queue_id::QueueId;
use backlog::Settle;
pub use claim::Claim;
use claim::Held;
pub use content::{Content, Unreadable};
use disk::Directory;
pub use index::Standing;
use index::{Facts, Index};
pub use intake::{Draft, HEAD_MAX, Intake};
use job::{Job, Task};
use memory::Memory;
pub use person::Deleted;
pub use progress::Progress;
use room::Room;
pub use view::{Arrival, Arrivals, Pending, PendingRecipient, Queued, Shown, ShownRecipient, Usage};

/// What a file takes on the disk beyond its own octets, with those that come at the same time: a guess, the write decides.
const DISK_MARGIN: u64 = 1 << 20;

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
    /// Octets of one segment, at most. A spool with a small `size_max` has smaller ones: a sixteenth of it, from 4 MiB on.
    pub segment_size: u64,
    /// Where it tells how far opening it is.
    pub progress: Progress,
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
            progress: Progress::default(),
        }
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
    /// Another process has the directory.
    #[error("spool {} is in use by {}", path.display(), holder.map_or("another process".into(), |pid| format!("process {pid}")))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, if it said who it is.
        holder: Option<u32>,
    },
    /// Segments are too long.
    #[error("spool segments in {}: not below 4 GiB", _0.display())]
    Length(PathBuf),
    /// No room for the segments that are needed at least.
    #[error("spool {}: {size_max} octets are too few, at least {size_min} are needed", path.display())]
    TooSmall {
        /// The directory.
        path: PathBuf,
        /// As configured.
        size_max: u64,
        /// Four segments.
        size_min: u64,
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

/// What the last clone of the spool ends.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    jobs: std_mpsc::Sender<Job>,
    /// Tells the helper not to begin slow work.
    ending: Arc<AtomicBool>,
    committer: Option<std::thread::JoinHandle<()>>,
    helper: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.jobs.send(Job::End).ok();
        if let Some(committer) = self.committer.take() {
            committer.join().ok();
        }
        self.shared.helper.send(Task::End).ok();
        if let Some(helper) = self.helper.take() {
            helper.join().ok();
        }
    }
}

/// What the rooms of the spool share.
#[derive(Debug)]
struct Shared {
    options: Options,
    directory: Arc<Directory>,
    index: Mutex<Index>,
    memory: Arc<Memory>,
    room: Room,
    arrivals: mpsc::UnboundedSender<Arrival>,
    helper: std_mpsc::Sender<Task>,
}

impl Shared {
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
    /// Opens the directory, or makes it, and recovers what it holds. Blocks.
    pub fn open(options: Options, now: Timestamp) -> Result<(Self, Arrivals), OpenError> {
        open::open(options, now)
    }

    /// Room for a new message, of the size that MAIL declared if it did. Says no before the content comes.
    pub fn admit(&self, declared: Option<u64>) -> Result<Intake, Refused> {
        self.admits(declared.unwrap_or(0))?;
        let random = getrandom::u32().map_err(|error| Refused::Failing(format!("no random number: {error}")))?;
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Ok(Intake::new(&self.0.shared, QueueId::new(millis, random), false))
    }

    fn admits(&self, declared: u64) -> Result<(), Refused> {
        let inline_max = intake::INLINE_MAX as u64;
        if !self.0.shared.room.admits(declared, inline_max) {
            return Err(self.0.shared.room.refused());
        }
        // The log's segments are on the disk already; a file would be new, whatever room we were given.
        if declared > inline_max {
            let available = self.0.shared.directory.available();
            let available = available.map_err(|error| Refused::Failing(format!("the spool's disk: {error}")))?;
            if available < declared.saturating_add(DISK_MARGIN) {
                return Err(Refused::Full);
            }
        }
        Ok(())
    }

    /// Room for a message that we make ourselves, under an id derived from its cause: committing it twice stores it once.
    /// It may use the room that is kept back when the spool is full. Its body is at most 256 KiB.
    pub fn admit_as(&self, id: QueueId) -> Result<Intake, Refused> {
        Ok(Intake::new(&self.0.shared, id, true))
    }

    /// Stores the message and answers when it is on stable storage; its [`Arrival`] is then already sent. Dropping the
    /// future takes nothing back and leaves nothing half-made. An id that is already here is `Ok`, and stored only once.
    pub async fn commit(&self, draft: Draft, envelope: Envelope) -> Result<Receipt, Refused> {
        self.store(draft.seal(envelope, None).await?).await
    }

    /// The message and its pending recipients that nobody has claimed; `None` when there is none. For routing.
    pub async fn envelope(&self, id: QueueId) -> Option<Arc<Pending>> {
        let facts = self.0.shared.index().facts(id)?;
        let envelope = self.envelope_of(id, &facts).await?;
        let recipients = self.0.shared.index().pending(id);
        (!recipients.is_empty()).then(|| Arc::new(Pending { id, envelope, recipients }))
    }

    /// Those of the named recipients that are pending and not claimed are the caller's, until it settles or drops the
    /// claim. `None` when there is none.
    pub async fn claim(&self, id: QueueId, recipients: &[u32]) -> Option<Claim> {
        let (facts, recipients) = self.0.shared.index().claim(id, Some(recipients))?;
        // From here on a drop of this future gives back what was claimed.
        let held = Held { inner: Arc::clone(&self.0), id, recipients, settled: false };
        let envelope = self.envelope_of(id, &facts).await?;
        let Facts { size, leading_dots, .. } = facts;
        Some(Claim { held, envelope, size, leading_dots })
    }

    /// `None`: it cannot be read; that is logged, and what is damaged is out of the queue.
    async fn envelope_of(&self, id: QueueId, facts: &Facts) -> Option<Arc<Envelope>> {
        if let Some(warm) = &facts.warm {
            return Some(Arc::clone(&warm.envelope));
        }
        let error = match content::read(&self.0.shared, id, false).await {
            Ok(record) => match index::envelope(record.header.kind, record.envelope()) {
                Ok(envelope) => return Some(Arc::new(envelope)),
                Err(error) => Unreadable { id, reason: error.to_string(), damaged: true },
            },
            Err(error) => error,
        };
        tracing::error!(queue_id = %id, %error, damaged = error.damaged, "an envelope cannot be read back");
        if error.damaged
            && let Some(gone) = self.0.shared.index().remove(id)
        {
            self.0.jobs.send(Job::Damaged(gone)).ok();
        }
        None
    }

    /// What became of the claimed recipients: one outcome for each, in their order. In force at once, on stable storage
    /// soon (a lost outcome costs a duplicate, never a message). Each outcome counts as one attempt.
    ///
    /// A deferred recipient sends no [`Arrival`]: whoever settles it knows when it is due.
    pub async fn settle(&self, mut claim: Claim, outcomes: Vec<Outcome>) {
        debug_assert_eq!(claim.recipients().len(), outcomes.len(), "one outcome for each claimed recipient");
        let id = claim.id();
        claim.held.settled = true;
        let (settled, gone) = self.0.shared.index().settle(id, claim.recipients(), outcomes);
        self.0.jobs.send(Job::Settle(Settle::new(id, settled, gone))).ok();
    }

    /// What it holds.
    pub fn usage(&self) -> Usage {
        let (messages, pieces) = {
            let index = self.0.shared.index();
            (index.len() as u64, index.pieces())
        };
        // Piece by piece: nobody who waits for the index waits for all of it.
        let oldest = (0..pieces).filter_map(|piece| self.0.shared.index().oldest(piece)).min();
        let room = &self.0.shared.room;
        Usage {
            octets: room.octets(),
            octets_max: self.0.shared.options.size_max,
            live_octets: room.live(),
            messages,
            oldest,
            corrupt: room.corrupt(),
            full: !room.admits(0, intake::INLINE_MAX as u64),
        }
    }

    /// Everything that was handed in is on stable storage when this returns.
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.0.jobs.send(Job::Close(answer)).is_ok() {
            closed.await.ok();
        }
    }
}

#[cfg(test)]
mod tests;
