//! Opening a log: what a crash, a kill or a damaged disk has left.
//!
//! Whole records at the end that nothing proves to have been synced are kept, and written once more: after a failed sync
//! and a kill they may exist in memory only, whatever a further sync says.

use std::collections::VecDeque;
use std::io;

use super::super::record::{HEADER, Header, Kind, Parts};
use super::super::segment::{Piece, START, Stamp, Stamped, scan, stamped};
use super::{Disk, Entry, Log, Place, Rank, Replay, Replayed, Rules, Segment, Slot, Written};

/// How much of a segment is read at once.
const READ: usize = 1 << 20;

/// A record that nothing proves to have been synced, with its octets.
struct Unproven {
    header: Header,
    octets: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// Opens what is on the disk, tells `replay` each record in order, and begins a new segment.
    pub(in super::super) fn open(disk: D, rules: Rules, replay: &mut impl Replay) -> io::Result<Self> {
        let mut log = Self {
            disk,
            rules,
            segments: VecDeque::new(),
            spares: Vec::new(),
            coming: 0,
            files: 0,
            disk_full: false,
            generation: 0,
            batch: 0,
            corrupt: 0,
        };
        let mut in_use = log.sort_slots()?;
        in_use.sort_by_key(|(_, stamp)| stamp.generation);
        let mut unproven = Vec::new();
        for (index, (slot, stamp)) in in_use.iter().enumerate() {
            let successor = in_use.get(index + 1).map(|(_, stamp)| stamp);
            let sealed = successor.filter(|it| it.previous == stamp.generation).map(|it| it.previous_end);
            unproven = log.recover(*slot, *stamp, sealed, replay)?;
        }
        log.begin()?;
        log.write_again(&unproven, replay)?;
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
        replay: &mut impl Replay,
    ) -> io::Result<Vec<Unproven>> {
        let (bytes, whole) = self.read_whole(slot);
        let scan = scan(&bytes, &stamp, sealed);
        if sealed.is_none() {
            // The next stamp will say that all of it is on stable storage. After a kill it may be in memory only.
            self.disk.sync(slot)?;
        }
        self.corrupt += u64::from(!whole);
        let (end, synced) = (scan.end, scan.end);
        let (live, live_octets, broken) = (0, 0, false);
        self.segments.push_back(Segment { slot, stamp, end, synced, live, live_octets, broken, pinned: !whole });
        let mut unproven = Vec::new();
        for piece in scan.pieces {
            match piece {
                Piece::Corrupt { from, to } => self.set_aside(&bytes, from, to),
                Piece::Record { at, header } => {
                    self.batch = self.batch.max(header.batch);
                    // It lies within a segment, whose length is a u32.
                    let place =
                        Place { generation: stamp.generation, slot, offset: at, length: header.length() as u32 };
                    let octets = &bytes[at as usize..(at + place.length) as usize];
                    if !self.replay(&header, octets, place, replay) {
                        self.set_aside(&bytes, at, at + place.length);
                    } else if at >= scan.synced {
                        unproven.push(Unproven { header, octets: octets.to_vec() });
                    }
                }
            }
        }
        Ok(unproven)
    }

    /// `false`: nobody understands the record.
    fn replay(&mut self, header: &Header, octets: &[u8], place: Place, replay: &mut impl Replay) -> bool {
        let Some(parts) = Parts::cut(header, octets) else { return false };
        let holds_message = header.kind != Kind::Outcome;
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

    /// The segment to append to: a new one, or the newest if it holds nothing, under a new generation in any case.
    fn begin(&mut self) -> io::Result<()> {
        let empty = self.segments.back().is_some_and(|newest| newest.end == START && !newest.pinned);
        if empty && let Some(mut newest) = self.segments.pop_back() {
            newest.stamp = self.next_stamp(newest.stamp.previous, newest.stamp.previous_end);
            self.stamp(newest.slot, &newest.stamp)?;
            self.segments.push_back(newest);
            return Ok(());
        }
        match self.roll() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::new(io::ErrorKind::StorageFull, "no room for a segment")),
            Err(fatal) => Err(io::Error::other(fatal)),
        }
    }

    fn write_again(&mut self, unproven: &[Unproven], replay: &mut impl Replay) -> io::Result<()> {
        let entries: Vec<_> = unproven.iter().filter_map(Unproven::entry).collect();
        let written = self.append(&entries).map_err(io::Error::other)?;
        for (Unproven { header, octets }, written) in unproven.iter().zip(written) {
            if let Written::At(place) = written {
                // append() has counted it as live already.
                if header.kind != Kind::Outcome {
                    self.release(place);
                }
                self.replay(header, octets, place, replay);
            }
        }
        Ok(())
    }
}

impl Unproven {
    fn entry(&self) -> Option<Entry<'_>> {
        let header = &self.header;
        Some(Entry {
            rank: Rank::Outcome,
            kind: header.kind,
            flags: header.flags,
            id: header.id,
            parts: Parts::cut(header, &self.octets)?,
            body: header.body,
            crc_front: header.crc_front,
            crc_body: header.crc_body,
        })
    }
}
