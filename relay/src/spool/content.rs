//! A message's content on its way out: from memory while it is warm, else read back and checked.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::disk::Directory;
use super::index::Facts;
use super::log::{Disk as _, Place};
use super::record::{HEADER, Header, Parts};
use super::warm::{Warm, WarmBody};
use crate::queue_id::QueueId;

/// How much of a record is read first when only its front is wanted.
const FRONT: u32 = 8 << 10;
/// How much of a file is read at once.
const PIECE: u64 = 128 << 10;

/// A message's content cannot be read back: the disk failed, or it is damaged (then it was set aside and counted).
#[derive(Clone, Debug, thiserror::Error)]
#[error("message {id} cannot be read back: {reason}")]
pub struct Unreadable {
    /// The message.
    pub id: QueueId,
    /// The file, the place and what is wrong.
    pub reason: String,
    /// Whether reading it again is of no use.
    pub damaged: bool,
}

/// A message's content on its way out, in pieces: the header section, then the rest.
#[derive(Debug)]
pub struct Content {
    pieces: VecDeque<Bytes>,
    file: Option<Reader>,
    /// Keeps the memory reserved while it is read.
    _warm: Option<Arc<Warm>>,
}

impl Content {
    pub(super) async fn open(shared: &Arc<Shared>, id: QueueId) -> Result<Self, Unreadable> {
        let facts = facts(shared, id)?;
        let (mut pieces, crc) = match &facts.warm {
            Some(warm) => match &warm.body {
                WarmBody::Memory(body) => (vec![warm.head.clone(), body.clone()], None),
                WarmBody::File { crc } => (vec![warm.head.clone()], Some(*crc)),
            },
            None => {
                let record = read(shared, id, true).await?;
                let front = HEADER + record.header.envelope as usize;
                let (head, body) = (record.header.head as usize, record.header.body_inside() as usize);
                let content = record.octets.slice(front..front + head + body);
                (vec![content], record.header.in_file().then_some(record.header.crc_body))
            }
        };
        pieces.retain(|piece| !piece.is_empty());
        let held: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let file = match crc {
            Some(crc) => Some(Reader::open(shared, id, facts.size.saturating_sub(held), crc).await?),
            None => None,
        };
        Ok(Self { pieces: pieces.into(), file, _warm: facts.warm })
    }

    /// The next piece, never empty; `None` after the last. An error may come after pieces were taken: the message must
    /// then not be ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Unreadable> {
        if let Some(piece) = self.pieces.pop_front() {
            return Ok(Some(piece));
        }
        match self.file.take() {
            Some(reader) => {
                let (reader, piece) = reader.next().await?;
                self.file = reader;
                Ok(Some(piece))
            }
            None => Ok(None),
        }
    }
}

/// A body's file. What is read last is only given away when all of it was as it was written.
#[derive(Debug)]
struct Reader {
    shared: Arc<Shared>,
    id: QueueId,
    file: File,
    at: u64,
    left: u64,
    crc: crc32fast::Hasher,
    expected: u32,
}

impl Reader {
    async fn open(shared: &Arc<Shared>, id: QueueId, octets: u64, expected: u32) -> Result<Self, Unreadable> {
        let path = shared.directory.body_path(id);
        let open = blocking(id, move || File::open(&path).map_err(|error| (path, error))).await?;
        let file = open.map_err(|(path, error)| {
            let damaged = error.kind() == io::ErrorKind::NotFound;
            if damaged {
                shared.room.add_corrupt(1);
            }
            Unreadable { id, reason: format!("{}: {error}", path.display()), damaged }
        })?;
        let shared = Arc::clone(shared);
        Ok(Self { shared, id, file, at: 0, left: octets, crc: crc32fast::Hasher::new(), expected })
    }

    async fn next(self) -> Result<(Option<Self>, Bytes), Unreadable> {
        blocking(self.id, move || self.read()).await?
    }

    fn read(mut self) -> Result<(Option<Self>, Bytes), Unreadable> {
        let mut piece = vec![0; self.left.min(PIECE) as usize];
        let result = self.file.read_exact_at(&mut piece, self.at);
        let path = self.shared.directory.body_path(self.id);
        let damaged = |reason: String| {
            self.shared.room.add_corrupt(1);
            self.shared.directory.set_body_aside(self.id).ok();
            Unreadable { id: self.id, reason: format!("{}: {reason}", path.display()), damaged: true }
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged("too short".into())),
            Err(error) => {
                let reason = format!("{} at {}: {error}", path.display(), self.at);
                return Err(Unreadable { id: self.id, reason, damaged: false });
            }
            Ok(()) => {}
        }
        self.crc.update(&piece);
        (self.at, self.left) = (self.at + piece.len() as u64, self.left - piece.len() as u64);
        if self.left > 0 {
            return Ok((Some(self), piece.into()));
        }
        if self.crc.clone().finalize() != self.expected {
            return Err(damaged("its checksum is wrong".into()));
        }
        Ok((None, piece.into()))
    }
}

