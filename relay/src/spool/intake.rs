//! A message's content on its way in: split into header section and body, counted, summed, kept in memory or written to
//! its file. It never waits for a sync; [`Spool::commit`](super::Spool::commit) does.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::index::{self, Standing};
use super::memory::Reservation;
use super::record::{ENVELOPE_MAX, Flags, crc_front};
use super::{Refused, Shared, Task, disk};
use crate::envelope::Envelope;
use crate::queue_id::QueueId;

/// The most of a message that is kept as its header section. A header section that is longer is cut here: the rest counts
/// as body. Whoever judges headers refuses a draft whose [`Draft::header`] has this length.
pub const HEAD_MAX: usize = 1 << 20;
/// A longer body goes to a file of its own: there one sync of a file is cheaper than writing it to the log.
pub(super) const INLINE_MAX: usize = 256 << 10;
/// As much of a header section comes in without a share of the memory budget.
const HEAD_FREE: usize = 64 << 10;
/// How much is gathered before it is written to a file.
const GATHERED: usize = 64 << 10;

/// A message that comes in. Dropped, it removes what it wrote.
#[derive(Debug)]
pub struct Intake {
    shared: Arc<Shared>,
    id: QueueId,
    /// Ours, and short: kept in memory at any rate.
    own: bool,
    size: u64,
    head: Vec<u8>,
    head_reserved: Reservation,
    /// Whether the header section has ended: then all that comes is body.
    in_body: bool,
    /// The body, or what of it is not in the file yet.
    body: Vec<u8>,
    body_reserved: Reservation,
    body_size: u64,
    crc_body: crc32fast::Hasher,
    file: Spill,
    flags: Flags,
    at_line_start: bool,
}

/// Where the body is.
#[derive(Debug)]
enum Spill {
    InMemory,
    InFile(BodyFile),
    /// A write was abandoned half-way: nobody knows what is in the file.
    Abandoned,
}

