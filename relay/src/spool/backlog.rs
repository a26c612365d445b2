//! Outcomes on their way to the log, and those that found no room in it. Pure.
//!
//! An outcome is in force before it is written, so it may wait: a crash costs a duplicate. While it waits it does not grow
//! without bound: of one recipient only the latest is kept. A message that is settled does not pin its segment either: when
//! the segment is freed, which is durable, the outcome has nothing more to say.

use std::collections::BTreeMap;

use super::index::{Gone, Settled};
use super::log::{Disk, Log};
use crate::queue_id::QueueId;

/// How many are tried at once.
const AT_ONCE: usize = 1024;

/// What became of recipients of one message.
#[derive(Debug)]
pub(super) struct Settle {
    pub(super) id: QueueId,
    settled: Vec<Settled>,
    gone: Option<Gone>,
    /// The log knows already that the message does not matter any more.
    released: bool,
}

impl Settle {
    pub(super) fn new(id: QueueId, settled: Vec<Settled>, gone: Option<Gone>) -> Self {
        Self { id, settled, gone, released: false }
    }

    /// Whether no recipient is pending any more.
    pub(super) fn settles(&self) -> bool {
        self.gone.is_some()
    }

    /// What the record says.
    pub(super) fn json(&self) -> Vec<u8> {
        // Numbers, texts and times: nothing here can fail to be said in JSON.
        serde_json::to_vec(&self.settled).unwrap_or_default()
    }

    fn overrule(&mut self, later: Self) {
        self.settled.retain(|old| later.settled.iter().all(|new| new.recipient != old.recipient));
        self.settled.extend(later.settled);
        self.gone = later.gone.or(self.gone);
        self.released |= later.released;
    }

    fn release<D: Disk>(&mut self, log: &mut Log<D>) {
        if let Some(gone) = self.gone
            && !self.released
        {
            log.release(gone.place);
            self.released = true;
        }
    }
}

/// Those that wait for room.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<QueueId, Settle>,
    /// The oldest segment when it was last asked who is buried.
    oldest: u64,
}

impl Backlog {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What is to be tried now, in order: none overtakes an earlier one of its message.
    pub(super) fn next<D: Disk>(&mut self, fresh: Vec<Settle>, log: &mut Log<D>) -> Vec<Settle> {
        if self.waiting.is_empty() && log.has_room_for_outcomes() {
            return fresh;
        }
        for settle in fresh {
            self.refused(settle, log);
        }
        let mut next = Vec::new();
        while log.has_room_for_outcomes()
            && next.len() < AT_ONCE
            && let Some((_, settle)) = self.waiting.pop_first()
        {
            next.push(settle);
        }
        next
    }

    /// There was no room for it.
    pub(super) fn refused<D: Disk>(&mut self, mut settle: Settle, log: &mut Log<D>) {
        settle.release(log);
        match self.waiting.get_mut(&settle.id) {
            Some(waiting) => waiting.overrule(settle),
            None => {
                self.waiting.insert(settle.id, settle);
            }
        }
    }

    /// It is on stable storage. Answers what the message has left behind.
    pub(super) fn written<D: Disk>(mut settle: Settle, log: &mut Log<D>) -> Option<Gone> {
        settle.release(log);
        settle.gone
    }

    /// What those messages have left behind whose segments are freed: nothing is to be written about them any more.
    pub(super) fn buried<D: Disk>(&mut self, log: &Log<D>) -> Vec<Gone> {
        let oldest = log.oldest();
        if std::mem::replace(&mut self.oldest, oldest) == oldest {
            return Vec::new();
        }
        let buried = |settle: &Settle| settle.gone.filter(|gone| gone.place.generation < oldest);
        let gone: Vec<_> = self.waiting.values().filter_map(buried).collect();
        for it in &gone {
            self.waiting.remove(&it.id);
        }
        gone
    }
}
