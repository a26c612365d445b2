//! Slots and room: which segments are spare, how many more there may be, and for whom.
//!
//! Room is kept back: ordinary mail leaves two segments free, outcomes and notifications one, copies none. What the disk
//! refuses to give is not counted as room: from the first refusal on only spares are, until a slot has come.

use std::io;

use super::seam::{Disk, Rank, Slot};
use super::{Log, START};

/// Segments that ordinary mail leaves free.
pub(in super::super) const RESERVE: u64 = 2;
/// Less than this at the end of the last segment is not tried for outcomes.
const OUTCOME_ROOM: u32 = 1024;
/// Spare segments that are kept for use; more are removed.
const SPARES_MAX: usize = RESERVE as usize + 2;

/// Why there is no further slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Trouble {
    /// The disk is full.
    Full,
    /// It cannot be made for another reason: no descriptor is left, say. That may be over at any moment.
    Failing,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) { Self::Full } else { Self::Failing }
    }
}

impl<D: Disk> Log<D> {
    pub(super) fn take_slot(&mut self) -> Option<Slot> {
        if let Some(slot) = self.spares.pop() {
            return Some(slot);
        }
        if self.allocatable() == 0 {
            return None;
        }
        self.disk.allocate().inspect_err(|error| self.slot_failed(error)).ok()
    }

    /// The oldest segment, when copying its messages forward gives room that is wanted: mail can have no further segment,
    /// and of what was written to some of the oldest segments together less than half is alive (when outcomes have begun
    /// to use what is kept back for them: less than seven eighths).
    pub(in super::super) fn crowded(&self) -> Option<u64> {
        let free = self.free_segments();
        let (most, of) = if free < RESERVE { (7, 8) } else { (1, 2) };
        if free > RESERVE {
            return None;
        }
        let (mut octets, mut live) = (0, 0);
        for segment in self.segments.iter().take(self.segments.len() - 1) {
            if segment.pinned {
                return None;
            }
            // What a broken segment could not take is gained too.
            let end = if segment.broken { self.rules.segment } else { segment.end };
            octets += u64::from(end - START);
            live += segment.live_octets;
            if live * of < octets * most {
                return self.segments.front().map(|oldest| oldest.stamp.generation);
            }
        }
        None
    }

    /// Whether an outcome is worth a try.
    pub(in super::super) fn has_room_for_outcomes(&self) -> bool {
        let free = self.free_segments();
        let here = self.segments.back().map_or(0, |active| self.rules.segment - active.end);
        free > Rank::Report as u64 || free == Rank::Report as u64 && here >= OUTCOME_ROOM
    }

    /// Slots that are more than enough, for removal.
    pub(in super::super) fn surplus(&mut self) -> Option<Slot> {
        if self.spares.len() > SPARES_MAX { self.spares.pop() } else { None }
    }

    /// Whether somebody should make a slot; then it is coming.
    pub(in super::super) fn wants_slot(&mut self) -> bool {
        let wants = self.spares.len() as u64 + self.coming < RESERVE + 1 && self.allocatable() > 0;
        self.coming += u64::from(wants);
        wants
    }

    /// Whether somebody should try to make a slot, after one could not be made: as [`Log::wants_slot`], but nothing is
    /// expected of it.
    pub(in super::super) fn tries_slot(&mut self) -> bool {
        let tries = self.trouble.is_some() && self.coming == 0 && self.affordable() > 0;
        self.coming += u64::from(tries);
        tries
    }

    /// A slot that was wanted has come, or has not.
    pub(in super::super) fn slot_came(&mut self, slot: io::Result<Slot>) {
        self.coming = self.coming.saturating_sub(1);
        match slot {
            Ok(slot) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the spool can have further segments again");
                }
                self.spares.push(slot);
            }
            Err(error) => self.slot_failed(&error),
        }
    }

    fn slot_failed(&mut self, error: &io::Error) {
        if self.trouble.replace(Trouble::of(error)).is_none() {
            tracing::error!(%error, "the spool cannot have a further segment; it is tried again");
        }
    }

    /// Why the disk gives no further slot, if it was asked and refused.
    pub(in super::super) fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Octets in files beside the segments.
    pub(in super::super) fn set_files(&mut self, octets: u64) {
        self.files = octets;
    }

    /// Octets of all segments and spares, with those that are coming.
    pub(in super::super) fn octets(&self) -> u64 {
        (self.segments.len() as u64 + self.spares.len() as u64 + self.coming) * u64::from(self.rules.segment)
    }

    /// Octets of records with messages that are not settled.
    pub(in super::super) fn live_octets(&self) -> u64 {
        self.segments.iter().map(|segment| segment.live_octets).sum()
    }

    /// Octets that ordinary mail may still take.
    pub(in super::super) fn room(&self) -> u64 {
        let segment = u64::from(self.rules.segment);
        let here = self.segments.back().map_or(0, |active| segment - u64::from(active.end));
        match self.free_segments().checked_sub(RESERVE) {
            Some(free) => here + free * (segment - u64::from(START)),
            None => 0,
        }
    }

    pub(super) fn free_segments(&self) -> u64 {
        let coming = if self.trouble.is_some() { 0 } else { self.coming };
        self.spares.len() as u64 + coming + self.allocatable()
    }

    fn allocatable(&self) -> u64 {
        if self.trouble.is_some() { 0 } else { self.affordable() }
    }

    /// Slots that the spool's size still allows.
    fn affordable(&self) -> u64 {
        self.rules.size_max.saturating_sub(self.octets() + self.files) / u64::from(self.rules.segment)
    }
}
