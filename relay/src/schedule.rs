//! When a message is tried again, and whose turn it is. Pure: time is an argument, and so is chance.
//!
//! A destination has a lane for fresh mail and one for retries. It is proven by one connection before it gets more: so a dead
//! next hop costs one probe, not one attempt for each message. Destinations take turns, and none has more than half of all
//! connections. Only ids are kept of a message; what waits here is in the spool, and nothing is lost with this.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::queue_id::QueueId;

/// How waits grow: each is twice the one before, and up to an eighth longer by chance, so that what failed together does not
/// come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row (at least one). `chance` is from 0 to 1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let wait = self.first.saturating_mul(doubled).min(self.max);
        wait + wait.mul_f64(chance.clamp(0.0, 1.0) / 8.0)
    }

    /// What comes after a message's failed attempt. `attempts` counts this one too. `None`: it was the last one, for the
    /// message is older than its lifetime. The last attempt falls on the end of the lifetime, not long before it.
    ///
    /// A clock that jumped ahead makes no message expire untried: whoever asks has tried it.
    pub fn retry(&self, attempts: u32, age: Duration, lifetime: Duration, chance: f64) -> Option<Duration> {
        let left = lifetime.checked_sub(age).filter(|left| !left.is_zero())?;
        Some(self.wait(attempts, chance).min(left))
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// In all.
    pub total: usize,
    /// To one destination; half of all is a further bound.
    pub each: usize,
}

/// One connection's task, as its driver numbers it.
pub type Worker = u64;

/// The place of a destination, while it has anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// After a next hop refused a further connection, so long it gets no more than it has.
const CEILING: Duration = Duration::from_secs(60);
/// After so many fresh messages in a row a retry has its turn.
const FRESH_RUN: u32 = 3;
/// How long a destination's failures are remembered when nothing waits for it.
const MEMORY: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Destination<K> {
    key: K,
    fresh: VecDeque<QueueId>,
    retries: VecDeque<QueueId>,
    fresh_run: u32,
    state: State,
    /// Failed probes in a row.
    failures: u32,
    suspended: bool,
    workers: usize,
    idle: Vec<Worker>,
    ceiling: Option<(usize, Duration)>,
    in_turns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Answers.
    Open,
    /// Not to be tried before this time, and then by one connection. A new destination is so from time 0.
    Down(Duration),
    /// One connection is trying.
    Probing,
}

/// Whose turn it is. `K` is what makes two destinations different.
#[derive(Debug)]
pub struct Schedule<K> {
    slots: Slots,
    backoff: Backoff,
    /// Never shrinks; places are used again.
    destinations: Vec<Option<Destination<K>>>,
    places: HashMap<K, Place>,
    /// Those with something waiting, in the order of their turns.
    turns: VecDeque<Place>,
    waiting: HashSet<(QueueId, Place)>,
    workers: usize,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// Empty. `backoff` is for next hops that cannot be reached.
    pub fn new(slots: Slots, backoff: Backoff) -> Self {
        Self {
            slots,
            backoff,
            destinations: Vec::new(),
            places: HashMap::new(),
            turns: VecDeque::new(),
            waiting: HashSet::new(),
            workers: 0,
        }
    }

    /// A message waits for a destination; `false` when it does already. A suspended destination only collects.
    pub fn push(&mut self, key: &K, message: QueueId, fresh: bool, suspended: bool) -> bool {
        let place = self.place(key);
        if !self.waiting.insert((message, place)) {
            return false;
        }
        let Some(destination) = self.destinations[place.0].as_mut() else { return false };
        destination.suspended = suspended;
        let lane = if fresh { &mut destination.fresh } else { &mut destination.retries };
        lane.push_back(message);
        if !destination.in_turns {
            destination.in_turns = true;
            self.turns.push_back(place);
        }
        true
    }

