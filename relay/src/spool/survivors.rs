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

    /// One step, when the log is crowded or a segment was begun.
    pub(super) fn copy_some<D: Disk>(&mut self, log: &mut Log<D>, index: &Mutex<Index>) -> Result<(), Fatal> {
        if self.left.is_empty() {
            match log.crowded() {
                // What is still in it is damaged, or its outcome is not yet written.
                Some(generation) if generation != self.generation => {
                    self.generation = generation;
                    self.left = lock(index).in_segment(generation).into();
                }
                _ => return Ok(()),
            }
        }
        let mut octets = 0;
        let mut survivors = Vec::new();
        while octets < STEP_OCTETS
            && let Some((id, place)) = self.left.pop_front()
        {
            octets += u64::from(place.length);
            match Survivor::read(log, index, id, place) {
                Ok(survivor) => survivors.extend(survivor),
                Err(why) => {
                    tracing::error!(queue_id = %id, %why, "a message is not copied forward: it keeps its segment")
                }
            }
        }
        let entries: Vec<_> = survivors.iter().filter_map(Survivor::entry).collect();
        let written = log.append(&entries)?;
        for (Survivor { id, from, .. }, written) in survivors.iter().zip(written) {
            if let Written::At(to) = written {
                let still = lock(index).moved(*id, *from, to);
                log.release(if still { *from } else { to });
            }
        }
        Ok(())
    }
}

/// A message, read back, and what its copy says.
struct Survivor {
    id: QueueId,
    from: Place,
    header: Header,
    octets: Vec<u8>,
    json: Vec<u8>,
}

impl Survivor {
    /// `None`: it is no longer there.
    fn read<D: Disk>(log: &Log<D>, index: &Mutex<Index>, id: QueueId, from: Place) -> Result<Option<Self>, String> {
        let octets = log.read(from).map_err(|error| error.to_string())?;
        let (header, parts) = whole(&octets).ok_or("it is damaged")?;
        let envelope = index::envelope(header.kind, parts.envelope).map_err(|error| error.to_string())?;
        let json = lock(index).copied(id, from, envelope);
        Ok(json.map(|json| Self { id, from, header, octets, json }))
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let Self { id, header, octets, json, .. } = self;
        let parts = Parts::cut(header, octets)?;
        Some(Entry {
            rank: Rank::Outcome,
            kind: Kind::Copy,
            flags: Flags { file: header.in_file(), ..header.flags },
            id: *id,
            parts: Parts { envelope: json, ..parts },
            body: header.body,
            crc_front: crc_front(json, parts.head),
            crc_body: header.crc_body,
        })
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole(octets: &[u8]) -> Option<(Header, Parts<'_>)> {
    let header = octets.first_chunk().and_then(Header::parse)?;
    let parts = Parts::cut(&header, octets)?;
    parts.front_is_whole(&header).then_some((header, parts))
}
