//! What the spool holds, in memory: where each message is, and how each of its recipients stands. Pure.
//!
//! A restart tells it the records of the log again ([`Replay`](super::log::Replay)); while the relay runs, the committer
//! tells it what has come onto stable storage. An outcome is in force here at once, and in the log a moment later: a crash
//! between the two costs a duplicate, never a message.
//!
//! A message with one recipient takes at most 64 octets here, the share of the hash table included; recipients after the
//! first, files and content in memory are kept beside. Envelopes are read back from disk.

mod entry;
mod look;
mod replay;
mod replies;
mod said;
mod segments;
mod table;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::PendingRecipient;
use super::log::Place;
use super::record::Flags;
use super::warm::Warm;
use crate::envelope::{Envelope, Outcome, Remote};
use crate::queue_id::QueueId;
pub(super) use entry::Due;
use entry::{Entry, Recipient, State, Traits, counted};
use replies::Replies;
pub use said::Standing;
use said::{Copied, Kept};
pub(super) use said::{Settled, envelope, json};
use segments::Segments;
use table::Table;

/// All messages with a pending recipient.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: Table,
    /// The recipients after the first.
    others: HashMap<QueueId, Box<[Recipient]>>,
    /// Octets of the bodies in files.
    files: HashMap<QueueId, u64>,
    warm: HashMap<QueueId, Arc<Warm>>,
    replies: Replies,
    segments: Segments,
    /// While the log is replayed: the notifications in it, and what they are about.
    notifications: HashMap<QueueId, QueueId>,
    /// Notifications that were sent before the start, about messages that are still here.
    sent: HashSet<QueueId>,
}

/// A message that was just stored.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) id: QueueId,
    pub(super) place: Place,
    pub(super) flags: Flags,
    /// Octets of the body, when it is in a file.
    pub(super) file: Option<u64>,
    pub(super) size: u64,
    pub(super) envelope: Arc<Envelope>,
    /// How its recipients stand; absent: nothing was tried.
    pub(super) standing: Option<Vec<Standing>>,
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

/// Why a message is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undeletable {
    /// It is not here.
    Missing,
    /// Somebody is attempting one of its recipients.
    Busy,
}

impl Index {
    /// Whether a message need not be stored: it is here, or a notification that was sent already.
    pub(super) fn knows(&self, id: QueueId) -> bool {
        self.contains(id) || self.sent.contains(&id)
    }

    pub(super) fn contains(&self, id: QueueId) -> bool {
        self.table.get(id).is_some()
    }

    /// A message is on stable storage.
    pub(super) fn insert(&mut self, arrived: Arrived) {
        let Arrived { id, place, flags, file, size, envelope, standing, warm } = arrived;
        let recipients = match standing {
            Some(standing) => self.stand(standing),
            None => vec![Recipient::fresh(envelope.arrived); envelope.recipients.len()],
        };
        self.enter(Entry::new(id, envelope.arrived), place, flags, (file, size), &recipients);
        if let Some(warm) = warm
            && let Some(entry) = self.table.get_mut(id)
        {
            entry.traits.set(Traits::WARM, true);
            self.warm.insert(id, warm);
        }
    }

    /// In place of another one with its id, if there is one: answers where that was.
    fn enter(
        &mut self,
        mut entry: Entry,
        place: Place,
        flags: Flags,
        (file, size): (Option<u64>, u64),
        recipients: &[Recipient],
    ) -> Option<Place> {
        let old = self.remove(entry.id).map(|gone| gone.place);
        entry.segment = self.segments.enter(place);
        (entry.offset, entry.length) = (place.offset, place.length);
        // Intake takes nothing that is longer.
        entry.size = u32::try_from(size).unwrap_or(u32::MAX);
        entry.traits.set(Traits::DOTS, flags.leading_dots);
        entry.traits.set(Traits::HELD, flags.held);
        if let Some(octets) = file {
            entry.traits.set(Traits::FILE, true);
            self.files.insert(entry.id, octets);
        }
        if let Some((first, others)) = recipients.split_first() {
            entry.first = *first;
            if !others.is_empty() {
                entry.traits.set(Traits::SEVERAL, true);
                self.others.insert(entry.id, others.into());
            }
        }
        self.table.insert(entry);
        old
    }

