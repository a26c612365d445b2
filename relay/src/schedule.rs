//! When a message is tried again, and whose turn it is. Pure: time is an argument, and so is chance.
//!
//! A destination has a lane for fresh mail and one for retries. It is proven by one connection before it gets more: so a dead
//! next hop costs one probe, not one attempt for each message. Destinations take turns; none has more than half of all
//! connections, nor have all those together that are not proven; and when all connections are taken, a destination without
//! any gets one of those that are done with a message. Only ids are kept of a message; what waits here is in the spool, and
//! nothing is lost with this.

mod backoff;
mod destination;
mod queues;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::queue_id::QueueId;
pub use backoff::Backoff;
use destination::{Destination, Offer, State};
pub use destination::{Terms, Waiting};
use queues::{At, Queues};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// In all. To one destination: half of them.
    pub total: usize,
}

/// One connection's task, as its driver numbers it.
pub type Worker = u64;

/// The place of a destination, while it has anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(usize);

/// One message for one destination, to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work<K> {
    /// The destination.
    pub place: Place,
    /// Which it is.
    pub key: K,
    /// The message.
    pub message: QueueId,
    /// The worker that has waited for it; absent: make a new one.
    pub worker: Option<Worker>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<K> {
    /// This message is to be sent.
    Send(Work<K>),
    /// This worker, which waits, ends: another destination needs its slot.
    Retire(Worker),
}

/// After a next hop refused a further connection, so long it gets no more than it has.
const CEILING: Duration = Duration::from_secs(60);
/// How long a destination's failures are remembered when nothing waits for it.
const MEMORY: Duration = Duration::from_secs(3600);

/// Whose turn it is. `K` is what makes two destinations different.
#[derive(Debug)]
pub struct Schedule<K> {
    slots: Slots,
    backoff: Backoff,
    /// Never shrinks; places are used again.
    destinations: Vec<Option<Destination<K>>>,
    places: HashMap<K, Place>,
    queues: Queues,
    workers: usize,
    /// Destinations with a probe under way.
    probing: usize,
    /// The worker that was told to end.
    retired: Option<Worker>,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// Empty. `backoff` is for next hops that cannot be reached.
    pub fn new(slots: Slots, backoff: Backoff) -> Self {
        Self {
            slots,
            backoff,
            destinations: Vec::new(),
            places: HashMap::new(),
            queues: Queues::default(),
            workers: 0,
            probing: 0,
            retired: None,
        }
    }

    /// The terms of a destination that is known; the caller knows them of any other.
    pub fn terms(&self, key: &K) -> Option<&Terms> {
        let place = self.places.get(key)?;
        self.destinations[place.0].as_ref().map(|destination| &destination.terms)
    }

    /// New terms for a destination, if it is known.
    pub fn set_terms(&mut self, key: &K, terms: Terms) {
        let Some(place) = self.places.get(key).copied() else { return };
        if let Some(destination) = self.destination(place) {
            destination.terms = terms;
            self.wake_up(place);
        }
    }

    /// A message waits for a destination; `false` when it does already. `terms` count only when the destination is new.
    pub fn push(&mut self, key: &K, message: QueueId, waiting: Waiting, terms: Terms) -> bool {
        let place = self.place(key, terms);
        let Some(destination) = self.destinations[place.0].as_mut() else { return false };
        if !destination.push(message, waiting) {
            return false;
        }
        if destination.at == At::Nowhere {
            destination.at = self.queues.turn(place);
        }
        true
    }

