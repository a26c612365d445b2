//! The budget for message content in memory, shared by all that comes in and all that waits to go out. Pure counting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The budget.
#[derive(Debug)]
pub(super) struct Memory {
    max: u64,
    used: AtomicU64,
}

impl Memory {
    pub(super) fn new(max: u64) -> Self {
        Self { max, used: AtomicU64::new(0) }
    }

    /// Whether so little is used that stored messages may stay in memory: half is kept for what comes in.
    pub(super) fn is_ample(&self) -> bool {
        self.used.load(Ordering::Relaxed) <= self.max / 2
    }

    fn take(&self, octets: u64) -> bool {
        let added = |used: u64| used.checked_add(octets).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: Arc<Memory>,
    octets: u64,
}

impl Reservation {
    pub(super) fn none(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), octets: 0 }
    }

    /// `false`: the budget is used up, and nothing was taken.
    pub(super) fn grow(&mut self, octets: usize) -> bool {
        let taken = self.memory.take(octets as u64);
        self.octets += if taken { octets as u64 } else { 0 };
        taken
    }

    /// Gives all of it back.
    pub(super) fn clear(&mut self) {
        self.memory.used.fetch_sub(self.octets, Ordering::Relaxed);
        self.octets = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_more_than_there_is_and_gives_back() {
        let memory = Arc::new(Memory::new(100));
        let (mut first, mut second) = (Reservation::none(&memory), Reservation::none(&memory));
        assert!(first.grow(60) && !second.grow(41) && second.grow(40));
        assert!(!memory.is_ample());
        drop(first);
        assert!(memory.is_ample() && second.grow(60) && !second.grow(1));
    }
}
