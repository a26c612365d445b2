//! Where destinations wait for their turn. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Place;

/// Where a destination is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Nothing waits for it.
    Nowhere,
    /// Its turn comes.
    Turns,
    /// It was refused a slot: whether it has workers all the same, and when that was.
    Hungry(bool, u64),
    /// It was refused a slot for its probe: when.
    Unproven(u64),
    /// Nothing can be given before this time, unless something happens to it.
    Asleep(Duration),
    /// Nothing can be given before something happens to it.
    Parked,
}

/// Each destination with waiting mail is in one of them, or parked.
#[derive(Debug, Default)]
pub(super) struct Queues {
    turns: VecDeque<Place>,
    /// Those without any worker first.
    hungry: BTreeMap<(bool, u64), Place>,
    unproven: BTreeMap<u64, Place>,
    asleep: BTreeSet<(Duration, Place)>,
    serial: u64,
}

impl Queues {
    pub(super) fn turn(&mut self, place: Place) -> At {
        self.turns.push_back(place);
        At::Turns
    }

    pub(super) fn hungry(&mut self, place: Place, has_workers: bool) -> At {
        self.serial += 1;
        self.hungry.insert((has_workers, self.serial), place);
        At::Hungry(has_workers, self.serial)
    }

    pub(super) fn unproven(&mut self, place: Place) -> At {
        self.serial += 1;
        self.unproven.insert(self.serial, place);
        At::Unproven(self.serial)
    }

    pub(super) fn sleep(&mut self, place: Place, until: Duration) -> At {
        self.asleep.insert((until, place));
        At::Asleep(until)
    }

    /// Something has happened to a destination that is kept there: its turn comes.
    pub(super) fn wake_up(&mut self, place: Place, at: At) -> At {
        match at {
            At::Nowhere | At::Turns => return at,
            At::Hungry(has_workers, serial) => {
                self.hungry.remove(&(has_workers, serial));
            }
            At::Unproven(serial) => {
                self.unproven.remove(&serial);
            }
            At::Asleep(until) => {
                self.asleep.remove(&(until, place));
            }
            At::Parked => {}
        }
        self.turn(place)
    }

    /// Who is looked at next: first those that a slot was missing for, when there is one.
    pub(super) fn pick(&mut self, free: bool, may_probe: bool) -> Option<Place> {
        if free
            && may_probe
            && let Some((_, place)) = self.unproven.pop_first()
        {
            return Some(place);
        }
        if free && let Some((_, place)) = self.hungry.pop_first() {
            return Some(place);
        }
        self.turns.pop_front()
    }

    /// Whether a destination without any worker waits for a slot.
    pub(super) fn is_anyone_starving(&self, may_probe: bool) -> bool {
        let without_workers = self.hungry.first_key_value().is_some_and(|((has_workers, _), _)| !has_workers);
        without_workers || may_probe && !self.unproven.is_empty()
    }

    /// Who sleeps the shortest.
    pub(super) fn first_asleep(&self) -> Option<(Duration, Place)> {
        self.asleep.first().copied()
    }
}