    fn stand(&mut self, standing: Vec<Standing>) -> Vec<Recipient> {
        let stand = |it: Standing| Recipient {
            state: if it.done { State::Done } else { State::Pending },
            attempts: counted(it.attempts),
            due: Due::from(it.due),
            reply: it.last.map_or(0, |remote| self.replies.hold(&remote)),
        };
        standing.into_iter().map(stand).collect()
    }

    /// How the recipients of a message stand; `None` when it is not here.
    pub(super) fn standing(&self, id: QueueId) -> Option<Vec<Standing>> {
        let stands = |it: &Recipient| Standing {
            done: it.state == State::Done,
            attempts: it.attempts.into(),
            due: it.due.into(),
            last: self.replies.get(it.reply).map(|remote| Remote::clone(remote)),
        };
        Some(self.recipients(self.table.get(id)?).map(stands).collect())
    }

    fn place(&self, entry: &Entry) -> Place {
        self.segments.place(entry.segment, entry.offset, entry.length)
    }

    fn recipients<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Recipient> {
        let several = entry.traits.has(Traits::SEVERAL);
        let others = several.then(|| self.others.get(&entry.id)).flatten();
        std::iter::once(&entry.first).chain(others.into_iter().flatten())
    }

    fn recipients_mut(&mut self, id: QueueId) -> impl Iterator<Item = &mut Recipient> {
        let entry = self.table.get_mut(id);
        let several = entry.as_ref().is_some_and(|entry| entry.traits.has(Traits::SEVERAL));
        let others = if several { self.others.get_mut(&id) } else { None };
        entry.map(|entry| &mut entry.first).into_iter().chain(others.into_iter().flatten())
    }

    fn seen(&self, index: usize, standing: &Recipient) -> PendingRecipient {
        PendingRecipient { last: self.replies.get(standing.reply).cloned(), ..standing.seen(index) }
    }

    pub(super) fn facts(&self, id: QueueId) -> Option<Facts> {
        let entry = self.table.get(id)?;
        Some(Facts {
            place: self.place(entry),
            leading_dots: entry.traits.has(Traits::DOTS),
            size: entry.size.into(),
            warm: entry.traits.has(Traits::WARM).then(|| self.warm.get(&id).cloned()).flatten(),
        })
    }

    /// Those that are pending and not claimed. Empty when there is none, or a person keeps the message.
    pub(super) fn pending(&self, id: QueueId) -> Vec<PendingRecipient> {
        let Some(entry) = self.table.get(id).filter(|entry| !entry.traits.has(Traits::HELD)) else { return Vec::new() };
        let all = self.recipients(entry).enumerate();
        all.filter(|(_, it)| it.state == State::Pending).map(|(index, it)| self.seen(index, it)).collect()
    }

    /// Takes those of the wanted that are pending; all of them, held or not, when nobody in particular is wanted.
    pub(super) fn claim(&mut self, id: QueueId, wanted: Option<&[u32]>) -> Option<(Facts, Vec<PendingRecipient>)> {
        let facts = self.facts(id)?;
        if wanted.is_some() && self.is_held(id) == Some(true) {
            return None;
        }
        let is_wanted = |index: usize| wanted.is_none_or(|wanted| wanted.iter().any(|it| *it as usize == index));
        let mut claimed = Vec::new();
        for (index, standing) in self.recipients_mut(id).enumerate() {
            if standing.state == State::Pending && is_wanted(index) {
                standing.state = State::Claimed;
                claimed.push((index, *standing));
            }
        }
        let claimed: Vec<_> = claimed.iter().map(|(index, standing)| self.seen(*index, standing)).collect();
        (!claimed.is_empty()).then_some((facts, claimed))
    }