impl Intake {
    pub(super) fn new(shared: &Arc<Shared>, id: QueueId, own: bool) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
            own,
            size: 0,
            head: Vec::new(),
            head_reserved: Reservation::none(&shared.memory),
            in_body: false,
            body: Vec::new(),
            body_reserved: Reservation::none(&shared.memory),
            body_size: 0,
            crc_body: crc32fast::Hasher::new(),
            file: Spill::InMemory,
            flags: Flags::default(),
            at_line_start: true,
        }
    }

    /// The id that the message will have.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece of the content, as it will be kept: lines end with CRLF, leading dots are unstuffed (RFC 5321,
    /// section 4.5.2). Pieces may end anywhere. After an error, or when the future was dropped, the message cannot go on.
    pub async fn write(&mut self, clean: &[u8]) -> Result<(), Refused> {
        self.size += clean.len() as u64;
        let size_max = self.shared.options.message_size_max;
        if self.size > size_max {
            return Err(Refused::Failing(format!("message {} is larger than {size_max} octets", self.id)));
        }
        self.note(clean);
        if self.in_body {
            return self.write_body(clean).await;
        }
        let before = self.head.len();
        self.head.extend_from_slice(clean);
        let end = header_end(&self.head, before.saturating_sub(3));
        let more = end.unwrap_or(self.head.len()).saturating_sub(before);
        if before + more > HEAD_FREE && !self.head_reserved.grow(more) {
            return Err(Refused::Failing("too many large header sections at once".into()));
        }
        let Some(end) = end else { return Ok(()) };
        self.in_body = true;
        let body = self.head.split_off(end);
        self.write_body(&body).await
    }

    /// The end of the content.
    pub async fn end(mut self) -> Result<Draft, Refused> {
        if !matches!(self.file, Spill::InMemory) {
            self.flush().await?;
        }
        let body = match self.file {
            Spill::InMemory => Body::Memory(self.body.into()),
            Spill::InFile(file) => Body::File(file),
            Spill::Abandoned => return Err(abandoned(self.id)),
        };
        Ok(Draft {
            id: self.id,
            size: self.size,
            head: self.head,
            head_reserved: self.head_reserved,
            body,
            body_reserved: self.body_reserved,
            body_size: self.body_size,
            crc_body: self.crc_body.finalize(),
            flags: self.flags,
        })
    }

    fn note(&mut self, clean: &[u8]) {
        let (Some(first), Some(last)) = (clean.first(), clean.last()) else { return };
        self.flags.eight_bit |= !clean.is_ascii();
        self.flags.leading_dots |=
            self.at_line_start && *first == b'.' || memchr::memmem::find(clean, b"\n.").is_some();
        self.at_line_start = *last == b'\n';
    }

    async fn write_body(&mut self, clean: &[u8]) -> Result<(), Refused> {
        self.crc_body.update(clean);
        self.body_size += clean.len() as u64;
        if matches!(self.file, Spill::InMemory) && !self.stays_in_memory(clean.len())? {
            self.file = Spill::InFile(BodyFile::new(&self.shared, self.id));
        }
        self.body.extend_from_slice(clean);
        if !matches!(self.file, Spill::InMemory) && self.body.len() >= GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    fn stays_in_memory(&mut self, more: usize) -> Result<bool, Refused> {
        let fits = self.body.len() + more <= INLINE_MAX;
        if self.own {
            let too_large = || Refused::Failing(format!("notification {}: body above {INLINE_MAX} octets", self.id));
            return if fits { Ok(true) } else { Err(too_large()) };
        }
        Ok(fits && self.body_reserved.grow(more))
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        let Spill::InFile(mut file) = std::mem::replace(&mut self.file, Spill::Abandoned) else {
            return Err(abandoned(self.id));
        };
        let octets = std::mem::take(&mut self.body);
        let write = move || file.write(&octets).map(|()| file);
        let file = tokio::task::spawn_blocking(write).await.map_err(|_| abandoned(self.id))??;
        self.file = Spill::InFile(file);
        self.body_reserved.clear();
        Ok(())
    }
}

fn abandoned(id: QueueId) -> Refused {
    Refused::Failing(format!("message {id}: a write was abandoned"))
}

/// The length of the header section, with the CRLF of its last line and without the empty line; `None` while it goes on.
fn header_end(head: &[u8], from: usize) -> Option<usize> {
    if head.starts_with(b"\r\n") {
        return Some(0);
    }
    let end = memchr::memmem::find(&head[from..], b"\r\n\r\n").map(|at| from + at + 2);
    match end {
        Some(end) if end <= HEAD_MAX => Some(end),
        _ if head.len() > HEAD_MAX => Some(HEAD_MAX),
        _ => None,
    }
}

/// A whole message that is not yet promised to anyone: content checks read it. Dropped, it removes what it wrote.
#[derive(Debug)]
pub struct Draft {
    id: QueueId,
    size: u64,
    head: Vec<u8>,
    head_reserved: Reservation,
    body: Body,
    body_reserved: Reservation,
    body_size: u64,
    crc_body: u32,
    flags: Flags,
}

/// Where a body is.
#[derive(Debug)]
pub(super) enum Body {
    Memory(Bytes),
    File(BodyFile),
}

impl Draft {
    /// The id that the message will have.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The header section with the CRLF of its last line, without the empty line; at most [`HEAD_MAX`] octets before
    /// anything is prepended.
    pub fn header(&self) -> &[u8] {
        &self.head
    }

    /// Octets, with what was prepended.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts whole header fields, each with its CRLF, before all others.
    pub fn prepend(&mut self, fields: &[u8]) {
        self.size += fields.len() as u64;
        self.head.splice(..0, fields.iter().copied());
    }

    /// Whether any octet is above 127.
    pub fn eight_bit(&self) -> bool {
        self.flags.eight_bit
    }

