//! What a person sees of the queue, and does with it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::backlog::Settle;
use super::content::{self, Content, Unreadable};
use super::index::{self, Standing, Undeletable};
use super::intake::Intake;
use super::job::{Job, Mark, Store};
use super::{Draft, Queued, Receipt, Refused, Shown, Spool};
use crate::envelope::Envelope;
use crate::queue_id::QueueId;

/// What is asked of the committer at once.
const AT_ONCE: usize = 1000;

/// What became of messages that were to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// They are gone.
    pub deleted: usize,
    /// They are in an attempt, and stay.
    pub busy: usize,
}

impl Spool {
    /// Shows each message of the queue once, in no order. What comes or goes meanwhile may be among them or not. The queue
    /// is only held up for a few messages at a time.
    pub fn visit(&self, mut each: impl FnMut(Queued)) {
        let mut piece = 0;
        loop {
            let queued: Vec<_> = {
                let index = self.0.shared.index();
                if piece >= index.pieces() {
                    return;
                }
                index.piece(piece).collect()
            };
            queued.into_iter().for_each(&mut each);
            piece += 1;
        }
    }

    /// The whole queue, by id.
    pub fn queue(&self) -> Vec<Queued> {
        let mut queue = Vec::new();
        self.visit(|queued| queue.push(queued));
        queue.sort_unstable_by_key(|queued| queued.id);
        queue
    }

    /// One message; `None` when it is not (or no longer) here, or cannot be read.
    pub async fn show(&self, id: QueueId) -> Option<Shown> {
        let facts = self.0.shared.index().facts(id)?;
        let (envelope, header) = match facts.warm {
            Some(warm) => (Arc::clone(&warm.envelope), warm.head.to_vec()),
            None => {
                let record = content::read(&self.0.shared, id, false).await.ok()?;
                let envelope = index::envelope(record.header.kind, record.envelope()).ok()?;
                (Arc::new(envelope), record.head().to_vec())
            }
        };
        let (queued, recipients) = self.0.shared.index().show(id)?;
        Some(Shown { queued, envelope, recipients, header })
    }

    /// Makes the pending recipients of these messages due now, and announces them. Answers how many messages it found.
    pub fn retry(&self, ids: &[QueueId], now: Timestamp) -> usize {
        let found: Vec<_> = {
            let mut index = self.0.shared.index();
            ids.iter().filter(|id| index.retry(**id, now)).copied().collect()
        };
        for id in &found {
            self.0.shared.announce(*id, now);
        }
        found.len()
    }

    /// Keeps these messages from delivery, or no longer; it lasts through restarts. An attempt that goes on is not ended.
    /// Answers for how many of them it is new, when that is on stable storage. Those that are no longer kept are announced.
    pub async fn hold(&self, ids: &[QueueId], held: bool) -> Result<usize, Refused> {
        let mut changed = 0;
        for ids in ids.chunks(AT_ONCE) {
            let (answer, marked) = oneshot::channel();
            self.0.jobs.send(Job::Mark(Mark { ids: ids.to_vec(), held, answer })).map_err(|_| ended())?;
            changed += marked.await.unwrap_or_else(|_| Err(ended()))?;
        }
        Ok(changed)
    }

    /// Deletes these messages, as far as nobody is attempting them. Nobody is told. On stable storage when it answers.
    pub async fn delete(&self, ids: &[QueueId]) -> Deleted {
        let mut all = Deleted::default();
        for ids in ids.chunks(AT_ONCE) {
            for id in ids {
                let deleted = self.0.shared.index().delete(*id);
                match deleted {
                    Ok((settled, gone)) => {
                        all.deleted += 1;
                        self.0.jobs.send(Job::Settle(Settle::new(*id, settled, gone))).ok();
                    }
                    Err(Undeletable::Busy) => all.busy += 1,
                    Err(Undeletable::Missing) => {}
                }
            }
            // As many at once as a write takes, so that others are not held up.
            self.close().await;
        }
        all
    }

    /// How the recipients of a message stand; `None` when it is not here.
    pub fn standing(&self, id: QueueId) -> Option<Vec<Standing>> {
        self.0.shared.index().standing(id)
    }

    /// The content of a message that nobody needs to have claimed.
    pub async fn content(&self, id: QueueId) -> Result<Content, Unreadable> {
        Content::open(&self.0.shared, id).await
    }

    /// Whether a message is here.
    pub fn contains(&self, id: QueueId) -> bool {
        self.0.shared.index().contains(id)
    }

    /// Room for a message that comes from another spool and keeps its id.
    pub fn admit_again(&self, id: QueueId, size: u64) -> Result<Intake, Refused> {
        self.admits(size)?;
        Ok(Intake::new(&self.0.shared, id, false))
    }

    /// As [`Spool::commit`], with how its recipients stand, one for each. The message is held.
    pub async fn commit_held(
        &self,
        draft: Draft,
        envelope: Envelope,
        standing: Vec<Standing>,
    ) -> Result<Receipt, Refused> {
        debug_assert_eq!(envelope.recipients.len(), standing.len(), "one for each recipient");
        self.store(draft.seal(envelope, Some(standing)).await?).await
    }

    pub(super) async fn store(&self, sealed: super::intake::Sealed) -> Result<Receipt, Refused> {
        let id = sealed.id;
        let (answer, stored) = oneshot::channel();
        self.0.jobs.send(Job::Store(Box::new(Store { sealed, answer }))).map_err(|_| ended())?;
        stored.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(Receipt { id })
    }
}

fn ended() -> Refused {
    Refused::Failing("the spool has ended".into())
}