    /// The next message that may be sent now, and by whom. Its slot is taken: until [`idle`](Self::idle) or
    /// [`gone`](Self::gone).
    pub fn next(&mut self, now: Duration) -> Option<Work<K>> {
        for _ in 0..self.turns.len() {
            let place = self.turns.pop_front()?;
            let most = self.slots.each.min(self.slots.total.div_ceil(2));
            let free = self.workers < self.slots.total;
            let Some(destination) = self.destinations[place.0].as_mut() else { continue };
            if destination.fresh.is_empty() && destination.retries.is_empty() {
                destination.in_turns = false;
                continue;
            }
            self.turns.push_back(place);
            let Some(worker) = destination.slot(now, most, free) else { continue };
            let Some(message) = destination.take() else { continue };
            if worker.is_none() {
                self.workers += 1;
            }
            let key = destination.key.clone();
            self.waiting.remove(&(message, place));
            return Some(Work { place, key, message, worker });
        }
        None
    }

    /// A worker has done its work and waits for more, with its connection open: so the next hop answers.
    pub fn idle(&mut self, place: Place, worker: Worker) {
        if let Some(destination) = self.destination(place) {
            (destination.state, destination.failures) = (State::Open, 0);
            destination.idle.push(worker);
        }
    }

    /// A worker has ended.
    pub fn gone(&mut self, place: Place, worker: Worker) {
        self.workers = self.workers.saturating_sub(1);
        if let Some(destination) = self.destination(place) {
            destination.workers = destination.workers.saturating_sub(1);
            destination.idle.retain(|idle| *idle != worker);
            if destination.state == State::Probing && destination.workers == 0 {
                // It ended without a word about the next hop: another may try.
                destination.state = State::Down(Duration::ZERO);
            }
        }
    }

    /// The next hop answers.
    pub fn reached(&mut self, place: Place) {
        if let Some(destination) = self.destination(place) {
            (destination.state, destination.failures) = (State::Open, 0);
        }
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
        let until = now + backoff.wait(destination.failures, chance);
        (destination.state, destination.ceiling) = (State::Down(until), None);
        Some(until)
    }