    /// What is to be done now. The slot of a message is taken: until [`idle`](Self::idle) or [`gone`](Self::gone).
    pub fn next(&mut self, now: Duration) -> Option<Turn<K>> {
        while let Some((until, place)) = self.queues.first_asleep()
            && until <= now
        {
            self.wake_up(place);
        }
        if let Some(worker) = self.retire() {
            return Some(Turn::Retire(worker));
        }
        while let Some(place) = self.queues.pick(self.is_free(), self.may_probe()) {
            let (free, may_probe, half) = (self.is_free(), self.may_probe(), self.half());
            let Some(destination) = self.destinations[place.0].as_mut() else { continue };
            if destination.is_empty() {
                (destination.at, destination.pace) = (At::Nowhere, None);
                continue;
            }
            let offer = destination.offer(now, half);
            destination.at = match offer {
                Offer::Sleep(until) => self.queues.sleep(place, until),
                Offer::Park => At::Parked,
                Offer::Hire { probe: true } if !(free && may_probe) => self.queues.unproven(place),
                Offer::Hire { probe: false } if !free => self.queues.hungry(place, destination.workers > 0),
                Offer::Hire { .. } | Offer::Reuse(_) => {
                    destination.at = self.queues.turn(place);
                    let worker = if let Offer::Reuse(worker) = offer { Some(worker) } else { None };
                    match self.give(place, worker, now) {
                        Some(work) => return Some(Turn::Send(work)),
                        None => continue,
                    }
                }
            };
        }
        None
    }

    fn give(&mut self, place: Place, worker: Option<Worker>, now: Duration) -> Option<Work<K>> {
        let destination = self.destinations[place.0].as_mut()?;
        let message = destination.take()?;
        destination.step_pace(now);
        if worker.is_none() {
            destination.workers += 1;
            self.workers += 1;
        }
        let (key, is_probe) = (destination.key.clone(), matches!(destination.state, State::Down(_)));
        if is_probe {
            self.set_state(place, State::Probing);
        }
        Some(Work { place, key, message, worker })
    }

    /// A worker that waits while others want its slot: of a destination that has no mail, or other workers. One at a time.
    fn retire(&mut self) -> Option<Worker> {
        if self.is_free() || self.retired.is_some() || !self.queues.is_anyone_starving(self.may_probe()) {
            return None;
        }
        let spare = |destination: &&mut Destination<K>| {
            !destination.idle.is_empty() && (destination.is_empty() || destination.workers > 1)
        };
        self.retired = self.destinations.iter_mut().flatten().find(spare)?.idle.pop();
        self.retired
    }

    /// A worker has done its work and waits for more, with its connection open: so the next hop answers.
    pub fn idle(&mut self, place: Place, worker: Worker) {
        self.reached(place);
        if let Some(destination) = self.destination(place) {
            destination.idle.push(worker);
        }
    }

    /// A worker has ended.
    pub fn gone(&mut self, place: Place, worker: Worker) {
        self.workers = self.workers.saturating_sub(1);
        if self.retired == Some(worker) {
            self.retired = None;
        }
        let Some(destination) = self.destination(place) else { return };
        destination.workers = destination.workers.saturating_sub(1);
        destination.idle.retain(|idle| *idle != worker);
        if destination.state == State::Probing && destination.workers == 0 {
            // It ended without a word about the next hop: another may try.
            self.set_state(place, State::Down(Duration::ZERO));
        }
        self.wake_up(place);
    }

    /// The next hop answers. Whether it had not before.
    pub fn reached(&mut self, place: Place) -> bool {
        let Some(destination) = self.destination(place) else { return false };
        let was_down = destination.failures > 0;
        destination.failures = 0;
        self.set_state(place, State::Open);
        self.wake_up(place);
        was_down
    }

    /// A worker could not reach the next hop. `None`: others still can, so that it only gets no further connection for a
    /// while. Otherwise: nothing is sent to it before this time.
    pub fn unreachable(&mut self, place: Place, now: Duration, chance: f64) -> Option<Duration> {
        let backoff = self.backoff;
        let destination = self.destination(place)?;
        if destination.state == State::Open && destination.workers > 1 {
            destination.ceiling = Some((destination.workers - 1, now + CEILING));
            return None;
        }
        destination.failures = destination.failures.saturating_add(1);
        destination.ceiling = None;
        let until = now + backoff.wait(destination.failures, chance);
        self.set_state(place, State::Down(until));
        self.wake_up(place);
        Some(until)
    }

    /// The next hop has had as much as it may have: nothing before this time, and from then on one message in so long, until
    /// nothing waits for it.
    pub fn pace(&mut self, place: Place, next: Duration, every: Duration) {
        if let Some(destination) = self.destination(place) {
            destination.pace = Some((next, every));
        }
    }

