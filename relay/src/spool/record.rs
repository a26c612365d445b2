//! One record of the log: a header of 64 octets, then envelope, head and body, filled up to a multiple of 64.
//!
//! | octets | field | |
//! |---|---|---|
//! | 0–3 | magic | `PSR` and a line feed |
//! | 4 | version | 1 |
//! | 5 | kind | [`Kind`] |
//! | 6–7 | flags | [`Flags`] |
//! | 8–15 | generation | that of its segment: what an earlier use of the segment left behind has another |
//! | 16–23 | batch | counts the writes |
//! | 24–27 | synced through | this segment was on stable storage up to here when the record was written |
//! | 28–39 | lengths | envelope, head, body (of a file's body too, which is not in the record) |
//! | 40–49 | id | |
//! | 50–51 | zero | |
//! | 52–55 | CRC of envelope and head | |
//! | 56–59 | CRC of the body | |
//! | 60–63 | CRC of the header, begun with the segment's salt | content that a sender chose can not pass for a record |
//!
//! Numbers are little-endian, CRCs are CRC-32 (IEEE). Pure.

use crate::queue_id::QueueId;

/// Records begin at multiples of this.
pub(super) const ALIGN: u32 = 64;
/// The length of a header.
pub(super) const HEADER: usize = 64;
/// The longest envelope part. 1000 recipients of 320 octets fit, and their states too.
pub(super) const ENVELOPE_MAX: u32 = 4 << 20;

const MAGIC: [u8; 4] = *b"PSR\n";
const VERSION: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message, whole.
    Put = 1,
    /// A message whose body is in a file of its own.
    PutFile = 2,
    /// What became of recipients, in place of the envelope; nothing else.
    Outcome = 3,
    /// A message copied forward, with the state of its recipients beside the envelope.
    Copy = 4,
    /// A person keeps a message, or does no longer; nothing else.
    Mark = 5,
}

impl Kind {
    /// Whether it is a message, and not a word about one.
    pub(super) fn holds_message(self) -> bool {
        match self {
            Self::Put | Self::PutFile | Self::Copy => true,
            Self::Outcome | Self::Mark => false,
        }
    }
}

/// Facts about the content, and about the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// An octet above 127 is in it.
    pub(super) eight_bit: bool,
    /// The envelope or the header needs SMTPUTF8 (RFC 6531).
    pub(super) utf8: bool,
    /// A line of it begins with a dot.
    pub(super) leading_dots: bool,
    /// Of a Copy: the body is in a file of its own.
    pub(super) file: bool,
    /// Of an Outcome: no recipient of the message is pending any more.
    pub(super) settles: bool,
    /// Of a message, or of a Mark: a person keeps the message.
    pub(super) held: bool,
}

impl Flags {
    fn bits(self) -> u16 {
        let Self { eight_bit, utf8, leading_dots, file, settles, held } = self;
        let flags = [eight_bit, utf8, leading_dots, file, settles, held];
        flags.iter().rev().fold(0, |bits, flag| bits << 1 | u16::from(*flag))
    }

    fn from_bits(bits: u16) -> Option<Self> {
        let flag = |place: u16| bits >> place & 1 == 1;
        (bits < 1 << 6).then(|| Self {
            eight_bit: flag(0),
            utf8: flag(1),
            leading_dots: flag(2),
            file: flag(3),
            settles: flag(4),
            held: flag(5),
        })
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) generation: u64,
    pub(super) batch: u64,
    pub(super) synced_through: u32,
    pub(super) id: QueueId,
    pub(super) envelope: u32,
    pub(super) head: u32,
    pub(super) body: u32,
    pub(super) crc_front: u32,
    pub(super) crc_body: u32,
}

impl Header {
    /// Whether the body is in a file of its own.
    pub(super) fn in_file(&self) -> bool {
        self.kind == Kind::PutFile || self.flags.file
    }

    /// Octets of the body in the record.
    pub(super) fn body_inside(&self) -> u32 {
        if self.in_file() { 0 } else { self.body }
    }

    /// Octets of header, envelope and head.
    pub(super) fn front(&self) -> u64 {
        HEADER as u64 + u64::from(self.envelope) + u64::from(self.head)
    }

    /// Octets of the record, header and filling included.
    pub(super) fn length(&self) -> u64 {
        length(self.envelope, self.head, self.body_inside())
    }