    /// The destinations that have anything to do, or that are remembered.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.keys()
    }

    /// Whether a destination only collects.
    pub fn suspend(&mut self, key: &K, suspended: bool) {
        if let Some(destination) = self.places.get(key).copied().and_then(|place| self.destination(place)) {
            destination.suspended = suspended;
        }
    }

    /// Takes out what waits for destinations that are not open, so that its route can be asked for again; each of them may be
    /// probed at once.
    pub fn take_stuck(&mut self) -> Vec<QueueId> {
        self.take_where(|destination| {
            let stuck = destination.suspended || matches!(destination.state, State::Down(_));
            if stuck && matches!(destination.state, State::Down(_)) {
                destination.state = State::Down(Duration::ZERO);
            }
            if stuck { destination.lanes().collect() } else { Vec::new() }
        })
    }

    /// Takes out what waits for a destination and came before `unix_millis`.
    pub fn take_old(&mut self, place: Place, unix_millis: u64) -> Vec<QueueId> {
        let Some(destination) = self.destination(place) else { return Vec::new() };
        let old: Vec<_> = destination.lanes().filter(|id| id.unix_millis() < unix_millis).collect();
        if !old.is_empty() {
            let gone: HashSet<_> = old.iter().copied().collect();
            destination.fresh.retain(|id| !gone.contains(id));
            destination.retries.retain(|id| !gone.contains(id));
        }
        for id in &old {
            self.waiting.remove(&(*id, place));
        }
        old
    }

    /// A destination that is down may be probed at once: a person wants it tried.
    pub fn probe(&mut self, key: &K) {
        if let Some(destination) = self.places.get(key).copied().and_then(|place| self.destination(place))
            && let State::Down(until) = &mut destination.state
        {
            *until = Duration::ZERO;
        }
    }

    /// When [`next`](Self::next) may have an answer that it has not now, if nothing else happens.
    pub fn wake(&self) -> Option<Duration> {
        let waits = |place: &Place| {
            let destination = self.destinations[place.0].as_ref()?;
            match (destination.state, destination.ceiling) {
                _ if destination.suspended => None,
                (State::Down(until), _) | (State::Open, Some((_, until))) => Some(until),
                _ => None,
            }
        };
        self.turns.iter().filter_map(waits).min()
    }

    /// Forgets destinations with nothing to do.
    pub fn sweep(&mut self, now: Duration) {
        for place in 0..self.destinations.len() {
            let Some(destination) = &self.destinations[place] else { continue };
            let quiet = destination.workers == 0 && !destination.in_turns;
            let remembered = matches!(destination.state, State::Down(until) if now < until + MEMORY);
            if quiet && (!remembered || destination.failures == 0) {
                self.places.remove(&destination.key);
                self.destinations[place] = None;
            }
        }
    }

    /// How many destinations are down.
    pub fn down(&self) -> usize {
        let down = |destination: &&Destination<K>| destination.failures > 0;
        self.destinations.iter().flatten().filter(down).count()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    fn destination(&mut self, place: Place) -> Option<&mut Destination<K>> {
        self.destinations.get_mut(place.0)?.as_mut()
    }

    fn take_where(&mut self, mut which: impl FnMut(&mut Destination<K>) -> Vec<QueueId>) -> Vec<QueueId> {
        let mut taken = Vec::new();
        for (index, destination) in self.destinations.iter_mut().enumerate() {
            let Some(destination) = destination else { continue };
            let ids = which(destination);
            if ids.is_empty() {
                continue;
            }
            destination.fresh.clear();
            destination.retries.clear();
            for id in &ids {
                self.waiting.remove(&(*id, Place(index)));
            }
            taken.extend(ids);
        }
        taken
    }

    fn place(&mut self, key: &K) -> Place {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let new = Destination {
            key: key.clone(),
            fresh: VecDeque::new(),
            retries: VecDeque::new(),
            fresh_run: 0,
            state: State::Down(Duration::ZERO),
            failures: 0,
            suspended: false,
            workers: 0,
            idle: Vec::new(),
            ceiling: None,
            in_turns: false,
        };
        let index = self.destinations.iter().position(Option::is_none).unwrap_or(self.destinations.len());
        if index == self.destinations.len() {
            self.destinations.push(Some(new));
        } else {
            self.destinations[index] = Some(new);
        }
        self.places.insert(key.clone(), Place(index));
        Place(index)
    }
}

impl<K> Destination<K> {
    fn lanes(&self) -> impl Iterator<Item = QueueId> {
        self.fresh.iter().chain(&self.retries).copied()
    }

    /// Who may send the next message: an idle worker, or (`Some(None)`) a new one.
    fn slot(&mut self, now: Duration, most: usize, free: bool) -> Option<Option<Worker>> {
        if self.suspended {
            return None;
        }
        match self.state {
            State::Down(until) if now >= until && (free || !self.idle.is_empty()) => self.state = State::Probing,
            State::Down(_) | State::Probing => return None,
            State::Open => {}
        }
        if let Some(worker) = self.idle.pop() {
            return Some(Some(worker));
        }
        if self.ceiling.is_some_and(|(_, until)| now >= until) {
            self.ceiling = None;
        }
        let most = self.ceiling.map_or(most, |(ceiling, _)| ceiling.min(most));
        if self.state == State::Open && !(free && self.workers < most) {
            return None;
        }
        self.workers += 1;
        Some(None)
    }

    fn take(&mut self) -> Option<QueueId> {
        let retry = self.fresh.is_empty() || self.fresh_run >= FRESH_RUN && !self.retries.is_empty();
        self.fresh_run = if retry { 0 } else { self.fresh_run + 1 };
        if retry { self.retries.pop_front() } else { self.fresh.pop_front() }
    }
}

#[cfg(test)]
mod tests;