    /// Which destination has this place.
    pub fn key(&self, place: Place) -> Option<&K> {
        self.destinations.get(place.0)?.as_ref().map(|destination| &destination.key)
    }

    /// The destinations that have anything to do, or that are remembered.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.keys()
    }

    /// Takes out what waits for destinations that are not open, so that its route can be asked for again; each of them may be
    /// probed at once.
    pub fn take_stuck(&mut self) -> Vec<QueueId> {
        let mut taken = Vec::new();
        for index in 0..self.destinations.len() {
            let Some(destination) = self.destination(Place(index)) else { continue };
            let is_down = matches!(destination.state, State::Down(_));
            if is_down || destination.terms.suspended {
                taken.extend(destination.take_all());
            }
            if is_down {
                destination.state = State::Down(Duration::ZERO);
                self.wake_up(Place(index));
            }
        }
        taken
    }

    /// Takes out what waits for a destination and is older than its terms allow, or whose sender is to be told that it waits.
    pub fn take_aged(&mut self, place: Place, now_unix_millis: u64) -> Vec<QueueId> {
        self.destination(place).map_or_else(Vec::new, |destination| destination.take_aged(now_unix_millis))
    }

    /// A destination that is down may be probed at once: a person wants it tried.
    pub fn probe(&mut self, key: &K) {
        let Some(place) = self.places.get(key).copied() else { return };
        if let Some(destination) = self.destination(place)
            && let State::Down(until) = &mut destination.state
        {
            *until = Duration::ZERO;
            self.wake_up(place);
        }
    }

    /// When [`next`](Self::next) may have an answer that it has not now, if nothing else happens.
    pub fn wake(&self) -> Option<Duration> {
        self.queues.first_asleep().map(|(until, _)| until)
    }

    /// Forgets destinations with nothing to do.
    pub fn sweep(&mut self, now: Duration) {
        for place in 0..self.destinations.len() {
            let Some(destination) = &self.destinations[place] else { continue };
            let quiet = destination.workers == 0 && destination.is_empty() && destination.at == At::Nowhere;
            let remembered = matches!(destination.state, State::Down(until) if now < until + MEMORY);
            if quiet && (!remembered || destination.failures == 0) {
                self.places.remove(&destination.key);
                self.destinations[place] = None;
            }
        }
    }

    /// How many destinations are down.
    pub fn down(&self) -> usize {
        self.destinations.iter().flatten().filter(|destination| destination.failures > 0).count()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// How many of them wait for more work.
    pub fn idle_workers(&self) -> usize {
        self.destinations.iter().flatten().map(|destination| destination.idle.len()).sum()
    }

    /// How many messages wait, each counted for each of its destinations.
    pub fn waiting(&self) -> usize {
        self.destinations.iter().flatten().map(Destination::len).sum()
    }

    fn is_free(&self) -> bool {
        self.workers < self.slots.total
    }

    fn half(&self) -> usize {
        self.slots.total.div_ceil(2)
    }

    fn may_probe(&self) -> bool {
        self.probing < self.half()
    }

    fn destination(&mut self, place: Place) -> Option<&mut Destination<K>> {
        self.destinations.get_mut(place.0)?.as_mut()
    }

    fn set_state(&mut self, place: Place, state: State) {
        let Some(destination) = self.destinations.get_mut(place.0).and_then(Option::as_mut) else { return };
        let (was, is) = (destination.state == State::Probing, state == State::Probing);
        destination.state = state;
        self.probing = self.probing + usize::from(is) - usize::from(was);
    }

    /// Something has happened to it: it is looked at again.
    fn wake_up(&mut self, place: Place) {
        if let Some(destination) = self.destinations.get_mut(place.0).and_then(Option::as_mut) {
            destination.at = self.queues.wake_up(place, destination.at);
        }
    }

    fn place(&mut self, key: &K, terms: Terms) -> Place {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let new = Some(Destination::new(key.clone(), terms));
        let index = match self.destinations.iter().position(Option::is_none) {
            Some(index) => {
                self.destinations[index] = new;
                index
            }
            None => {
                self.destinations.push(new);
                self.destinations.len() - 1
            }
        };
        self.places.insert(key.clone(), Place(index));
        Place(index)
    }
}

#[cfg(test)]
mod tests;
