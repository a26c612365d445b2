//! The log: segments in the order of their generations, appended to at one end and freed at the other. It knows records
//! and segments, not messages; who replays it knows which places still matter. Pure: it drives any [`Disk`].
//!
//! What [`Log::append`] answers is on stable storage. A failed write or sync is never believed and never retried in
//! place: the batch goes again into a fresh segment; a second failure is [`Fatal`], and the process must end.
//!
//! Tombstones outlive what they bury: only the oldest segment is ever freed, durably, before the next one may be. So an
//! outcome is never gone before the message that it settles. One message that stays pins its segment and all later ones,
//! until it is copied forward.

mod recovery;
mod room;
mod seam;

use std::collections::VecDeque;
use std::io;

use super::record;
use super::record::{ALIGN, HEADER, Parts};
use super::segment::{STAMPS, START, Stamp};
pub(super) use room::{RESERVE, Trouble};
pub(super) use seam::{Disk, Entry, Place, Rank, Replay, Replayed, Slot, Written};

/// Sizes, and where salts come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Octets of a segment.
    pub(super) segment: u32,
    /// Octets that segments and everything else may take together.
    pub(super) size_max: u64,
    /// Random.
    pub(super) seed: u32,
}

/// The log cannot promise anything any more.
#[derive(Debug, thiserror::Error)]
#[error("the spool's log cannot be written: {0}")]
pub(super) struct Fatal(pub(super) String);

#[derive(Debug)]
struct Segment {
    slot: Slot,
    stamp: Stamp,
    /// Where the next record goes.
    end: u32,
    /// What is on stable storage.
    synced: u32,
    /// Messages in it that are not settled, and their octets.
    live: u64,
    live_octets: u64,
    /// A write or sync failed: nothing more is written to it.
    broken: bool,
    /// It holds something unreadable that could not be set aside: it is kept as it is.
    pinned: bool,
}

/// The log.
#[derive(Debug)]
pub(super) struct Log<D> {
    disk: D,
    rules: Rules,
    /// The oldest first. The last one is appended to.
    segments: VecDeque<Segment>,
    spares: Vec<Slot>,
    /// Slots that somebody is making for us.
    coming: u64,
    /// Octets in files beside the segments.
    files: u64,
    /// The disk gave no further slot when it was last asked.
    trouble: Option<Trouble>,
    generation: u64,
    batch: u64,
    corrupt: u64,
}