    pub(super) fn encode(&self, salt: u32) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &[VERSION, self.kind as u8]);
        put(6, &self.flags.bits().to_le_bytes());
        put(8, &self.generation.to_le_bytes());
        put(16, &self.batch.to_le_bytes());
        put(24, &self.synced_through.to_le_bytes());
        put(28, &self.envelope.to_le_bytes());
        put(32, &self.head.to_le_bytes());
        put(36, &self.body.to_le_bytes());
        put(40, &self.id.to_bytes());
        put(52, &self.crc_front.to_le_bytes());
        put(56, &self.crc_body.to_le_bytes());
        let crc = crc_from(salt, &out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes`; `None` when there is none, or none whose CRC is right.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        (bytes[..4] == MAGIC && crc_from(salt, &bytes[..60]) == u32_at(bytes, 60)).then(|| Self::parse(bytes))?
    }

    /// As [`Header::decode`], for a reader who knows from the index what must stand here and so needs no salt.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let kind = match (bytes[4], bytes[5]) {
            (VERSION, 1) => Kind::Put,
            (VERSION, 2) => Kind::PutFile,
            (VERSION, 3) => Kind::Outcome,
            (VERSION, 4) => Kind::Copy,
            (VERSION, 5) => Kind::Mark,
            _ => return None,
        };
        let mut id = [0; 10];
        id.copy_from_slice(&bytes[40..50]);
        Some(Self {
            kind,
            flags: Flags::from_bits(u16::from_le_bytes([bytes[6], bytes[7]]))?,
            generation: u64_at(bytes, 8),
            batch: u64_at(bytes, 16),
            synced_through: u32_at(bytes, 24),
            id: QueueId::from_bytes(id),
            envelope: u32_at(bytes, 28),
            head: u32_at(bytes, 32),
            body: u32_at(bytes, 36),
            crc_front: u32_at(bytes, 52),
            crc_body: u32_at(bytes, 56),
        })
    }
}

/// The parts of a record, borrowed from where it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) envelope: &'a [u8],
    pub(super) head: &'a [u8],
    /// Empty when the body is in a file.
    pub(super) body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Cuts a record that begins at the beginning of `bytes`; `None` when they are too short for it.
    pub(super) fn cut(header: &Header, bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.get(HEADER..)?;
        let (envelope, rest) = rest.split_at_checked(header.envelope as usize)?;
        let (head, rest) = rest.split_at_checked(header.head as usize)?;
        let (body, _) = rest.split_at_checked(header.body_inside() as usize)?;
        Some(Self { envelope, head, body })
    }

    /// As [`Parts::cut`], of octets that may end behind the head: without the body.
    pub(super) fn cut_front(header: &Header, bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.get(HEADER..)?;
        let (envelope, rest) = rest.split_at_checked(header.envelope as usize)?;
        let (head, _) = rest.split_at_checked(header.head as usize)?;
        Some(Self { envelope, head, body: &[] })
    }

    /// Whether envelope and head are as they were written.
    pub(super) fn front_is_whole(&self, header: &Header) -> bool {
        crc_front(self.envelope, self.head) == header.crc_front
    }

    /// Whether the body in the record is; that of a file is checked where the file is read.
    pub(super) fn body_is_whole(&self, header: &Header) -> bool {
        header.in_file() || crc32fast::hash(self.body) == header.crc_body
    }
}

/// Octets of a record with such parts.
pub(super) fn length(envelope: u32, head: u32, body: u32) -> u64 {
    let octets = HEADER as u64 + u64::from(envelope) + u64::from(head) + u64::from(body);
    octets.next_multiple_of(u64::from(ALIGN))
}

/// The CRC of envelope and head.
pub(super) fn crc_front(envelope: &[u8], head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(envelope);
    crc.update(head);
    crc.finalize()
}

/// A CRC begun with a salt.
pub(super) fn crc_from(salt: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(bytes);
    crc.finalize()
}

pub(super) fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

pub(super) fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Copy,
            flags: Flags { eight_bit: true, leading_dots: true, settles: true, ..Flags::default() },
            generation: 0x0102_0304_0506_0708,
            batch: 9,
            synced_through: 4096,
            id: QueueId::new(1_790_000_000_000, 7),
            envelope: 100,
            head: 20,
            body: 8,
            crc_front: 1,
            crc_body: u32::MAX,
        }
    }

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_spoils_it() {
        let header = header();
        let bytes = header.encode(5);
        assert_eq!(Header::decode(&bytes, 5), Some(header));
        assert_eq!(Header::decode(&bytes, 6), None, "another segment's salt");
        for bit in 0..HEADER * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&broken, 5), None, "bit {bit}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = header().encode(0);
        assert_eq!(bytes[..8], [b'P', b'S', b'R', b'\n', 1, 4, 0b1_0101, 0]);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[24..40], [0, 16, 0, 0, 100, 0, 0, 0, 20, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(bytes[40..50], header().id.to_bytes());
        assert_eq!(header().length(), 192);
    }
}
