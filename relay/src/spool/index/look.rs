//! What the index tells: lines of the queue, what is in a segment, what is due. Pure.

use jiff::Timestamp;

use super::entry::{Due, Entry, State, Traits};
use super::{Index, json};
use crate::envelope::Envelope;
use crate::queue_id::QueueId;
use crate::spool::log::Place;
use crate::spool::{Queued, ShownRecipient};

impl Index {
    /// The messages in one segment, in the order of their places.
    pub(in super::super) fn in_segment(&self, generation: u64) -> Vec<(QueueId, Place)> {
        let Some(number) = self.segments.number(generation) else { return Vec::new() };
        let there = self.table.iter().filter(|entry| entry.segment == number);
        let mut found: Vec<_> = there.map(|entry| (entry.id, self.place(entry))).collect();
        found.sort_unstable_by_key(|(_, place)| place.offset);
        found
    }

    /// What a Copy record of a message says in place of its envelope, and whether it is held; `None` when it is no longer
    /// at that place.
    pub(in super::super) fn copied(&self, id: QueueId, from: Place, envelope: &Envelope) -> Option<(Vec<u8>, bool)> {
        let entry = self.table.get(id).filter(|entry| self.place(entry) == from)?;
        let json = json(envelope, self.standing(id).as_deref()).ok()?;
        Some((json, entry.traits.has(Traits::HELD)))
    }

    /// A message was copied forward. `false`: it was settled meanwhile, and the copy does not matter.
    pub(in super::super) fn moved(&mut self, id: QueueId, from: Place, to: Place) -> bool {
        if self.table.get(id).is_none_or(|entry| self.place(entry) != from) {
            return false;
        }
        let segment = self.segments.enter(to);
        if let Some(entry) = self.table.get_mut(id) {
            let left = std::mem::replace(&mut entry.segment, segment);
            (entry.offset, entry.length) = (to.offset, to.length);
            self.segments.leave(left);
        }
        true
    }

    fn queued(&self, entry: &Entry) -> Queued {
        let (mut recipients, mut pending, mut attempts) = (0, 0, 0);
        let (mut claimed, mut due, mut last) = (false, None, None);
        for standing in self.recipients(entry) {
            recipients += 1;
            if standing.waits() {
                pending += 1;
                attempts = attempts.max(standing.attempts.into());
                claimed |= standing.state == State::Claimed;
                due = Some(due.map_or(standing.due, |due: Due| due.min(standing.due)));
                last = last.or_else(|| self.replies.get(standing.reply).cloned());
            }
        }
        Queued {
            id: entry.id,
            arrived: entry.arrived(),
            size: entry.size.into(),
            recipients,
            pending,
            claimed,
            held: entry.traits.has(Traits::HELD),
            attempts,
            due: due.map_or(Timestamp::MAX, Timestamp::from),
            last,
        }
    }

    /// How many pieces there are to look through with [`Index::piece`].
    pub(in super::super) fn pieces(&self) -> usize {
        self.table.pieces()
    }

    /// Some lines of the queue, in no order.
    pub(in super::super) fn piece(&self, piece: usize) -> impl Iterator<Item = Queued> {
        self.table.piece(piece).map(|entry| self.queued(entry))
    }

    /// When the oldest of some messages was accepted.
    pub(in super::super) fn oldest(&self, piece: usize) -> Option<Timestamp> {
        self.table.piece(piece).map(Entry::arrived).min()
    }

    /// One line of the queue, and its recipients.
    pub(in super::super) fn show(&self, id: QueueId) -> Option<(Queued, Vec<ShownRecipient>)> {
        let entry = self.table.get(id)?;
        let all = self.recipients(entry).enumerate();
        let recipients = all.map(|(index, it)| ShownRecipient {
            pending: it.waits().then(|| self.seen(index, it)),
            claimed: it.state == State::Claimed,
        });
        Some((self.queued(entry), recipients.collect()))
    }

    /// Each message that is not held, and when it is due, the first ones first.
    pub(in super::super) fn due(&self) -> Vec<(Due, QueueId)> {
        let due = |entry: &Entry| self.recipients(entry).filter(|it| it.waits()).map(|it| it.due).min();
        let free = self.table.iter().filter(|entry| !entry.traits.has(Traits::HELD));
        let mut all: Vec<_> = free.filter_map(|entry| Some((due(entry)?, entry.id))).collect();
        all.sort_unstable();
        all
    }

    /// Each message whose body is in a file.
    pub(in super::super) fn with_file(&self) -> impl Iterator<Item = QueueId> {
        self.files.keys().copied()
    }

    pub(in super::super) fn len(&self) -> usize {
        self.table.len()
    }
}
