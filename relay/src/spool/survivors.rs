//! Copying forward the messages that pin the oldest segment, a little at a time, when room is short.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::index::{self, Index};
use super::log::{Disk, Entry, Fatal, Log, Place, Rank, Written};
use super::record::{Flags, Header, Kind, Parts, crc_front};
use crate::queue_id::QueueId;

/// What one step may read and write.
const STEP_OCTETS: u64 = 512 << 10;

/// The messages that are to be copied.
#[derive(Debug, Default)]
pub(super) struct Survivors {
    /// The segment that they are in.
    generation: u64,
    left: VecDeque<(QueueId, Place)>,
}

impl Survivors {
    /// Whether a further step has something to do.
    pub(super) fn waiting(&self) -> bool {
        !self.left.is_empty()
    }

    /// One step, when the log is crowded or a segment was begun. Answers how many damaged messages it has set aside.
    pub(super) fn copy_some<D: Disk>(&mut self, log: &mut Log<D>, index: &Mutex<Index>) -> Result<u64, Fatal> {
        if self.left.is_empty() {
            match log.crowded() {
                // What is still in it cannot be read, or is damaged and cannot be set aside.
                Some(generation) if generation != self.generation => {
                    self.generation = generation;
                    self.left = lock(index).in_segment(generation).into();
                }
                _ => return Ok(0),
            }
        }
        let (mut octets, mut damaged) = (0, 0);
        let mut survivors = Vec::new();
        while octets < STEP_OCTETS
            && let Some((id, place)) = self.left.pop_front()
        {
            octets += u64::from(place.length);
            match Survivor::read(log, index, id, place) {
                Ok(survivor) => survivors.extend(survivor),
                Err(Spoiled { why, octets }) => {
                    tracing::error!(queue_id = %id, %why, "a message cannot be copied forward");
                    if octets.is_some_and(|octets| log.set_aside_record(place, &octets)) {
                        lock(index).remove(id);
                        damaged += 1;
                    }
                }
            }
        }
        let entries: Vec<_> = survivors.iter().filter_map(Survivor::entry).collect();
        let written = log.append(&entries)?;
        for (Survivor { id, from, .. }, written) in survivors.iter().zip(written) {
            match written {
                Written::At(to) => {
                    let still = lock(index).moved(*id, *from, to);
                    log.release(if still { *from } else { to });
                }
                // The segment is looked through again when something has changed.
                Written::Full | Written::TooLarge => (self.generation, self.left) = (0, VecDeque::new()),
            }
        }
        Ok(damaged)
    }
}

/// A message, read back, and what its copy says.
struct Survivor {
    id: QueueId,
    from: Place,
    header: Header,
    octets: Vec<u8>,
    json: Vec<u8>,
    held: bool,
}

impl Survivor {
    /// `None`: it is no longer there.
    fn read<D: Disk>(log: &Log<D>, index: &Mutex<Index>, id: QueueId, from: Place) -> Result<Option<Self>, Spoiled> {
        let octets = log.read(from).map_err(|error| Spoiled { why: error.to_string(), octets: None })?;
        let Some((header, parts)) = whole(&octets) else {
            return Err(Spoiled { why: "it is damaged".into(), octets: Some(octets) });
        };
        let envelope = match index::envelope(header.kind, parts.envelope) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Spoiled { why: error.to_string(), octets: Some(octets) }),
        };
        let copied = lock(index).copied(id, from, &envelope);
        Ok(copied.map(|(json, held)| Self { id, from, header, octets, json, held }))
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let Self { id, header, octets, json, held, .. } = self;
        let parts = Parts::cut(header, octets)?;
        Some(Entry {
            rank: Rank::Copy,
            kind: Kind::Copy,
            flags: Flags { file: header.in_file(), held: *held, ..header.flags },
            id: *id,
            parts: Parts { envelope: json, ..parts },
            body: header.body,
            crc_front: crc_front(json, parts.head),
            crc_body: header.crc_body,
        })
    }
}

/// Why a message cannot be copied, and its octets if they could be read.
struct Spoiled {
    why: String,
    octets: Option<Vec<u8>>,
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole(octets: &[u8]) -> Option<(Header, Parts<'_>)> {
    let header = octets.first_chunk().and_then(Header::parse)?;
    let parts = Parts::cut(&header, octets)?;
    parts.front_is_whole(&header).then_some((header, parts))
}
