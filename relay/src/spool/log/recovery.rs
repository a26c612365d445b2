//! Opening a log: what a crash, a kill or a damaged disk has left.
//!
//! The newest segment is gone on with. Whole records at its end that nothing proves to have been synced are kept, and
//! written once more: after a kill, or a failed sync, they may exist in memory only, whatever a further sync says. What
//! the torn tail left above them is struck out.

use std::collections::VecDeque;
use std::io;

use super::super::record::{HEADER, Header, Parts};
use super::super::segment::{Piece, START, Scan, Stamp, Stamped, scan, stamped};
use super::{Disk, Log, Place, Replay, Replayed, Rules, Segment, Slot};

/// How much of a segment is read at once.
const READ: usize = 1 << 20;

impl<D: Disk> Log<D> {
    /// Opens what is on the disk, and tells `replay` each record in order.
    pub(in super::super) fn open(disk: D, rules: Rules, replay: &mut impl Replay) -> io::Result<Self> {
        let mut log = Self {
            disk,
            rules,
            segments: VecDeque::new(),
            spares: Vec::new(),
            coming: 0,
            files: 0,
            trouble: None,
            generation: 0,
            batch: 0,
            corrupt: 0,
        };
        let mut in_use = log.sort_slots()?;
        in_use.sort_by_key(|(_, stamp)| stamp.generation);
        for (index, (slot, stamp)) in in_use.iter().enumerate() {
            let successor = in_use.get(index + 1).map(|(_, stamp)| stamp);
            let sealed = successor.filter(|it| it.previous == stamp.generation).map(|it| it.previous_end);
            let newest = successor.is_none();
            let (bytes, whole) = log.read_whole(*slot);
            let scan = scan(&bytes, stamp, sealed);
            if newest && whole {
                log.mend(*slot, &bytes, &scan)?;
            }
            log.recover(*slot, *stamp, &bytes, whole, &scan, replay);
        }
        replay.end();
        // What cannot be read whole cannot be gone on with either: nobody knows where it ends.
        if log.segments.back().is_none_or(|newest| newest.pinned) {
            log.begin()?;
        }
        Ok(log)
    }

    fn sort_slots(&mut self) -> io::Result<Vec<(Slot, Stamp)>> {
        let mut in_use = Vec::new();
        let mut first = vec![0; START as usize + HEADER];
        for slot in self.disk.slots()? {
            self.disk.read(slot, 0, &mut first)?;
            match stamped(&first) {
                Stamped::As(stamp) => {
                    self.generation = self.generation.max(stamp.generation);
                    if stamp.in_use { in_use.push((slot, stamp)) } else { self.spares.push(slot) }
                }
                Stamped::Blank => self.spares.push(slot),
                Stamped::Unreadable => {
                    self.corrupt += 1;
                    self.disk.set_aside_slot(slot, &format!("segment-{}", slot.0))?;
                }
            }
        }
        Ok(in_use)
    }

    /// Puts the newest segment onto stable storage as it was found, without its torn tail.
    fn mend(&self, slot: Slot, bytes: &[u8], scan: &Scan) -> io::Result<()> {
        if scan.end > scan.synced {
            let unproven = &bytes[scan.synced as usize..scan.end as usize];
            self.disk.write(slot, scan.synced, &mut [io::IoSlice::new(unproven)])?;
        }
        for at in &scan.stale {
            self.disk.write(slot, *at, &mut [io::IoSlice::new(&[0; HEADER])])?;
        }
        self.disk.sync(slot)
    }

    fn recover(&mut self, slot: Slot, stamp: Stamp, bytes: &[u8], whole: bool, scan: &Scan, replay: &mut impl Replay) {
        self.corrupt += u64::from(!whole);
        let (end, synced) = (scan.end, scan.end);
        let (live, live_octets, broken) = (0, 0, false);
        self.segments.push_back(Segment { slot, stamp, end, synced, live, live_octets, broken, pinned: !whole });
        for piece in &scan.pieces {
            match *piece {
                Piece::Corrupt { from, to } => self.set_aside(bytes, from, to),
                Piece::Record { at, header } => {
                    self.batch = self.batch.max(header.batch);
                    // It lies within a segment, whose length is a u32.
                    let place =
                        Place { generation: stamp.generation, slot, offset: at, length: header.length() as u32 };
                    let octets = &bytes[at as usize..(at + place.length) as usize];
                    if !self.replay(&header, octets, place, replay) {
                        self.set_aside(bytes, at, at + place.length);
                    }
                }
            }
        }
    }

    /// `false`: nobody understands the record.
    fn replay(&mut self, header: &Header, octets: &[u8], place: Place, replay: &mut impl Replay) -> bool {
        let Some(parts) = Parts::cut(header, octets) else { return false };
        let holds_message = header.kind.holds_message();
        if holds_message && let Some(segment) = self.segment(place) {
            segment.live += 1;
            segment.live_octets += u64::from(place.length);
        }
        match replay.replay(header, &parts, place) {
            Replayed::Kept => true,
            Replayed::Freed(place) => {
                self.release(place);
                true
            }
            Replayed::NotUnderstood => {
                if holds_message {
                    self.release(place);
                }
                false
            }
        }
    }

    /// A segment's octets, and whether all of them could be read; zeros stand for those that could not.
    fn read_whole(&self, slot: Slot) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; self.rules.segment as usize];
        let mut whole = true;
        for (index, piece) in bytes.chunks_mut(READ).enumerate() {
            if self.disk.read(slot, (index * READ) as u32, piece).is_err() {
                piece.fill(0);
                whole = false;
            }
        }
        (bytes, whole)
    }

    fn set_aside(&mut self, bytes: &[u8], from: u32, to: u32) {
        self.corrupt += 1;
        let Some(segment) = self.segments.back_mut() else { return };
        let name = format!("{}-{from}", segment.stamp.generation);
        if let Err(error) = self.disk.set_aside(&name, &bytes[from as usize..to as usize]) {
            tracing::error!(piece = name, %error, "a damaged piece of the spool cannot be set aside; its segment is kept");
            segment.pinned = true;
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        match self.roll() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::new(io::ErrorKind::StorageFull, "no room for a segment")),
            Err(fatal) => Err(io::Error::other(fatal)),
        }
    }
}
