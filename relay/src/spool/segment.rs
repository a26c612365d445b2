//! One segment: its stamp, and what a scan finds in it. Pure: it looks at the segment's octets, not at a file.
//!
//! The first 4096 octets hold the stamp, twice, in sectors that are written apart; records follow. A segment is stamped
//! with a new generation, on stable storage, before its first record, so that what an earlier use left behind never
//! replays; and stamped as spare, on stable storage, before it counts as free. A segment that was never stamped is spare.
//!
//! Damage below a point that is known to have been on stable storage is corruption: the scan skips to the next record and
//! tells what it skipped. Damage above is the torn tail of a crash: nobody was answered, and the segment ends there.

use super::record::{ALIGN, ENVELOPE_MAX, HEADER, Header, Parts, crc_from, u32_at, u64_at};

/// Where the first record of a segment begins.
pub(super) const START: u32 = 4096;
/// Where the two copies of the stamp stand.
pub(super) const STAMPS: [u32; 2] = [0, 2048];

const MAGIC: [u8; 4] = *b"PSS\n";
const VERSION: u8 = 1;
/// What a stamp's CRC begins with: a stamp is never mistaken for a record.
const SALT: u32 = 0x7053_7401;

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Grows with each stamp that is written in the spool.
    pub(super) generation: u64,
    /// Whether it holds records.
    pub(super) in_use: bool,
    /// What the CRCs of its records' headers begin with.
    pub(super) salt: u32,
    /// The segment before it, and how far that one was on stable storage when this one was begun: all of it counts, and
    /// nothing beyond. Zero: there is none.
    pub(super) previous: u64,
    pub(super) previous_end: u32,
    /// The length that it was made with: a file that was cut off has another.
    pub(super) length: u32,
}

impl Stamp {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &[VERSION, u8::from(self.in_use)]);
        put(8, &self.generation.to_le_bytes());
        put(16, &self.previous.to_le_bytes());
        put(24, &self.previous_end.to_le_bytes());
        put(28, &self.salt.to_le_bytes());
        put(32, &self.length.to_le_bytes());
        let crc = crc_from(SALT, &out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let whole = bytes[..5] == [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION]
            && crc_from(SALT, &bytes[..60]) == u32_at(bytes, 60);
        whole.then(|| Self {
            generation: u64_at(bytes, 8),
            in_use: bytes[5] == 1,
            salt: u32_at(bytes, 28),
            previous: u64_at(bytes, 16),
            previous_end: u32_at(bytes, 24),
            length: u32_at(bytes, 32),
        })
    }
}

/// What the first octets of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamped {
    /// Never used.
    Blank,
    /// The younger of the two copies, or the one that is whole.
    As(Stamp),
    /// Neither copy is whole, and it is not blank: nobody knows what is in it.
    Unreadable,
}

/// Reads the stamp from the first octets of a segment: [`START`] and one header.
pub(super) fn stamped(bytes: &[u8]) -> Stamped {
    let copies = STAMPS.iter().filter_map(|at| Stamp::decode(bytes.get(*at as usize..)?));
    match copies.max_by_key(|stamp| stamp.generation) {
        Some(stamp) => Stamped::As(stamp),
        None if bytes.iter().all(|byte| *byte == 0) => Stamped::Blank,
        None => Stamped::Unreadable,
    }
}

/// A piece of a segment, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A record whose header, envelope and head are whole.
    Record { at: u32, header: Header },
    /// Octets that were on stable storage once, and are not what was written.
    Corrupt { from: u32, to: u32 },
}

/// The octets of a segment, read as they are wanted.
pub(super) trait Octets {
    /// How many there are.
    fn length(&self) -> u32;
    /// So many from a place on; fewer at the end.
    fn at(&mut self, from: u32, octets: u64) -> &[u8];
}