    pub(super) fn unclaim(&mut self, id: QueueId, claimed: &[PendingRecipient]) {
        for (index, standing) in self.recipients_mut(id).enumerate() {
            if standing.state == State::Claimed && claimed.iter().any(|it| it.index as usize == index) {
                standing.state = State::Pending;
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

    /// A person deletes a message: all its pending recipients are settled.
    pub(super) fn delete(&mut self, id: QueueId) -> Result<(Vec<Settled>, Option<Gone>), Undeletable> {
        let entry = self.table.get(id).ok_or(Undeletable::Missing)?;
        if self.recipients(entry).any(|it| it.state == State::Claimed) {
            return Err(Undeletable::Busy);
        }
        let (_, claimed) = self.claim(id, None).ok_or(Undeletable::Missing)?;
        let nobody = Remote { server: String::new(), reply: String::new(), status: String::new() };
        let outcomes = vec![Outcome::Failed(nobody); claimed.len()];
        Ok(self.settle(id, &claimed, outcomes))
    }

    fn apply(&mut self, id: QueueId, settled: &Settled) {
        // A message that was tried in vain is not tried again soon: its content goes from memory.
        self.cool(id);
        let Some(before) = self.recipients_mut(id).nth(settled.recipient as usize).map(|it| it.reply) else { return };
        let (state, due, reply) = match &settled.outcome {
            Kept::Delivered | Kept::Failed => (State::Done, None, 0),
            Kept::Deferred { remote, until } => (State::Pending, Some(*until), self.replies.hold(remote)),
        };
        self.replies.release(before);
        if let Some(standing) = self.recipients_mut(id).nth(settled.recipient as usize) {
            (standing.state, standing.reply, standing.attempts) = (state, reply, counted(settled.attempts));
            standing.due = due.map_or(standing.due, Due::from);
        }
    }

    fn remove_settled(&mut self, id: QueueId) -> Option<Gone> {
        let waits = self.recipients(self.table.get(id)?).any(Recipient::waits);
        if waits { None } else { self.remove(id) }
    }

    /// Takes a message out, whatever its state.
    pub(super) fn remove(&mut self, id: QueueId) -> Option<Gone> {
        let entry = self.table.remove(id)?;
        let others = self.others.remove(&id).unwrap_or_default();
        for standing in std::iter::once(&entry.first).chain(&others) {
            self.replies.release(standing.reply);
        }
        self.warm.remove(&id);
        let place = self.place(&entry);
        self.segments.leave(entry.segment);
        Some(Gone { id, place, file: self.files.remove(&id) })
    }

    /// Makes the pending recipients due; `false` when the message is not here, or held.
    pub(super) fn retry(&mut self, id: QueueId, now: Timestamp) -> bool {
        let now = Due::from(now);
        self.recipients_mut(id).for_each(|standing| standing.due = standing.due.min(now));
        self.is_held(id) == Some(false)
    }

    /// Whether a person keeps a message; `None` when it is not here.
    pub(super) fn is_held(&self, id: QueueId) -> Option<bool> {
        Some(self.table.get(id)?.traits.has(Traits::HELD))
    }

    /// Keeps a message from delivery, or no longer; answers when it is due then, if it is not held.
    pub(super) fn hold(&mut self, id: QueueId, held: bool) -> Option<Timestamp> {
        self.table.get_mut(id)?.traits.set(Traits::HELD, held);
        let due = self.recipients(self.table.get(id)?).filter(|it| it.waits()).map(|it| it.due).min()?;
        (!held).then(|| due.into())
    }

    /// Whether the content of a message is in memory.
    pub(super) fn is_warm(&self, id: QueueId) -> bool {
        self.warm.contains_key(&id)
    }

    /// Forgets the content of a message, which stays on disk.
    pub(super) fn cool(&mut self, id: QueueId) {
        if self.warm.remove(&id).is_some()
            && let Some(entry) = self.table.get_mut(id)
        {
            entry.traits.set(Traits::WARM, false);
        }
    }
}

#[cfg(test)]
mod tests;