impl<D: Disk> Log<D> {
    /// The octets of a record.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; place.length as usize];
        self.disk.read(place.slot, place.offset, &mut octets)?;
        Ok(octets)
    }

    /// Writes the entries in their order and answers for each of them, when all that was written is on stable storage.
    pub(super) fn append(&mut self, entries: &[Entry<'_>]) -> Result<Vec<Written>, Fatal> {
        let mut written = vec![Written::Full; entries.len()];
        let mut planned: Vec<usize> = Vec::with_capacity(entries.len());
        let (mut octets, mut overtaking) = (0, false);
        for (index, entry) in entries.iter().enumerate() {
            let length = entry.length();
            if length > u64::from(self.rules.segment - START) {
                written[index] = Written::TooLarge;
                continue;
            }
            let free = self.free_segments();
            let kept = entry.rank as u64;
            let fits = self.fits(octets + length);
            // A word about a message never overtakes another one: the later of two is the true one.
            if free < kept || !fits && free == kept || overtaking && !entry.kind.holds_message() {
                overtaking |= !entry.kind.holds_message();
                continue;
            }
            if !fits {
                self.store(entries, &planned, &mut written)?;
                (planned, octets) = (Vec::new(), 0);
                // Storing may have gone on to a fresh segment already, because the last one failed.
                if !self.fits(length) && !self.roll()? {
                    overtaking |= !entry.kind.holds_message();
                    continue;
                }
            }
            planned.push(index);
            octets += length;
        }
        self.store(entries, &planned, &mut written)?;
        Ok(written)
    }

    fn fits(&self, octets: u64) -> bool {
        let used = |active: &Segment| u64::from(active.end) + octets <= u64::from(self.rules.segment) && !active.broken;
        self.segments.back().is_some_and(used)
    }

    fn store(&mut self, entries: &[Entry<'_>], planned: &[usize], written: &mut [Written]) -> Result<(), Fatal> {
        if planned.is_empty() {
            return Ok(());
        }
        let Err(first) = self.try_store(entries, planned, written) else { return Ok(()) };
        if let Some(active) = self.segments.back_mut() {
            tracing::error!(segment = active.slot.0, error = %first, "a sync of the spool failed; writing again elsewhere");
            (active.broken, active.end) = (true, active.synced);
        }
        if !self.roll()? {
            return Err(Fatal(format!("{first}; and there is no other segment")));
        }
        self.try_store(entries, planned, written).map_err(|second| Fatal(format!("{first}; then elsewhere: {second}")))
    }

    fn try_store(&mut self, entries: &[Entry<'_>], planned: &[usize], written: &mut [Written]) -> io::Result<()> {
        let Some(active) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        self.batch += 1;
        let (generation, salt) = (active.stamp.generation, active.stamp.salt);
        let headers: Vec<_> = planned
            .iter()
            .map(|index| entries[*index].header(generation, self.batch, active.synced).encode(salt))
            .collect();
        const FILLING: [u8; ALIGN as usize] = [0; ALIGN as usize];
        let mut pieces = Vec::with_capacity(planned.len() * 5);
        let mut places = Vec::with_capacity(planned.len());
        let mut offset = active.end;
        for (header, index) in headers.iter().zip(planned) {
            let entry = &entries[*index];
            let Parts { envelope, head, body } = entry.parts;
            // At most a segment: append() has seen to it.
            let length = entry.length() as u32;
            let filling = length as usize - HEADER - envelope.len() - head.len() - body.len();
            let parts = [&header[..], envelope, head, body, &FILLING[..filling]];
            pieces.extend(parts.into_iter().filter(|part| !part.is_empty()).map(io::IoSlice::new));
            places.push((*index, Place { generation, slot: active.slot, offset, length }));
            offset += length;
        }
        self.disk.write(active.slot, active.end, &mut pieces)?;
        self.disk.sync(active.slot)?;
        (active.end, active.synced) = (offset, offset);
        for (index, place) in places {
            written[index] = Written::At(place);
            if entries[index].kind.holds_message() {
                active.live += 1;
                active.live_octets += u64::from(place.length);
            }
        }
        Ok(())
    }

    /// Goes on in a fresh segment; `false` when there is none. A slot that fails is left, once.
    fn roll(&mut self) -> Result<bool, Fatal> {
        let (previous, previous_end) =
            self.segments.back().map_or((0, 0), |active| (active.stamp.generation, active.synced));
        let mut failed = None;
        loop {
            let Some(slot) = self.take_slot() else { return Ok(false) };
            let stamp = self.next_stamp(previous, previous_end);
            let Err(error) = self.stamp(slot, &stamp) else {
                let (end, synced) = (START, START);
                let (live, live_octets) = (0, 0);
                let fresh = Segment { slot, stamp, end, synced, live, live_octets, broken: false, pinned: false };
                self.segments.push_back(fresh);
                return Ok(true);
            };
            tracing::error!(segment = slot.0, %error, "a spare segment of the spool cannot be used");
            self.disk.remove(slot).ok();
            if let Some(first) = failed.replace(error) {
                return Err(Fatal(format!("two fresh segments failed: {first}")));
            }
        }
    }

    fn next_stamp(&mut self, previous: u64, previous_end: u32) -> Stamp {
        self.generation += 1;
        let salt = record::crc_from(self.rules.seed, &self.generation.to_le_bytes());
        let length = self.rules.segment;
        Stamp { generation: self.generation, in_use: true, salt, previous, previous_end, length }
    }

    fn stamp(&self, slot: Slot, stamp: &Stamp) -> io::Result<()> {
        let octets = stamp.encode();
        for at in STAMPS {
            self.disk.write(slot, at, &mut [io::IoSlice::new(&octets)])?;
        }
        self.disk.sync(slot)
    }

    /// The message at a place is settled, or is elsewhere, and that is on stable storage.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(segment) = self.segment(place) {
            segment.live = segment.live.saturating_sub(1);
            segment.live_octets = segment.live_octets.saturating_sub(u64::from(place.length));
        }
    }

    fn segment(&mut self, place: Place) -> Option<&mut Segment> {
        // Generations grow from front to back.
        let at = self.segments.binary_search_by_key(&place.generation, |segment| segment.stamp.generation).ok()?;
        self.segments.get_mut(at)
    }

    /// Frees the oldest segments in which nothing matters, one after the other, each durably.
    pub(super) fn free(&mut self) -> io::Result<()> {
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
            && oldest.live == 0
            && !oldest.pinned
        {
            let slot = oldest.slot;
            if oldest.broken {
                self.disk.remove(slot)?;
            } else {
                let spare = Stamp { in_use: false, ..self.next_stamp(0, 0) };
                self.stamp(slot, &spare)?;
                self.spares.push(slot);
            }
            self.segments.pop_front();
        }
        Ok(())
    }

    /// The oldest generation that is in use.
    pub(super) fn oldest(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.stamp.generation)
    }

    /// A damaged record is kept for a person, and its message does not matter any more. `false`: it could not be kept.
    pub(super) fn set_aside_record(&mut self, place: Place, octets: &[u8]) -> bool {
        let kept = self.disk.set_aside(&format!("{}-{}", place.generation, place.offset), octets).is_ok();
        if kept {
            self.release(place);
        }
        kept
    }

    /// Damaged pieces found.
    pub(super) fn corrupt(&self) -> u64 {
        self.corrupt
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
