//! The log and the index over a simulated disk, against a map of what was promised.
//!
//! `POSTERN_SPOOL_SEEDS` sets how many seeds are tried: a thousand when nothing is said, ten thousand in `tests/run`, more at
//! night.

mod rules;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::simulation::{Dice, Faults, SimulatedDisk};
use super::*;
use crate::envelope::{Envelope, Origin, Outcome, Remote};
use crate::queue_id::QueueId;
use crate::spool::backlog::{Backlog, Settle};
use crate::spool::index::{Arrived, Index};
use crate::spool::record::Header;
use crate::spool::record::{Flags, Kind, Parts, crc_front};
use crate::spool::survivors::Survivors;
use crate::spool::{PendingRecipient, Queued};

const SEGMENT: u32 = 16 << 10;

/// How each recipient stands: done, or its attempts.
type State = Vec<Option<u32>>;

/// What may be found of a message after a crash: any of these states from the durable one on. `None`: nothing.
#[derive(Debug)]
struct Promise {
    states: Vec<Option<State>>,
    durable: usize,
    /// The last state of which an outcome tells.
    in_force: usize,
}

/// A message on its way in.
struct Message {
    id: QueueId,
    envelope: Envelope,
    json: Vec<u8>,
    content: Vec<u8>,
}

impl Message {
    fn entry(&self, rank: Rank) -> Entry<'_> {
        let (head, body) = self.content.split_at(self.content.len() / 3);
        Entry {
            rank,
            kind: Kind::Put,
            flags: Flags::default(),
            id: self.id,
            parts: Parts { envelope: &self.json, head, body },
            body: body.len() as u32,
            crc_front: crc_front(&self.json, head),
            crc_body: crc32fast::hash(body),
        }
    }
}

struct World {
    dice: Dice,
    disk: SimulatedDisk,
    rules: Rules,
    log: Log<SimulatedDisk>,
    index: Mutex<Index>,
    survivors: Survivors,
    promises: BTreeMap<QueueId, Promise>,
    /// Outcomes in force that are not in the log yet.
    waiting: Vec<Settle>,
    backlog: Backlog,
    next: u64,
    full: u32,
}

fn rules(segments: u64) -> Rules {
    Rules { segment: SEGMENT, size_max: segments * u64::from(SEGMENT), seed: 7 }
}

fn envelope(recipients: usize) -> Envelope {
    Envelope {
        binary: false,
        dsn: None,
        utf8: false,
        arrived: Timestamp::UNIX_EPOCH,
        sender: crate::address::ReversePath::Null,
        recipients: vec!["x@a.example".parse().unwrap(); recipients],
        origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
        eight_bit: false,
    }
}

fn remote(reply: &str) -> Remote {
    Remote { server: String::new(), reply: reply.into(), status: "2.0.0".into() }
}

/// Content that tells which message it is.
fn content(id: QueueId, octets: usize) -> Vec<u8> {
    id.to_string().into_bytes().into_iter().cycle().take(octets).collect()
}

fn length(id: QueueId) -> usize {
    let mut dice = Dice(id.unix_millis());
    if dice.once_in(10) { dice.below(5000) } else { dice.below(400) }
}

