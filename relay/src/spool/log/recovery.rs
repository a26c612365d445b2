//! Opening a log: what a crash, a kill or a damaged disk has left.
//!
//! The newest segment is gone on with. Whole records at its end that nothing proves to have been synced are kept, and
//! written once more: after a kill, or a failed sync, they may exist in memory only, whatever a further sync says. What
//! the torn tail left above them is struck out.

use std::collections::VecDeque;
use std::io;

use super::super::record::{HEADER, Header, Parts};
use super::super::segment::{Octets, Piece, START, Scan, Stamp, Stamped, stamped};
use super::{Disk, Log, Place, Replay, Replayed, Rules, Segment, Slot};

/// How much of a segment is read at once, at least.
const READ: u64 = 256 << 10;
/// When that fails: what is given up at once.
const SECTORS: usize = 4 << 10;

/// A stretch of a segment in memory.
#[derive(Debug)]
struct Window<D> {
    disk: D,
    slot: Slot,
    length: u32,
    /// Where the stretch begins.
    from: u32,
    octets: Vec<u8>,
    /// Whether all that was wanted could be read; zeros stand for what could not.
    whole: bool,
}

impl<D: Disk> Octets for Window<D> {
    fn length(&self) -> u32 {
        self.length
    }

    fn at(&mut self, from: u32, octets: u64) -> &[u8] {
        let octets = octets.min(u64::from(self.length.saturating_sub(from)));
        let end = u64::from(from) + octets;
        if from < self.from || end > u64::from(self.from) + self.octets.len() as u64 {
            let more = octets.max(READ).min(u64::from(self.length.saturating_sub(from)));
            self.octets.clear();
            // At most a segment.
            self.octets.resize(more as usize, 0);
            self.from = from;
            if self.disk.read(self.slot, from, &mut self.octets).is_err() {
                self.read_what_can_be_read();
            }
        }
        let start = (from - self.from) as usize;
        &self.octets[start..start + octets as usize]
    }
}

impl<D: Disk> Window<D> {
    fn new(disk: D, slot: Slot, length: u32) -> Self {
        Self { disk, slot, length, from: 0, octets: Vec::new(), whole: true }
    }

    fn read_what_can_be_read(&mut self) {
        let mut at = self.from;
        for piece in self.octets.chunks_mut(SECTORS) {
            if self.disk.read(self.slot, at, piece).is_err() {
                piece.fill(0);
                self.whole = false;
            }
            at += SECTORS as u32;
        }
    }
}

impl<D: Disk + Clone> Log<D> {
    /// Opens what is on the disk, and tells `replay` each record in order. Reads headers, envelopes and heads; bodies only
    /// where they lie between them anyway, and where nothing says that they were synced.
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
        replay.looked(0, in_use.len());
        for (index, (slot, stamp)) in in_use.iter().enumerate() {
            let successor = in_use.get(index + 1).map(|(_, stamp)| stamp);
            let sealed = successor.filter(|it| it.previous == stamp.generation).map(|it| it.previous_end);
            log.recover(*slot, *stamp, sealed, successor.is_none(), replay)?;
            replay.looked(index + 1, in_use.len());
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

    fn recover(
        &mut self,
        slot: Slot,
        stamp: Stamp,
        sealed: Option<u32>,
        newest: bool,
        replay: &mut impl Replay,
    ) -> io::Result<()> {
        let mut window = Window::new(self.disk.clone(), slot, self.rules.segment);
        let mut scan = Scan::begin(&mut window, &stamp, sealed);
        let (live, live_octets, broken, pinned) = (0, 0, false, false);
        self.segments.push_back(Segment { slot, stamp, end: START, synced: START, live, live_octets, broken, pinned });
        while let Some(piece) = scan.next(&mut window) {
            let (from, to) = match piece {
                Piece::Corrupt { from, to } => (from, to),
                Piece::Record { at, header } => {
                    self.batch = self.batch.max(header.batch);
                    // It lies within a segment, whose length is a u32.
                    let length = header.length() as u32;
                    let place = Place { generation: stamp.generation, slot, offset: at, length };
                    if self.replay(&header, window.at(at, header.front()), place, replay) {
                        continue;
                    }
                    (at, at + length)
                }
            };
            self.set_aside(from, window.at(from, u64::from(to - from)));
        }
        if newest && window.whole {
            self.mend(&mut window, &scan)?;
        }
        self.corrupt += u64::from(!window.whole);
        if let Some(segment) = self.segments.back_mut() {
            (segment.end, segment.synced) = (scan.end, scan.end);
            segment.pinned |= !window.whole;
        }
        Ok(())
    }

    /// Puts the newest segment onto stable storage as it was found, without its torn tail.
    fn mend(&self, window: &mut Window<D>, scan: &Scan) -> io::Result<()> {
        let slot = window.slot;
        if scan.end > scan.synced {
            let unproven = window.at(scan.synced, u64::from(scan.end - scan.synced));
            self.disk.write(slot, scan.synced, &mut [io::IoSlice::new(unproven)])?;
        }
        for at in &scan.stale {
            self.disk.write(slot, *at, &mut [io::IoSlice::new(&[0; HEADER])])?;
        }
        self.disk.sync(slot)
    }

    /// `false`: nobody understands the record.
    fn replay(&mut self, header: &Header, octets: &[u8], place: Place, replay: &mut impl Replay) -> bool {
        let Some(parts) = Parts::cut_front(header, octets) else { return false };
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

    fn set_aside(&mut self, from: u32, octets: &[u8]) {
        self.corrupt += 1;
        let Some(segment) = self.segments.back_mut() else { return };
        let name = format!("{}-{from}", segment.stamp.generation);
        if let Err(error) = self.disk.set_aside(&name, octets) {
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
