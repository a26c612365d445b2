//! A disk that does what disks are allowed to do, decided by a seed.
//!
//! Until a sync succeeds, any subset of the written sectors may survive a power cut. After a failed sync the dirty sectors
//! count as clean, whether they were written or not, and reads still show them. Every call may fail with EIO, every
//! allocation with ENOSPC, and the power may go at any call.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use super::{Disk, Slot};

const SECTOR: usize = 512;

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True once in so many times; never for zero.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        times != 0 && self.next().is_multiple_of(times)
    }
}

/// How often a call fails: once in so many times; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) write: u64,
    pub(super) sync: u64,
    pub(super) space: u64,
    /// No descriptor is left.
    pub(super) descriptors: u64,
}

#[derive(Debug)]
struct Segment {
    /// What reads show.
    seen: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Segment {
    fn write_back(&mut self, sector: usize) {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        self.durable[range.clone()].copy_from_slice(&self.seen[range]);
        self.dirty.remove(&sector);
    }
}

#[derive(Debug)]
struct State {
    dice: Dice,
    faults: Faults,
    length: usize,
    slots: BTreeMap<Slot, Segment>,
    slots_max: usize,
    next: u32,
    set_aside: BTreeMap<String, Vec<u8>>,
    /// Calls that change anything, until the power goes.
    power: Option<u64>,
    /// So many syncs fail, whatever the dice say.
    failing_syncs: u64,
    /// A sync failed: what is seen and what is durable may differ although nothing is dirty.
    lied: bool,
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk(Rc<RefCell<State>>);

impl SimulatedDisk {
    pub(super) fn new(seed: u64, length: usize, slots_max: usize) -> Self {
        let state = State {
            dice: Dice(seed),
            faults: Faults::default(),
            length,
            slots: BTreeMap::new(),
            slots_max,
            next: 0,
            set_aside: BTreeMap::new(),
            power: None,
            failing_syncs: 0,
            lied: false,
        };
        Self(Rc::new(RefCell::new(state)))
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// The next syncs fail.
    pub(super) fn fail_syncs(&self, syncs: u64) {
        self.0.borrow_mut().failing_syncs = syncs;
    }

    /// The power goes after so many calls that change anything.
    pub(super) fn cut_power_after(&self, calls: u64) {
        self.0.borrow_mut().power = Some(calls);
    }

    pub(super) fn has_no_power(&self) -> bool {
        self.0.borrow().power == Some(0)
    }

    pub(super) fn lied(&self) -> bool {
        self.0.borrow().lied
    }

    /// What is found when the power comes back.
    pub(super) fn cut_power(&self) {
        let state = &mut *self.0.borrow_mut();
        state.power = None;
        for segment in state.slots.values_mut() {
            for sector in segment.dirty.clone() {
                if state.dice.once_in(2) {
                    segment.write_back(sector);
                }
            }
            segment.dirty.clear();
            segment.seen.clone_from(&segment.durable);
        }
    }

    /// Another process finds what this one has written.
    pub(super) fn kill(&self) {
        self.0.borrow_mut().power = None;
    }

    pub(super) fn flip(&self, slot: Slot, offset: u32, bit: u8) {
        let state = &mut *self.0.borrow_mut();
        let segment = state.slots.get_mut(&slot).unwrap();
        segment.seen[offset as usize] ^= 1 << bit;
        segment.durable[offset as usize] ^= 1 << bit;
    }

    pub(super) fn set_aside_pieces(&self) -> usize {
        self.0.borrow().set_aside.len()
    }
}

impl State {
    fn powered(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn segment(&mut self, slot: Slot) -> io::Result<&mut Segment> {
        self.slots.get_mut(&slot).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn slots(&self) -> io::Result<Vec<Slot>> {
        Ok(self.0.borrow().slots.keys().copied().collect())
    }

    fn allocate(&self) -> io::Result<Slot> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        let refuses = state.dice.once_in(state.faults.space);
        if refuses || state.slots.len() >= state.slots_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.dice.once_in(state.faults.descriptors) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
        }
        let zeros = vec![0; state.length];
        let slot = Slot(state.next);
        state.next += 1;
        state.slots.insert(slot, Segment { seen: zeros.clone(), durable: zeros, dirty: BTreeSet::new() });
        Ok(slot)
    }

    fn remove(&self, slot: Slot) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        state.slots.remove(&slot).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, slot: Slot, offset: u32, into: &mut [u8]) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let from = offset as usize;
        into.copy_from_slice(&state.segment(slot)?.seen[from..from + into.len()]);
        Ok(())
    }

    fn write(&self, slot: Slot, offset: u32, pieces: &mut [io::IoSlice<'_>]) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        let mut octets = Vec::new();
        for piece in pieces {
            octets.extend_from_slice(piece);
        }
        let fails = state.dice.once_in(state.faults.write);
        let written = if fails { state.dice.below(octets.len() + 1) } else { octets.len() };
        let mut dice = state.dice.clone();
        let segment = state.segment(slot)?;
        let from = offset as usize;
        segment.seen[from..from + written].copy_from_slice(&octets[..written]);
        segment.dirty.extend(from / SECTOR..(from + written).div_ceil(SECTOR));
        // The system writes back when it likes.
        for sector in segment.dirty.clone() {
            if dice.once_in(8) {
                segment.write_back(sector);
            }
        }
        state.dice = dice;
        if fails { Err(io::Error::other("EIO")) } else { Ok(()) }
    }

    fn sync(&self, slot: Slot) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        let fails = state.dice.once_in(state.faults.sync) || state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        state.lied |= fails;
        let mut dice = state.dice.clone();
        let segment = state.segment(slot)?;
        for sector in segment.dirty.clone() {
            if !fails || dice.once_in(2) {
                segment.write_back(sector);
            }
        }
        segment.dirty.clear();
        state.dice = dice;
        if fails { Err(io::Error::other("EIO")) } else { Ok(()) }
    }

    fn set_aside(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        state.set_aside.insert(name.into(), octets.into());
        Ok(())
    }

    fn set_aside_slot(&self, slot: Slot, name: &str) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.powered()?;
        let segment = state.slots.remove(&slot).ok_or(io::ErrorKind::NotFound)?;
        state.set_aside.insert(name.into(), segment.seen);
        Ok(())
    }
}