    /// All that the committer needs. The body's file, and its name, are on stable storage afterwards. A message that comes
    /// with the `standing` of its recipients is held.
    pub(super) async fn seal(self, envelope: Envelope, standing: Option<Vec<Standing>>) -> Result<Sealed, Refused> {
        let cannot = |why: String| Refused::Failing(format!("message {}: {why}", self.id));
        let json = index::json(&envelope, standing.as_deref()).map_err(|error| cannot(error.to_string()))?;
        if json.len() > ENVELOPE_MAX as usize || self.head.len() > 2 * HEAD_MAX || self.size > u32::MAX.into() {
            return Err(cannot(format!("{} octets of envelope, {} of head", json.len(), self.head.len())));
        }
        let body_size = u32::try_from(self.body_size).map_err(|error| cannot(error.to_string()))?;
        let body = match self.body {
            Body::Memory(body) => Body::Memory(body),
            Body::File(file) => {
                let sync = move || file.sync().map(|()| file);
                Body::File(tokio::task::spawn_blocking(sync).await.map_err(|_| abandoned(self.id))??)
            }
        };
        Ok(Sealed {
            id: self.id,
            size: self.size,
            flags: Flags {
                held: standing.is_some(),
                file: standing.is_some() && matches!(body, Body::File(_)),
                ..self.flags
            },
            crc_front: crc_front(&json, &self.head),
            json,
            envelope: Arc::new(envelope),
            standing,
            head: self.head.into(),
            body,
            body_size,
            crc_body: self.crc_body,
            reserved: (self.head_reserved, self.body_reserved),
        })
    }
}

/// A message ready for the log.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) id: QueueId,
    pub(super) size: u64,
    pub(super) flags: Flags,
    pub(super) json: Vec<u8>,
    pub(super) envelope: Arc<Envelope>,
    pub(super) standing: Option<Vec<Standing>>,
    pub(super) head: Bytes,
    pub(super) body: Body,
    pub(super) body_size: u32,
    pub(super) crc_front: u32,
    pub(super) crc_body: u32,
    pub(super) reserved: (Reservation, Reservation),
}

/// The file of a large body. Dropped before it is kept, it is removed.
#[derive(Debug)]
pub(super) struct BodyFile {
    shared: Arc<Shared>,
    id: QueueId,
    file: Option<std::fs::File>,
    octets: u64,
    kept: bool,
}

impl BodyFile {
    fn new(shared: &Arc<Shared>, id: QueueId) -> Self {
        Self { shared: Arc::clone(shared), id, file: None, octets: 0, kept: false }
    }

    /// Blocks.
    fn write(&mut self, octets: &[u8]) -> Result<(), Refused> {
        if !self.shared.room.take(octets.len() as u64) {
            return Err(Refused::Full);
        }
        self.octets += octets.len() as u64;
        let path = self.shared.directory.body_path(self.id);
        let write = |file: &mut Option<std::fs::File>| {
            let file = match file {
                Some(file) => file,
                None => file.insert(std::fs::File::options().write(true).create_new(true).open(&path)?),
            };
            file.write_all(octets)
        };
        write(&mut self.file).map_err(|error| self.shared.room.refusal(&path.display().to_string(), &error))
    }

    /// Blocks.
    fn sync(&self) -> Result<(), Refused> {
        let path = self.shared.directory.body_path(self.id);
        let sync = || {
            if let Some(file) = &self.file {
                file.sync_all()?;
            }
            disk::sync_directory(path.parent().unwrap_or(&path))
        };
        sync().map_err(|error| self.shared.room.refusal(&path.display().to_string(), &error))
    }

    /// A record in the log refers to it: it stays until the message is settled.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.room.give(self.octets);
            // The file of another message is never removed: a name that was taken already was never opened.
            if self.file.is_some() {
                self.shared.helper.send(Task::Unlink(self.shared.directory.body_path(self.id))).ok();
            }
        }
    }
}
