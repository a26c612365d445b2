//! One destination: what waits for it, and what it may be given now. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Worker;
use super::queues::At;
use crate::queue_id::QueueId;

/// What holds for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It only collects.
    pub suspended: bool,
    /// Connections at the same time; half of all is a further bound.
    pub connections: usize,
    /// How long mail for it is kept.
    pub lifetime: Duration,
    /// How long mail with the null sender is kept.
    pub null_sender_lifetime: Duration,
    /// After how long a sender of ours is told that mail waits.
    pub warn_after: Option<Duration>,
}

/// What is known of a message that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// It was not tried before.
    pub fresh: bool,
    /// It has the null sender.
    pub null_sender: bool,
    /// Its sender is to be told when it waits for long, and was not.
    pub unwarned: bool,
}

/// After so many fresh messages in a row a retry has its turn.
const FRESH_RUN: u32 = 3;
/// A destination that could not be served in time catches up with so much of its pace.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Messages by their arrival, with what must be known of them without looking them up. A message takes about 16 octets here.
type Lane = BTreeMap<QueueId, Traits>;

#[derive(Clone, Copy, Debug)]
struct Traits {
    null_sender: bool,
    unwarned: bool,
}

#[derive(Debug)]
pub(super) struct Destination<K> {
    pub(super) key: K,
    pub(super) terms: Terms,
    fresh: Lane,
    retries: Lane,
    fresh_run: u32,
    pub(super) state: State,
    /// Failed probes in a row.
    pub(super) failures: u32,
    pub(super) workers: usize,
    pub(super) idle: Vec<Worker>,
    /// No more connections than these, until then.
    pub(super) ceiling: Option<(usize, Duration)>,
    /// The next message not before this, and then one in so long.
    pub(super) pace: Option<(Duration, Duration)>,
    pub(super) at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Answers.
    Open,
    /// Not to be tried before this time, and then by one connection. A new destination is so from time 0.
    Down(Duration),
    /// One connection is trying.
    Probing,
}

/// What a destination with waiting mail may have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// The next message, by this worker.
    Reuse(Worker),
    /// The next message, by a new worker, if there is a slot; whether it would be a probe.
    Hire { probe: bool },
    /// Nothing until then.
    Sleep(Duration),
    /// Nothing until something happens.
    Park,
}

impl<K> Destination<K> {
    pub(super) fn new(key: K, terms: Terms) -> Self {
        Self {
            key,
            terms,
            fresh: Lane::new(),
            retries: Lane::new(),
            fresh_run: 0,
            state: State::Down(Duration::ZERO),
            failures: 0,
            workers: 0,
            idle: Vec::new(),
            ceiling: None,
            pace: None,
            at: At::Nowhere,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.retries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.retries.len()
    }

    /// Whether it was not there yet.
    pub(super) fn push(&mut self, message: QueueId, waiting: Waiting) -> bool {
        let Waiting { fresh, null_sender, unwarned } = waiting;
        let (lane, other) = match fresh {
            true => (&mut self.fresh, &self.retries),
            false => (&mut self.retries, &self.fresh),
        };
        !other.contains_key(&message) && lane.insert(message, Traits { null_sender, unwarned }).is_none()
    }

    /// The next message, and which lane it is from.
    pub(super) fn take(&mut self) -> Option<QueueId> {
        let retry = self.fresh.is_empty() || self.fresh_run >= FRESH_RUN && !self.retries.is_empty();
        self.fresh_run = if retry { 0 } else { self.fresh_run + 1 };
        let lane = if retry { &mut self.retries } else { &mut self.fresh };
        lane.pop_first().map(|(message, _)| message)
    }

    /// Who may send the next message.
    pub(super) fn offer(&mut self, now: Duration, each: usize) -> Offer {
        if self.terms.suspended {
            return Offer::Park;
        }
        let probe = match self.state {
            State::Down(until) if now < until => return Offer::Sleep(until),
            State::Down(_) => true,
            State::Probing => return Offer::Park,
            State::Open => false,
        };
        if let Some((next, _)) = self.pace
            && now < next
        {
            return Offer::Sleep(next);
        }
        if let Some(worker) = self.idle.pop() {
            return Offer::Reuse(worker);
        }
        if self.ceiling.is_some_and(|(_, until)| now >= until) {
            self.ceiling = None;
        }
        let most = self.terms.connections.min(each);
        match self.ceiling {
            _ if probe => Offer::Hire { probe },
            Some((ceiling, until)) if self.workers >= ceiling && self.workers < most => Offer::Sleep(until),
            _ if self.workers >= most => Offer::Park,
            _ => Offer::Hire { probe },
        }
    }

    /// One message of its pace is used up.
    pub(super) fn step_pace(&mut self, now: Duration) {
        if let Some((next, every)) = &mut self.pace {
            *next = (*next).max(now.saturating_sub(CATCH_UP)) + *every;
        }
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<QueueId> {
        let lanes = [std::mem::take(&mut self.fresh), std::mem::take(&mut self.retries)];
        lanes.into_iter().flat_map(BTreeMap::into_keys).collect()
    }

    /// Takes out what is older than it may be, or whose sender is to be told that it waits.
    pub(super) fn take_aged(&mut self, now_unix_millis: u64) -> Vec<QueueId> {
        let before = |age: Duration| now_unix_millis.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let Terms { lifetime, null_sender_lifetime, warn_after, .. } = self.terms;
        let (expired, null_expired) = (before(lifetime), before(null_sender_lifetime.min(lifetime)));
        let to_warn = warn_after.map_or(0, before);
        let is_aged = |id: &QueueId, traits: &Traits| {
            let arrived = id.unix_millis();
            arrived < expired || traits.null_sender && arrived < null_expired || traits.unwarned && arrived < to_warn
        };
        let youngest = QueueId::new(expired.max(null_expired).max(to_warn), 0);
        let mut aged = Vec::new();
        for lane in [&mut self.fresh, &mut self.retries] {
            let first = aged.len();
            aged.extend(lane.range(..youngest).filter(|(id, traits)| is_aged(id, traits)).map(|(id, _)| *id));
            for id in &aged[first..] {
                lane.remove(id);
            }
        }
        aged
    }
}
