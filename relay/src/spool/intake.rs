//! A message's content on its way in, and on its way out.

use std::sync::Arc;

use bytes::Bytes;

use super::Refused;
use crate::envelope::Envelope;
use crate::queue_id::QueueId;

/// The most of a message that is kept as its header section. A header section that is longer is cut here: the rest counts
/// as body. Whoever judges headers refuses a draft whose [`Draft::header`] has this length.
pub const HEAD_MAX: usize = 1 << 20;

/// A message that comes in. Dropped, it removes what it wrote.
#[derive(Debug)]
pub struct Intake {
    id: QueueId,
    size_max: u64,
    size: u64,
    head: Vec<u8>,
    /// Whether the header section has ended: then all that comes is body.
    in_body: bool,
    body: Vec<u8>,
    eight_bit: bool,
    leading_dots: bool,
    at_line_start: bool,
}

impl Intake {
    pub(super) fn new(id: QueueId, size_max: u64) -> Self {
        Self {
            id,
            size_max,
            size: 0,
            head: Vec::new(),
            in_body: false,
            body: Vec::new(),
            eight_bit: false,
            leading_dots: false,
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
    /// section 4.5.2). Pieces may end anywhere.
    pub async fn write(&mut self, clean: &[u8]) -> Result<(), Refused> {
        self.size += clean.len() as u64;
        if self.size > self.size_max {
            return Err(Refused::Failing(format!("the message is larger than {} octets", self.size_max)));
        }
        self.note(clean);
        let body = if self.in_body { clean } else { self.take_head(clean) };
        self.body.extend_from_slice(body);
        Ok(())
    }

    /// The end of the content.
    pub async fn end(self) -> Result<Draft, Refused> {
        Ok(Draft {
            id: self.id,
            size: self.size,
            head: self.head,
            body: self.body.into(),
            eight_bit: self.eight_bit,
            leading_dots: self.leading_dots,
        })
    }

    fn note(&mut self, clean: &[u8]) {
        let Some(last) = clean.last() else { return };
        self.eight_bit |= !clean.is_ascii();
        self.leading_dots |= self.at_line_start && clean[0] == b'.' || memchr::memmem::find(clean, b"\n.").is_some();
        self.at_line_start = *last == b'\n';
    }

    /// Keeps what belongs to the header section, and answers the rest.
    fn take_head<'a>(&mut self, clean: &'a [u8]) -> &'a [u8] {
        let before = self.head.len();
        self.head.extend_from_slice(clean);
        let Some(end) = header_end(&self.head, before.saturating_sub(3)) else { return &[] };
        self.in_body = true;
        // What is found can begin before this piece: the empty line's CRLF then moves from the head to the body.
        self.body.extend_from_slice(&self.head[end..before.max(end)]);
        self.head.truncate(end);
        &clean[end.saturating_sub(before)..]
    }
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

/// A whole message that is not yet promised to anyone: content checks read it. Dropped, it is gone.
#[derive(Debug)]
pub struct Draft {
    id: QueueId,
    size: u64,
    head: Vec<u8>,
    body: Bytes,
    eight_bit: bool,
    leading_dots: bool,
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
        self.eight_bit
    }

    pub(super) fn store(self, envelope: Envelope) -> Stored {
        Stored {
            envelope: Arc::new(envelope),
            size: self.size,
            leading_dots: self.leading_dots,
            head: self.head.into(),
            body: self.body,
        }
    }
}

/// A message that is in the spool.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) envelope: Arc<Envelope>,
    pub(super) size: u64,
    pub(super) leading_dots: bool,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// A message's content cannot be read back: the disk failed, or it is damaged (then it was set aside and counted).
#[derive(Debug, thiserror::Error)]
#[error("message {id} cannot be read back: {reason}")]
pub struct Unreadable {
    /// The message.
    pub id: QueueId,
    /// The file, the place and what is wrong.
    pub reason: String,
}

/// A message's content on its way out, in pieces: the header section, then the rest.
#[derive(Debug)]
pub struct Content {
    stored: Arc<Stored>,
    next: u8,
}

impl Content {
    pub(super) fn new(stored: Arc<Stored>) -> Self {
        Self { stored, next: 0 }
    }

    /// The next piece, never empty; `None` after the last. An error may come after pieces were taken: the message must
    /// then not be ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Unreadable> {
        loop {
            let piece = match self.next {
                0 => self.stored.head.clone(),
                1 => self.stored.body.clone(),
                _ => return Ok(None),
            };
            self.next += 1;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}
