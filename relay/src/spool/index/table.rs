//! The entries, found by id: a hash table of numbers over chunks of entries. A chunk that is empty is given back.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::entry::Entry;
use crate::queue_id::QueueId;

/// Entries of a chunk.
const CHUNK: usize = 1024;
/// No further unused entry.
const NONE: u32 = u32::MAX;

/// The entries.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Numbers of entries.
    numbers: HashTable<u32>,
    hasher: RandomState,
    chunks: Vec<Option<Chunk>>,
    /// Chunks with an unused entry: the first is filled first, so that the last ones become empty.
    with_room: BTreeSet<usize>,
}

#[derive(Debug)]
struct Chunk {
    entries: Box<[Entry]>,
    used: usize,
    /// The first unused entry.
    unused: u32,
}

impl Chunk {
    fn new() -> Self {
        let mut entries = vec![Entry::UNUSED; CHUNK].into_boxed_slice();
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.size = if number + 1 < CHUNK { number as u32 + 1 } else { NONE };
        }
        Self { entries, used: 0, unused: 0 }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn at(&self, number: u32) -> Option<&Entry> {
        self.chunks.get(number as usize / CHUNK)?.as_ref()?.entries.get(number as usize % CHUNK)
    }

    fn number(&self, id: QueueId) -> Option<u32> {
        let is_it = |number: &u32| self.at(*number).is_some_and(|entry| entry.id == id);
        self.numbers.find(self.hasher.hash_one(id), is_it).copied()
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Entry> {
        self.at(self.number(id)?)
    }

    pub(super) fn get_mut(&mut self, id: QueueId) -> Option<&mut Entry> {
        let number = self.number(id)? as usize;
        self.chunks.get_mut(number / CHUNK)?.as_mut()?.entries.get_mut(number % CHUNK)
    }

    /// An entry whose id is not here yet.
    pub(super) fn insert(&mut self, entry: Entry) {
        let number = self.take_unused();
        let place = (number / CHUNK, number % CHUNK);
        if let Some(chunk) = self.chunks[place.0].as_mut() {
            chunk.unused = chunk.entries[place.1].size;
            chunk.entries[place.1] = entry;
            chunk.used += 1;
            if chunk.unused == NONE {
                self.with_room.remove(&place.0);
            }
        }
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        let hash_again = |number: &u32| {
            let chunk = chunks[*number as usize / CHUNK].as_ref();
            chunk.map_or(0, |chunk| hasher.hash_one(chunk.entries[*number as usize % CHUNK].id))
        };
        self.numbers.insert_unique(hasher.hash_one(entry.id), number as u32, hash_again);
    }

    /// The number of an unused entry, of which there is one afterwards.
    fn take_unused(&mut self) -> usize {
        let chunk = match self.with_room.first() {
            Some(chunk) => *chunk,
            None => {
                let chunk = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
                if chunk == self.chunks.len() {
                    self.chunks.push(None);
                }
                self.chunks[chunk] = Some(Chunk::new());
                self.with_room.insert(chunk);
                chunk
            }
        };
        let unused = self.chunks[chunk].as_ref().map_or(0, |chunk| chunk.unused);
        chunk * CHUNK + unused as usize
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<Entry> {
        let number = self.number(id)?;
        let found = self.numbers.find_entry(self.hasher.hash_one(id), |it| *it == number);
        found.ok()?.remove();
        let (at, place) = (number as usize / CHUNK, number as usize % CHUNK);
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        let entry = std::mem::replace(&mut chunk.entries[place], Entry { size: chunk.unused, ..Entry::UNUSED });
        (chunk.unused, chunk.used) = (place as u32, chunk.used - 1);
        if chunk.used == 0 {
            self.chunks[at] = None;
            self.with_room.remove(&at);
            self.shrink();
        } else {
            self.with_room.insert(at);
        }
        Some(entry)
    }

    /// Gives back what a long queue has left behind.
    fn shrink(&mut self) {
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        if self.numbers.len() < self.numbers.capacity() / 8 {
            let hash_again = |number: &u32| {
                let chunk = chunks[*number as usize / CHUNK].as_ref();
                chunk.map_or(0, |chunk| hasher.hash_one(chunk.entries[*number as usize % CHUNK].id))
            };
            self.numbers.shrink_to(self.numbers.len() * 2, hash_again);
        }
        while self.chunks.last().is_some_and(Option::is_none) {
            self.chunks.pop();
        }
    }

    /// How many pieces there are to look through.
    pub(super) fn pieces(&self) -> usize {
        self.chunks.len()
    }

    /// The entries of one piece.
    pub(super) fn piece(&self, piece: usize) -> impl Iterator<Item = &Entry> {
        let chunk = self.chunks.get(piece).and_then(Option::as_ref);
        chunk.map_or(&[][..], |chunk| &chunk.entries).iter().filter(|entry| entry.is_used())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        (0..self.pieces()).flat_map(|piece| self.piece(piece))
    }

    /// Octets that it takes, with all that is allocated and not used.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count() * CHUNK * size_of::<Entry>();
        chunks + self.chunks.capacity() * size_of::<Option<Chunk>>() + self.numbers.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    fn entry(number: u64) -> Entry {
        let id = QueueId::new(number, number as u32);
        Entry { size: number as u32, ..Entry::new(id, Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn holds_what_a_map_holds() {
        let (mut table, mut map) = (Table::default(), BTreeMap::new());
        let mut state = 7u64;
        for _ in 0..60_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let entry = entry(state >> 33 & 4095);
            if state >> 60 < 9 {
                if map.insert(entry.id, entry.size).is_none() {
                    table.insert(entry);
                }
            } else {
                assert_eq!(table.remove(entry.id).map(|entry| entry.size), map.remove(&entry.id));
            }
            assert_eq!(table.len(), map.len());
        }
        let mut all: Vec<_> = table.iter().map(|entry| (entry.id, entry.size)).collect();
        all.sort_unstable();
        assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        for (id, size) in all {
            assert_eq!(table.get(id).map(|entry| entry.size), Some(size));
        }
    }

    #[test]
    fn a_long_queue_that_is_gone_leaves_no_memory_behind() {
        let mut table = Table::default();
        (0..100_000).for_each(|number| table.insert(entry(number)));
        let most = table.octets();
        for number in 0..99_900 {
            table.remove(entry(number).id).unwrap();
        }
        assert!(table.octets() < most / 20, "{} of {most}", table.octets());
        assert_eq!(table.iter().count(), 100);
    }
}
