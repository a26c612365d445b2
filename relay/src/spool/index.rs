//! What the spool holds, in memory: where each message is, and how each of its recipients stands. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::intake::{Draft, Stored};
use super::{Pending, PendingRecipient, Queued, Shown, ShownRecipient};
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
    stored: Arc<Stored>,
    recipients: Box<[Recipient]>,
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

impl Recipient {
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
        let Stored { envelope, size, .. } = &*self.stored;
        Queued { id, arrived: envelope.arrived, size: *size, recipients, pending, claimed, attempts, due, last }
    }
}

impl Index {
    /// Takes a message in; `false` when its id is here already.
    pub(super) fn insert(&mut self, id: QueueId, envelope: Envelope, draft: Draft) -> bool {
        if self.messages.contains_key(&id) {
            return false;
        }
        let fresh = Recipient { state: State::Pending, attempts: 0, due: envelope.arrived, last: None };
        let recipients = vec![fresh; envelope.recipients.len()].into();
        self.messages.insert(id, Message { stored: Arc::new(draft.store(envelope)), recipients });
        true
    }

    pub(super) fn pending(&self, id: QueueId) -> Option<Pending> {
        let message = self.messages.get(&id)?;
        let all = message.recipients.iter().enumerate();
        let recipients: Vec<_> =
            all.filter(|(_, it)| it.state == State::Pending).map(|(index, it)| it.seen(index)).collect();
        let envelope = Arc::clone(&message.stored.envelope);
        (!recipients.is_empty()).then_some(Pending { id, envelope, recipients })
    }

    pub(super) fn claim(&mut self, id: QueueId, wanted: &[u32]) -> Option<(Arc<Stored>, Vec<PendingRecipient>)> {
        let message = self.messages.get_mut(&id)?;
        let mut claimed = Vec::new();
        for (index, recipient) in message.recipients.iter_mut().enumerate() {
            if recipient.state == State::Pending && wanted.iter().any(|it| *it as usize == index) {
                recipient.state = State::Claimed;
                claimed.push(recipient.seen(index));
            }
        }
        (!claimed.is_empty()).then(|| (Arc::clone(&message.stored), claimed))
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

    pub(super) fn settle(&mut self, id: QueueId, claimed: &[PendingRecipient], outcomes: Vec<Outcome>) {
        for (it, outcome) in claimed.iter().zip(outcomes) {
            self.apply(id, it.index, it.attempts + 1, outcome);
        }
        if let Some(message) = self.messages.get(&id)
            && message.waiting().next().is_none()
        {
            self.messages.remove(&id);
        }
    }

    fn apply(&mut self, id: QueueId, index: u32, attempts: u32, outcome: Outcome) {
        let deferred = match outcome {
            Outcome::Delivered(_) | Outcome::Failed(_) => None,
            Outcome::Deferred { remote, until } => Some((self.share(remote), until)),
        };
        let recipient = self.messages.get_mut(&id).and_then(|message| message.recipients.get_mut(index as usize));
        let Some(recipient) = recipient else { return };
        recipient.attempts = attempts;
        match deferred {
            None => (recipient.state, recipient.last) = (State::Done, None),
            Some((remote, until)) => {
                (recipient.state, recipient.due, recipient.last) = (State::Pending, until, Some(remote));
            }
        }
    }

    fn share(&mut self, remote: Remote) -> Arc<Remote> {
        if let Some(known) = self.replies.iter().find(|known| ***known == remote) {
            return Arc::clone(known);
        }
        if self.replies.len() == SHARED_REPLIES {
            self.replies.pop_front();
        }
        let remote = Arc::new(remote);
        self.replies.push_back(Arc::clone(&remote));
        remote
    }

    pub(super) fn retry(&mut self, id: QueueId, now: Timestamp) -> bool {
        let Some(message) = self.messages.get_mut(&id) else { return false };
        for recipient in &mut message.recipients {
            recipient.due = recipient.due.min(now);
        }
        true
    }

    pub(super) fn queue(&self) -> Vec<Queued> {
        let mut queue: Vec<_> = self.messages.iter().map(|(id, message)| message.queued(*id)).collect();
        queue.sort_unstable_by_key(|queued| queued.id);
        queue
    }

    pub(super) fn show(&self, id: QueueId) -> Option<Shown> {
        let message = self.messages.get(&id)?;
        let all = message.recipients.iter().enumerate();
        let recipients = all.map(|(index, it)| ShownRecipient {
            pending: (it.state != State::Done).then(|| it.seen(index)),
            claimed: it.state == State::Claimed,
        });
        let recipients = recipients.collect();
        let envelope = Arc::clone(&message.stored.envelope);
        Some(Shown { queued: message.queued(id), envelope, recipients, header: message.stored.head.to_vec() })
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn octets(&self) -> u64 {
        self.messages.values().map(|message| message.stored.size).sum()
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.messages.values().map(|message| message.stored.envelope.arrived).min()
    }
}
