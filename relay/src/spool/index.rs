//! What the spool holds, in memory: where each message is, and how each of its recipients stands. Pure.
//!
//! A restart tells it the records of the log again ([`Replay`]); while the relay runs, the committer tells it what has
//! come onto stable storage. An outcome is in force here at once, and in the log a moment later: a crash between the two
//! costs a duplicate, never a message.

mod replay;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::log::Place;
use super::record::{Flags, Kind};
use super::warm::Warm;
use super::{PendingRecipient, Queued, ShownRecipient};
use crate::envelope::{Envelope, Outcome, Remote};
use crate::queue_id::QueueId;

/// How many different replies are remembered for sharing.
const SHARED_REPLIES: usize = 64;

/// All messages with a pending recipient.
#[derive(Debug, Default)]
pub(super) struct Index {
    messages: HashMap<QueueId, Message>,
    /// The latest replies: when a next hop is down, a million messages hold the same one.
    replies: VecDeque<Arc<Remote>>,
}

#[derive(Debug)]
struct Message {
    place: Place,
    flags: Flags,
    /// Octets of the body, when it is in a file.
    file: Option<u64>,
    size: u64,
    arrived: Timestamp,
    recipients: Box<[Recipient]>,
    warm: Option<Arc<Warm>>,
}

/// A message that was just stored.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) id: QueueId,
    pub(super) place: Place,
    pub(super) flags: Flags,
    pub(super) file: Option<u64>,
    pub(super) size: u64,
    pub(super) envelope: Arc<Envelope>,
    pub(super) warm: Option<Arc<Warm>>,
}

/// What a reader needs to know of a message.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) place: Place,
    pub(super) leading_dots: bool,
    pub(super) size: u64,
    pub(super) warm: Option<Arc<Warm>>,
}

/// A message without any pending recipient: what it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) id: QueueId,
    pub(super) place: Place,
    /// Octets of the body, when it is in a file.
    pub(super) file: Option<u64>,
}

#[derive(Clone, Debug)]
struct Recipient {
    state: State,
    attempts: u32,
    due: Timestamp,
    last: Option<Arc<Remote>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Claimed,
    Done,
}

/// What an Outcome record says: one for each recipient of an attempt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settled {
    pub(super) recipient: u32,
    attempts: u32,
    outcome: Kept,
}

/// What the log keeps of an outcome: a reply only while somebody may still ask for it. Of the others it is in the
/// relay's log, and in the notification.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Kept {
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
struct Copied {
    envelope: Envelope,
    recipients: Vec<CopiedRecipient>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CopiedRecipient {
    done: bool,
    attempts: u32,
    due: Timestamp,
    last: Option<Remote>,
}

/// The envelope in the record of a message.
pub(super) fn envelope(kind: Kind, octets: &[u8]) -> Result<Envelope, serde_json::Error> {
    match kind {
        Kind::Copy => serde_json::from_slice::<Copied>(octets).map(|copied| copied.envelope),
        Kind::Put | Kind::PutFile | Kind::Outcome => serde_json::from_slice(octets),
    }
}

impl Recipient {
    fn fresh(due: Timestamp) -> Self {
        Self { state: State::Pending, attempts: 0, due, last: None }
    }

    fn seen(&self, index: usize) -> PendingRecipient {
        // A message has at most 1000 recipients.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        PendingRecipient { index, attempts: self.attempts, due: self.due, last: self.last.clone() }
    }
}

impl Message {
    fn waiting(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter(|recipient| recipient.state != State::Done)
    }

    fn due(&self) -> Option<Timestamp> {
        self.waiting().map(|recipient| recipient.due).min()
    }