/// A record that was read back, whole.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) octets: Bytes,
}

impl Record {
    /// The part before the head.
    pub(super) fn envelope(&self) -> &[u8] {
        &self.octets[HEADER..HEADER + self.header.envelope as usize]
    }

    pub(super) fn head(&self) -> &[u8] {
        let front = HEADER + self.header.envelope as usize;
        &self.octets[front..front + self.header.head as usize]
    }
}

fn facts(shared: &Shared, id: QueueId) -> Result<Facts, Unreadable> {
    let gone = || Unreadable { id, reason: "it is no longer in the spool".into(), damaged: false };
    shared.index().facts(id).ok_or_else(gone)
}

/// Reads the record of a message. Damage is set aside, counted and told.
pub(super) async fn read(shared: &Arc<Shared>, id: QueueId, with_body: bool) -> Result<Record, Unreadable> {
    loop {
        let facts = facts(shared, id)?;
        let directory = Arc::clone(&shared.directory);
        let look = move || look(&directory, facts.place, with_body);
        let octets = blocking(id, look).await?;
        let place = facts.place;
        let at = format!("segment {} at {}", place.slot.0, place.offset);
        let record = match octets {
            Ok(octets) => check(octets, id, place.generation, with_body),
            Err(error) => Err((Vec::new(), error.to_string())),
        };
        let (octets, reason) = match record {
            Ok(record) => return Ok(record),
            Err(why) => why,
        };
        // It may have been copied forward, and its segment used again, while it was read.
        if self::facts(shared, id)?.place != place {
            continue;
        }
        let damaged = !octets.is_empty();
        if damaged {
            let directory = Arc::clone(&shared.directory);
            let whole = blocking(id, move || self::look(&directory, place, true)).await?;
            let octets = whole.unwrap_or(octets);
            set_aside(shared, &format!("{}-{}", place.generation, place.offset), octets).await;
        }
        return Err(Unreadable { id, reason: format!("{at}: {reason}"), damaged });
    }
}

/// The record at a place; without the body, when that can be left out, in one read or two.
fn look(directory: &Arc<Directory>, Place { slot, offset, length, .. }: Place, with_body: bool) -> io::Result<Vec<u8>> {
    let first = if with_body { length } else { length.min(FRONT) };
    let mut octets = vec![0; first as usize];
    directory.read(slot, offset, &mut octets)?;
    let header = octets.first_chunk().and_then(Header::parse);
    let needed = header.map_or(0, |header| header.front()).min(length.into());
    if let Ok(needed) = usize::try_from(needed)
        && needed > octets.len()
    {
        octets.resize(needed, 0);
        directory.read(slot, offset + first, &mut octets[first as usize..])?;
    }
    Ok(octets)
}

fn check(octets: Vec<u8>, id: QueueId, generation: u64, with_body: bool) -> Result<Record, (Vec<u8>, String)> {
    let Some(header) = octets.first_chunk().and_then(Header::parse) else {
        return Err((octets, "its header is damaged".into()));
    };
    if header.id != id || header.generation != generation {
        return Err((octets, "another record is in its place".into()));
    }
    let parts = if with_body { Parts::cut(&header, &octets) } else { Parts::cut_front(&header, &octets) };
    let Some(parts) = parts else { return Err((octets, "its lengths are damaged".into())) };
    let whole = parts.front_is_whole(&header) && (!with_body || parts.body_is_whole(&header));
    if whole { Ok(Record { header, octets: octets.into() }) } else { Err((octets, "its checksum is wrong".into())) }
}

async fn set_aside(shared: &Arc<Shared>, name: &str, octets: Vec<u8>) {
    shared.room.add_corrupt(1);
    let (directory, name) = (Arc::clone(&shared.directory), name.to_owned());
    let keep = move || {
        if let Err(error) = directory.set_aside(&name, &octets) {
            tracing::error!(piece = name, %error, "a damaged piece of the spool cannot be set aside");
        }
    };
    tokio::task::spawn_blocking(keep).await.ok();
}

async fn blocking<T: Send + 'static>(id: QueueId, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unreadable> {
    let ended = |_| Unreadable { id, reason: "reading was ended".into(), damaged: false };
    tokio::task::spawn_blocking(work).await.map_err(ended)
}
