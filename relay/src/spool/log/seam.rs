//! What a log stands on, and what it takes and gives.

use std::io;

use super::super::record::{Flags, Header, Kind, Parts};
use crate::queue_id::QueueId;

/// A place for one segment, on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct Slot(pub(in super::super) u32);

/// What the log stands on. All segments have the same length.
pub(in super::super) trait Disk {
    /// All slots, in no order.
    fn slots(&self) -> io::Result<Vec<Slot>>;
    /// A slot whose octets are all written (zero) and on stable storage, with its name.
    fn allocate(&self) -> io::Result<Slot>;
    /// Gives a slot back, durably.
    fn remove(&self, slot: Slot) -> io::Result<()>;
    /// Fills `into` from an offset.
    fn read(&self, slot: Slot, offset: u32, into: &mut [u8]) -> io::Result<()>;
    /// Writes all pieces, one after the other.
    fn write(&self, slot: Slot, offset: u32, pieces: &mut [io::IoSlice<'_>]) -> io::Result<()>;
    /// All that was written to the slot is on stable storage, or an error.
    fn sync(&self, slot: Slot) -> io::Result<()>;
    /// Keeps octets that cannot be understood, for a person. The same name again is the same octets.
    fn set_aside(&self, name: &str, octets: &[u8]) -> io::Result<()>;
    /// Takes a whole slot out of use and keeps it, for a person.
    fn set_aside_slot(&self, slot: Slot, name: &str) -> io::Result<()>;
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub(in super::super) generation: u64,
    pub(in super::super) slot: Slot,
    pub(in super::super) offset: u32,
    pub(in super::super) length: u32,
}

/// Which room a record may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rank {
    /// A message copied forward: all room, since it makes more.
    Copy,
    /// An outcome or a notification: not the last segment.
    Report,
    /// Ordinary mail: not the last two.
    Mail,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Entry<'a> {
    pub(in super::super) rank: Rank,
    pub(in super::super) kind: Kind,
    pub(in super::super) flags: Flags,
    pub(in super::super) id: QueueId,
    pub(in super::super) parts: Parts<'a>,
    /// Octets of the body, wherever it is.
    pub(in super::super) body: u32,
    pub(in super::super) crc_front: u32,
    pub(in super::super) crc_body: u32,
}

impl Entry<'_> {
    /// Octets that it takes.
    pub(in super::super) fn length(&self) -> u64 {
        self.header(0, 0, 0).length()
    }

    pub(in super::super) fn header(&self, generation: u64, batch: u64, synced_through: u32) -> Header {
        // The committer refuses parts above their limits, which are far below four GiB.
        let octets = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        Header {
            kind: self.kind,
            flags: self.flags,
            generation,
            batch,
            synced_through,
            id: self.id,
            envelope: octets(self.parts.envelope),
            head: octets(self.parts.head),
            body: self.body,
            crc_front: self.crc_front,
            crc_body: self.crc_body,
        }
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Written {
    /// It is on stable storage.
    At(Place),
    /// No room for its rank.
    Full,
    /// No segment is long enough for it.
    TooLarge,
}

/// Who keeps the messages.
pub(in super::super) trait Replay {
    /// A record, without the body, in the order of the log. Answers which place does not matter any more: the record's own when it says
    /// nothing that lasts, a message's that it settles or moves.
    fn replay(&mut self, header: &Header, parts: &Parts<'_>, place: Place) -> Replayed;
    /// So many of the segments were looked through.
    fn looked(&mut self, done: usize, of: usize);
    /// That was the last record.
    fn end(&mut self);
}

/// See [`Replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Replayed {
    /// Nothing was freed.
    Kept,
    /// This message's place.
    Freed(Place),
    /// The record is whole and nobody understands it.
    NotUnderstood,
}