    fn queued(&self, id: QueueId) -> Queued {
        let (mut pending, mut attempts, mut claimed, mut due, mut last) = (0, 0, false, Timestamp::MAX, None);
        for recipient in self.waiting() {
            pending += 1;
            attempts = attempts.max(recipient.attempts);
            claimed |= recipient.state == State::Claimed;
            due = due.min(recipient.due);
            last = last.or_else(|| recipient.last.clone());
        }
        let recipients = u32::try_from(self.recipients.len()).unwrap_or(u32::MAX);
        Queued { id, arrived: self.arrived, size: self.size, recipients, pending, claimed, attempts, due, last }
    }
}

impl Index {
    pub(super) fn contains(&self, id: QueueId) -> bool {
        self.messages.contains_key(&id)
    }

    /// A message is on stable storage. Its recipients are due at once.
    pub(super) fn insert(&mut self, arrived: Arrived) {
        let Arrived { id, place, flags, file, size, envelope, warm } = arrived;
        let recipients = vec![Recipient::fresh(envelope.arrived); envelope.recipients.len()].into();
        let arrived = envelope.arrived;
        self.messages.insert(id, Message { place, flags, file, size, arrived, recipients, warm });
    }

    pub(super) fn facts(&self, id: QueueId) -> Option<Facts> {
        let Message { place, flags, size, warm, .. } = self.messages.get(&id)?;
        let leading_dots = flags.leading_dots;
        Some(Facts { place: *place, leading_dots, size: *size, warm: warm.clone() })
    }

    /// Those that are pending and not claimed. Empty when there is none.
    pub(super) fn pending(&self, id: QueueId) -> Vec<PendingRecipient> {
        let recipients = self.messages.get(&id).map_or(&[][..], |message| &message.recipients);
        let all = recipients.iter().enumerate();
        all.filter(|(_, it)| it.state == State::Pending).map(|(index, it)| it.seen(index)).collect()
    }

    pub(super) fn claim(&mut self, id: QueueId, wanted: &[u32]) -> Option<(Facts, Vec<PendingRecipient>)> {
        let message = self.messages.get_mut(&id)?;
        let mut claimed = Vec::new();
        for (index, recipient) in message.recipients.iter_mut().enumerate() {
            if recipient.state == State::Pending && wanted.iter().any(|it| *it as usize == index) {
                recipient.state = State::Claimed;
                claimed.push(recipient.seen(index));
            }
        }
        if claimed.is_empty() { None } else { Some((self.facts(id)?, claimed)) }
    }

    pub(super) fn unclaim(&mut self, id: QueueId, claimed: &[PendingRecipient]) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        for it in claimed {
            if let Some(recipient) = message.recipients.get_mut(it.index as usize)
                && recipient.state == State::Claimed
            {
                recipient.state = State::Pending;
            }
        }
    }

    /// What became of claimed recipients, in force at once. Answers what the log must say about it, and what the message
    /// leaves behind when that was the last of it.
    pub(super) fn settle(
        &mut self,
        id: QueueId,
        claimed: &[PendingRecipient],
        outcomes: Vec<Outcome>,
    ) -> (Vec<Settled>, Option<Gone>) {
        let settled = claimed.iter().zip(outcomes).map(|(it, outcome)| Settled {
            recipient: it.index,
            attempts: it.attempts + 1,
            outcome: outcome.into(),
        });
        let settled: Vec<_> = settled.collect();
        for it in &settled {
            self.apply(id, it);
        }
        // Whoever gave too few outcomes must not hold the others for ever.
        self.unclaim(id, claimed);
        (settled, self.remove_settled(id))
    }

    fn apply(&mut self, id: QueueId, settled: &Settled) {
        let deferred = match &settled.outcome {
            Kept::Delivered | Kept::Failed => None,
            Kept::Deferred { remote, until } => Some((self.share(remote), *until)),
        };
        let Some(message) = self.messages.get_mut(&id) else { return };
        // A message that was tried in vain is not tried again soon: its content goes from memory.
        message.warm = None;
        let Some(recipient) = message.recipients.get_mut(settled.recipient as usize) else { return };
        recipient.attempts = settled.attempts;
        match deferred {
            None => (recipient.state, recipient.last) = (State::Done, None),
            Some((remote, until)) => {
                (recipient.state, recipient.due, recipient.last) = (State::Pending, until, Some(remote));
            }
        }
    }