/// The whole queue, by id.
fn whole_queue(index: &Index) -> Vec<Queued> {
    let mut queue: Vec<_> = (0..index.pieces()).flat_map(|piece| index.piece(piece)).collect();
    queue.sort_unstable_by_key(|queued| queued.id);
    queue
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let segments = 5 + dice.below(4);
        let disk = SimulatedDisk::new(dice.next(), SEGMENT as usize, segments);
        let rules = rules(segments as u64);
        let mut index = Index::default();
        let log = Log::open(disk.clone(), rules, &mut index).unwrap();
        Self {
            dice,
            disk,
            rules,
            log,
            index: Mutex::new(index),
            survivors: Survivors::default(),
            promises: BTreeMap::new(),
            waiting: Vec::new(),
            backlog: Backlog::default(),
            next: 1,
            full: 0,
        }
    }

    fn state(&self, id: QueueId) -> Option<State> {
        let shown = self.index.lock().unwrap().show(id)?.1;
        Some(shown.into_iter().map(|it| it.pending.map(|pending| pending.attempts)).collect())
    }

    /// Stores messages, and the outcomes that wait.
    fn write(&mut self, messages: usize) -> Result<(), Fatal> {
        let messages: Vec<_> = (0..messages).map(|_| self.message()).collect();
        let fresh = std::mem::take(&mut self.waiting);
        let settles = self.backlog.next(fresh, &mut self.log);
        let records: Vec<_> = settles.iter().map(Settle::json).collect();
        let mut entries = Vec::new();
        for message in &messages {
            let rank = if self.dice.once_in(8) { Rank::Report } else { Rank::Mail };
            entries.push(message.entry(rank));
        }
        entries.extend(settles.iter().zip(&records).map(|(settle, record)| crate::spool::job::outcome(settle, record)));
        let written = self.log.append(&entries)?;
        let (for_messages, for_settles) = written.split_at(messages.len());
        for (message, written) in messages.iter().zip(for_messages) {
            self.stored(message, *written);
        }
        let ids: Vec<_> = settles.iter().map(|settle| settle.id).collect();
        for (index, (settle, written)) in settles.into_iter().zip(for_settles).enumerate() {
            let id = settle.id;
            match written {
                Written::At(_) => {
                    Backlog::written(settle, &mut self.log);
                    // The last outcome of a message tells of all that is in force.
                    if !ids[index + 1..].contains(&id) {
                        let promise = self.promises.get_mut(&id).unwrap();
                        promise.durable = promise.durable.max(promise.in_force);
                    }
                }
                Written::Full => self.backlog.refused(settle, &mut self.log),
                Written::TooLarge => panic!("the outcome of {id} is too large"),
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Message {
        let id = QueueId::new(self.next, 0);
        self.next += 1;
        let envelope = envelope(1 + self.dice.below(3));
        let json = serde_json::to_vec(&envelope).unwrap();
        let fresh = vec![Some(0); envelope.recipients.len()];
        self.promises.insert(id, Promise { states: vec![None, Some(fresh)], durable: 0, in_force: 0 });
        Message { id, envelope, json, content: content(id, length(id)) }
    }

    fn stored(&mut self, message: &Message, written: Written) {
        let promise = self.promises.get_mut(&message.id).unwrap();
        match written {
            Written::At(place) => {
                promise.durable = 1;
                let (id, flags, envelope) = (message.id, Flags::default(), message.envelope.clone().into());
                let arrived = Arrived { id, place, flags, file: None, size: 0, envelope, standing: None, warm: None };
                self.index.lock().unwrap().insert(arrived);
            }
            Written::Full => {
                self.full += 1;
                promise.states.truncate(1);
            }
            Written::TooLarge => panic!("{} is too large", message.id),
        }
    }

    /// Something becomes of some recipients of some message.
    fn settle(&mut self) {
        if self.next == 1 {
            return;
        }
        let id = QueueId::new(self.next - 1 - self.dice.below(60.min(self.next as usize)) as u64, 0);
        let wanted: Vec<_> = (0..3).filter(|_| self.dice.once_in(2)).collect();
        let Some((_, claimed)) = self.index.lock().unwrap().claim(id, Some(&wanted)) else { return };
        let remote = || remote("ok");
        let outcomes = claimed.iter().map(|_| match self.dice.below(3) {
            0 => Outcome::Deferred { remote: remote(), until: Timestamp::UNIX_EPOCH },
            1 => Outcome::Failed(remote()),
            _ => Outcome::Delivered(remote()),
        });
        let outcomes = outcomes.collect();
        self.settle_so(id, &claimed, outcomes);
    }

    fn settle_so(&mut self, id: QueueId, claimed: &[PendingRecipient], outcomes: Vec<Outcome>) {
        let (settled, gone) = self.index.lock().unwrap().settle(id, claimed, outcomes);
        let state = self.state(id);
        let promise = self.promises.get_mut(&id).unwrap();
        promise.states.push(state);
        promise.in_force = promise.states.len() - 1;
        self.waiting.push(Settle::new(id, settled, gone));
    }

    /// The same becomes of all recipients of a message.
    fn settle_all(&mut self, id: QueueId, outcome: &Outcome) {
        let (_, claimed) = self.index.lock().unwrap().claim(id, Some(&[0, 1, 2])).unwrap();
        self.settle_so(id, &claimed, vec![outcome.clone(); claimed.len()]);
    }

    fn keep_house(&mut self) -> Result<(), Fatal> {
        self.log.free().ok();
        self.backlog.buried(&self.log);
        self.survivors.copy_some(&mut self.log, &self.index)?;
        while let Some(slot) = self.log.surplus() {
            self.disk.remove(slot).ok();
        }
        while self.log.wants_slot() {
            let slot = self.disk.allocate();
            self.log.slot_came(slot);
        }
        if self.dice.once_in(4) && self.log.tries_slot() {
            let slot = self.disk.allocate();
            self.log.slot_came(slot);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Fatal> {
        match self.dice.below(8) {
            0..=2 => {
                let messages = self.dice.below(4);
                self.write(messages)
            }
            3..=6 => {
                self.settle();
                Ok(())
            }
            _ => self.keep_house(),
        }
    }

    /// The process ends, with or without the power; another one begins, perhaps more than once.
    fn crash(&mut self) {
        self.disk.set_faults(Faults::default());
        loop {
            if self.disk.has_no_power() || self.dice.once_in(2) {
                self.disk.cut_power()
            } else {
                self.disk.kill()
            }
            if self.dice.once_in(3) {
                self.disk.cut_power_after(self.dice.below(6) as u64);
            }
            let mut index = Index::default();
            let Ok(log) = Log::open(self.disk.clone(), self.rules, &mut index) else {
                assert!(self.disk.has_no_power(), "a healthy disk does not open");
                continue;
            };
            self.disk.kill();
            (self.log, self.index, self.survivors) = (log, Mutex::new(index), Survivors::default());
            self.waiting.clear();
            self.backlog = Backlog::default();
            break;
        }
        self.check();
    }

    /// Holds what was found against what was promised; from here on what was found is promised.
    fn check(&mut self) {
        if !self.disk.lied() {
            assert_eq!(self.log.corrupt(), 0, "a torn tail was taken for corruption");
        }
        let found = whole_queue(&self.index.lock().unwrap());
        for queued in &found {
            assert!(self.promises.contains_key(&queued.id), "{} was settled, or never written", queued.id);
        }
        let mut live = 0;
        let ids: Vec<_> = self.promises.keys().copied().collect();
        for id in ids {
            let state = self.state(id);
            let promise = self.promises.get_mut(&id).unwrap();
            let allowed = &promise.states[promise.durable..];
            assert!(allowed.contains(&state), "{id}: found {state:?}, promised one of {allowed:?}");
            if state.is_some() {
                live += 1;
                self.check_content(id);
            }
            // What is gone must never be found again.
            match state {
                Some(_) => self.promises.insert(id, Promise { states: vec![state], durable: 0, in_force: 0 }),
                None => self.promises.remove(&id),
            };
        }
        let counted: u64 = self.log.segments.iter().map(|segment| segment.live).sum();
        assert_eq!(counted, live, "messages counted in segments");
    }

    fn check_content(&self, id: QueueId) {
        let place = self.index.lock().unwrap().facts(id).unwrap().place;
        let octets = self.log.read(place).unwrap();
        let header = Header::parse(octets.first_chunk().unwrap()).unwrap();
        let parts = Parts::cut(&header, &octets).unwrap();
        assert!(parts.front_is_whole(&header) && parts.body_is_whole(&header), "{id} is damaged");
        assert_eq!([parts.head, parts.body].concat(), content(id, length(id)), "{id} has other content");
    }
}

/// How many seeds are tried.
fn seeds() -> u64 {
    std::env::var("POSTERN_SPOOL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

fn run(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed);
    for _ in 0..1 + world.dice.below(4) {
        world.disk.set_faults(faults);
        // A crash soon after a crash: what the first one left behind is still there.
        let most = if world.dice.once_in(4) { 4 } else { 90 };
        let steps = world.dice.below(most);
        let power = world.dice.below(30 + steps) as u64;
        if world.dice.once_in(2) {
            world.disk.cut_power_after(power);
        }
        for _ in 0..steps {
            if world.step().is_err() {
                break;
            }
        }
        world.crash();
    }
    world
}

/// Runs each seed, on all processors, and names those that fail.
fn for_each_seed(seeds: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe + Sync) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    if std::panic::catch_unwind(|| test(seed)).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

/// Without faults, with rare ones of every kind, with syncs that fail often, without descriptors now and then.
#[test]
fn what_was_promised_survives_any_crash_on_any_disk() {
    for_each_seed(seeds(), |seed| {
        let faults = match seed % 4 {
            0 | 1 => Faults::default(),
            2 => Faults { write: 40, sync: 40, space: 20, descriptors: 20 },
            _ => Faults { sync: 4, ..Faults::default() },
        };
        run(seed, faults);
    });
}

/// All that waits is in the log, and two further writes have told so.
fn settled_world(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..20 + world.dice.below(100) {
        world.step().unwrap();
    }
    world.waiting.clear();
    world
}

#[test]
fn damage_to_one_message_is_found_set_aside_and_costs_no_other() {
    let (damaged, seeds) = (AtomicU64::new(0), seeds() / 10);
    for_each_seed(seeds, |seed| {
        if damage_one(seed) {
            damaged.fetch_add(1, Ordering::Relaxed);
        }
    });
    let damaged = damaged.into_inner();
    assert!(damaged > seeds / 2, "too few of {seeds} seeds came to the point: {damaged}");
}

/// Flips a bit of some message; `false`: there is none that was surely synced.
fn damage_one(seed: u64) -> bool {
    let mut world = settled_world(seed);
    let queue = whole_queue(&world.index.lock().unwrap());
    world.write(1).unwrap();
    world.write(1).unwrap();
    if queue.is_empty() {
        return false;
    }
    let victim = queue[world.dice.below(queue.len())].id;
    let place = world.index.lock().unwrap().facts(victim).unwrap().place;
    let octets = world.log.read(place).unwrap();
    let header = Header::parse(octets.first_chunk().unwrap()).unwrap();
    let at = place.offset + world.dice.below(HEADER + (header.envelope + header.head) as usize) as u32;
    let newest = world.log.segments.back().unwrap();
    // The last write proves all others; if it was refused, the one before may be the last.
    if place.generation == newest.stamp.generation && place.offset + place.length >= newest.synced {
        return false;
    }
    let last = whole_queue(&world.index.lock().unwrap()).last().unwrap().id;
    if world.index.lock().unwrap().facts(last).unwrap().place == place {
        return false;
    }
    let bit = world.dice.below(8) as u8;
    world.disk.flip(place.slot, at, bit);

    world.disk.cut_power();
    let mut index = Index::default();
    let log = Log::open(world.disk.clone(), world.rules, &mut index).unwrap();
    assert!(log.corrupt() >= 1, "a flipped bit at {at} of {place:?} was not found");
    assert_eq!(world.disk.set_aside_pieces() as u64, log.corrupt());
    for queued in whole_queue(&world.index.lock().unwrap()) {
        assert!(index.contains(queued.id) || queued.id == victim, "{}", queued.id);
    }
    // When it was copied forward and the copy is damaged, what was copied may still be there.
    if let Some(facts) = index.facts(victim) {
        assert!(facts.place.generation < place.generation, "a damaged record was taken for a whole one");
    }
    true
}

#[test]
fn a_full_log_refuses_mail_keeps_settling_and_takes_mail_again() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        while world.full == 0 {
            world.write(3).unwrap();
            world.keep_house().unwrap();
        }
        // Mail that is tried again and again, with long replies, must not use up the room.
        let until = Timestamp::UNIX_EPOCH;
        for _ in 0..30 {
            let queue = whole_queue(&world.index.lock().unwrap());
            for queued in queue {
                world.settle_all(queued.id, &Outcome::Deferred { remote: remote(&"no ".repeat(100)), until });
            }
            world.write(0).unwrap();
            world.keep_house().unwrap();
        }
        let mut queue = whole_queue(&world.index.lock().unwrap());
        while !queue.is_empty() {
            let queued = queue.swap_remove(world.dice.below(queue.len()));
            world.settle_all(queued.id, &Outcome::Failed(remote("no")));
            world.write(0).unwrap();
            world.keep_house().unwrap();
        }
        for _ in 0..3 {
            world.write(0).unwrap();
            world.keep_house().unwrap();
        }
        assert!(world.backlog.is_empty(), "seed {seed}: an outcome found no room in the end");
        let refused = world.full;
        for _ in 0..10 {
            world.write(1).unwrap();
        }
        assert_eq!(world.full, refused, "seed {seed}: room did not come back");
        world.crash();
    }
}

#[test]
fn one_stuck_message_does_not_fill_the_disk() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.write(1).unwrap();
        let stuck = whole_queue(&world.index.lock().unwrap())[0].id;
        // A person keeps it: what the copy says must outlive the record that said so first.
        world.log.append(&[crate::spool::job::mark(stuck, true)]).unwrap();
        world.index.lock().unwrap().hold(stuck, true);
        for _ in 0..400 {
            world.write(1).unwrap();
            let queue = whole_queue(&world.index.lock().unwrap());
            for queued in queue.iter().filter(|queued| queued.id != stuck) {
                world.settle_all(queued.id, &Outcome::Delivered(remote("ok")));
            }
            world.keep_house().unwrap();
        }
        assert_eq!(world.full, 0, "seed {seed}");
        assert!(world.index.lock().unwrap().facts(stuck).unwrap().place.generation > 1, "it was copied forward");
        world.write(0).unwrap();
        world.crash();
        assert_eq!(world.index.lock().unwrap().is_held(stuck), Some(true));
    }
}