/// A walk through a segment. Bodies are read, and checked, only where nothing says that they were synced.
#[derive(Debug)]
pub(super) struct Scan {
    stamp: Stamp,
    limit: u32,
    /// Where the next piece begins.
    from: u32,
    /// Where the last record ends.
    pub(super) end: u32,
    /// Up to here it is known to have been on stable storage; records above are whole, and nothing proves more.
    pub(super) synced: u32,
    /// Headers above the end that look whole: they belong to the torn tail and must never be taken for records.
    pub(super) stale: Vec<u32>,
}

/// A stretch of a segment: a record by its header, or what lies between two of them.
struct Candidate {
    from: u32,
    to: u32,
    header: Option<Header>,
}

impl Scan {
    /// Begins. `sealed` is how far the segment was on stable storage when its successor was begun; without a successor the
    /// latest of the records knew it.
    pub(super) fn begin(octets: &mut impl Octets, stamp: &Stamp, sealed: Option<u32>) -> Self {
        let limit = sealed.map_or(octets.length(), |sealed| octets.length().min(sealed));
        let mut scan = Self { stamp: *stamp, limit, from: START, end: START, synced: START, stale: Vec::new() };
        match sealed {
            Some(sealed) => scan.synced = sealed,
            None => {
                while let Some(candidate) = scan.candidate(octets, scan.from) {
                    let knew = candidate.header.map_or(START, |header| header.synced_through);
                    (scan.synced, scan.from) = (scan.synced.max(knew), candidate.to);
                }
                scan.from = START;
            }
        }
        scan
    }

    /// The next piece; `None` after the last.
    pub(super) fn next(&mut self, octets: &mut impl Octets) -> Option<Piece> {
        let candidate = self.candidate(octets, self.from)?;
        let (from, to) = (candidate.from, candidate.to);
        let piece = match candidate.header {
            Some(header) if is_whole(octets, &header, from, from >= self.synced) => Piece::Record { at: from, header },
            // Nobody was answered for what is torn, nor for what was written after it.
            _ if from >= self.synced => {
                let mut torn = Some(candidate);
                while let Some(Candidate { from, to, header }) = torn {
                    self.stale.extend(header.map(|_| from));
                    torn = self.candidate(octets, to);
                }
                self.from = self.limit;
                return None;
            }
            _ => Piece::Corrupt { from, to },
        };
        (self.from, self.end) = (to, to);
        Some(piece)
    }

    fn candidate(&self, octets: &mut impl Octets, from: u32) -> Option<Candidate> {
        if from >= self.limit {
            return None;
        }
        let (to, header) = match self.header_at(octets, from) {
            Some((header, to)) => (to, Some(header)),
            None => (self.next_header(octets, from), None),
        };
        Some(Candidate { from, to, header })
    }

    /// The header at a place and the end of its record, when it belongs to this use of the segment and fits into it.
    fn header_at(&self, octets: &mut impl Octets, from: u32) -> Option<(Header, u32)> {
        let left = u64::from(self.limit - from).min(HEADER as u64);
        let header = Header::decode(octets.at(from, left), self.stamp.salt)?;
        let end = u64::from(from) + header.length();
        let fits = end <= u64::from(self.limit) && header.envelope <= ENVELOPE_MAX;
        (header.generation == self.stamp.generation && fits).then_some((header, u32::try_from(end).ok()?))
    }

    fn next_header(&self, octets: &mut impl Octets, from: u32) -> u32 {
        let mut places = (from + ALIGN..self.limit).step_by(ALIGN as usize);
        places.find(|at| self.header_at(octets, *at).is_some()).unwrap_or(self.limit)
    }
}

fn is_whole(octets: &mut impl Octets, header: &Header, from: u32, with_body: bool) -> bool {
    if with_body {
        let parts = Parts::cut(header, octets.at(from, header.length()));
        parts.is_some_and(|parts| parts.front_is_whole(header) && parts.body_is_whole(header))
    } else {
        Parts::cut_front(header, octets.at(from, header.front())).is_some_and(|parts| parts.front_is_whole(header))
    }
}

#[cfg(test)]
mod tests;