    fn remove_settled(&mut self, id: QueueId) -> Option<Gone> {
        if self.messages.get(&id)?.waiting().next().is_some() { None } else { self.remove(id) }
    }

    /// Takes a message out, whatever its state.
    pub(super) fn remove(&mut self, id: QueueId) -> Option<Gone> {
        let Message { place, file, .. } = self.messages.remove(&id)?;
        Some(Gone { id, place, file })
    }

    fn share(&mut self, remote: &Remote) -> Arc<Remote> {
        if let Some(known) = self.replies.iter().find(|known| &***known == remote) {
            return Arc::clone(known);
        }
        if self.replies.len() == SHARED_REPLIES {
            self.replies.pop_front();
        }
        let remote = Arc::new(remote.clone());
        self.replies.push_back(Arc::clone(&remote));
        remote
    }

    /// Makes the pending recipients due; `false` when the message is not here.
    pub(super) fn retry(&mut self, id: QueueId, now: Timestamp) -> bool {
        let Some(message) = self.messages.get_mut(&id) else { return false };
        for recipient in &mut message.recipients {
            recipient.due = recipient.due.min(now);
        }
        true
    }

    /// Forgets the content of a message, which stays on disk.
    pub(super) fn cool(&mut self, id: QueueId) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.warm = None;
        }
    }

    /// The messages in one segment, in the order of their places.
    pub(super) fn in_segment(&self, generation: u64) -> Vec<(QueueId, Place)> {
        let all = self.messages.iter().map(|(id, message)| (*id, message.place));
        let mut found: Vec<_> = all.filter(|(_, place)| place.generation == generation).collect();
        found.sort_unstable_by_key(|(_, place)| place.offset);
        found
    }

    /// What a Copy record of a message says in place of its envelope; `None` when it is no longer at that place.
    pub(super) fn copied(&self, id: QueueId, from: Place, envelope: Envelope) -> Option<Vec<u8>> {
        let message = self.messages.get(&id).filter(|message| message.place == from)?;
        let recipients = message.recipients.iter().map(|it| CopiedRecipient {
            done: it.state == State::Done,
            attempts: it.attempts,
            due: it.due,
            last: it.last.as_deref().cloned(),
        });
        serde_json::to_vec(&Copied { envelope, recipients: recipients.collect() }).ok()
    }

    /// A message was copied forward. `false`: it was settled meanwhile, and the copy does not matter.
    pub(super) fn moved(&mut self, id: QueueId, from: Place, to: Place) -> bool {
        let message = self.messages.get_mut(&id).filter(|message| message.place == from);
        message.map(|message| message.place = to).is_some()
    }

    pub(super) fn queue(&self) -> Vec<Queued> {
        let mut queue: Vec<_> = self.messages.iter().map(|(id, message)| message.queued(*id)).collect();
        queue.sort_unstable_by_key(|queued| queued.id);
        queue
    }

    /// One line of the queue, and its recipients.
    pub(super) fn show(&self, id: QueueId) -> Option<(Queued, Vec<ShownRecipient>)> {
        let message = self.messages.get(&id)?;
        let all = message.recipients.iter().enumerate();
        let recipients = all.map(|(index, it)| ShownRecipient {
            pending: (it.state != State::Done).then(|| it.seen(index)),
            claimed: it.state == State::Claimed,
        });
        Some((message.queued(id), recipients.collect()))
    }

    /// Each message and when it is due.
    pub(super) fn due(&self) -> Vec<(QueueId, Timestamp)> {
        let mut due: Vec<_> = self.messages.iter().filter_map(|(id, it)| Some((*id, it.due()?))).collect();
        due.sort_unstable();
        due
    }

    /// Each message whose body is in a file.
    pub(super) fn with_file(&self) -> impl Iterator<Item = QueueId> {
        self.messages.iter().filter(|(_, message)| message.file.is_some()).map(|(id, _)| *id)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.messages.values().map(|message| message.arrived).min()
    }
}
