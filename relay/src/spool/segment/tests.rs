use super::*;
use crate::queue_id::QueueId;
use crate::spool::record::{Flags, Kind, crc_front};

/// What a walk through a segment found.
#[derive(Debug)]
struct Found {
    pieces: Vec<Piece>,
    end: u32,
    synced: u32,
    stale: Vec<u32>,
}

impl Octets for &[u8] {
    fn length(&self) -> u32 {
        self.len() as u32
    }

    fn at(&mut self, from: u32, octets: u64) -> &[u8] {
        let from = from as usize;
        &self[from..self.len().min(from + octets as usize)]
    }
}

fn scan(mut bytes: &[u8], stamp: &Stamp, sealed: Option<u32>) -> Found {
    let mut scan = Scan::begin(&mut bytes, stamp, sealed);
    let pieces = std::iter::from_fn(|| scan.next(&mut bytes)).collect();
    let Scan { end, synced, stale, .. } = scan;
    Found { pieces, end, synced, stale }
}

const STAMP: Stamp = Stamp { generation: 9, in_use: true, salt: 3, previous: 8, previous_end: 5000, length: 16 << 10 };

/// A segment with these records: an id, and how far the segment was synced when it was written.
fn segment(records: &[(u64, u32)]) -> (Vec<u8>, Vec<u32>) {
    let (mut bytes, mut offsets) = (vec![0; START as usize], Vec::new());
    for (id, synced_through) in records {
        offsets.push(bytes.len() as u32);
        let (envelope, body) = (b"{}".as_slice(), [b'b'; 100].as_slice());
        let header = Header {
            kind: Kind::Put,
            flags: Flags::default(),
            generation: STAMP.generation,
            batch: 1,
            synced_through: *synced_through,
            id: QueueId::new(*id, 0),
            envelope: 2,
            head: 0,
            body: 100,
            crc_front: crc_front(envelope, &[]),
            crc_body: crc32fast::hash(body),
        };
        bytes.extend([&header.encode(STAMP.salt), envelope, body].concat());
        bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0);
    }
    offsets.push(bytes.len() as u32);
    bytes.resize(16 << 10, 0);
    (bytes, offsets)
}

fn ids(scan: &Found) -> Vec<Option<u64>> {
    let id = |piece: &Piece| match piece {
        Piece::Record { header, .. } => Some(header.id.unix_millis()),
        Piece::Corrupt { .. } => None,
    };
    scan.pieces.iter().map(id).collect()
}

#[test]
fn a_torn_tail_ends_the_segment_and_what_follows_it_is_struck_out() {
    let (mut bytes, at) = segment(&[(1, START), (2, START), (3, START)]);
    bytes[at[1] as usize + 70] ^= 1;
    let scan = scan(&bytes, &STAMP, None);
    assert_eq!((ids(&scan), scan.end, scan.synced), (vec![Some(1)], at[1], START));
    assert_eq!(scan.stale, [at[1], at[2]]);
}

#[test]
fn a_torn_body_ends_the_segment_too() {
    let (mut bytes, at) = segment(&[(1, START), (2, START)]);
    bytes[at[1] as usize + 100] ^= 1;
    assert_eq!(scan(&bytes, &STAMP, None).end, at[1]);
}

#[test]
fn damage_below_what_a_later_record_knew_is_corruption() {
    let (bytes, at) = segment(&[(1, START), (2, START), (3, 0)]);
    for spoiled in [0, 5, 40, 65] {
        let (mut bytes, _) = segment(&[(1, START), (2, START), (3, at[2])]);
        bytes[at[1] as usize + spoiled] ^= 1;
        let scan = scan(&bytes, &STAMP, None);
        assert_eq!((ids(&scan), scan.end), (vec![Some(1), None, Some(3)], at[3]), "octet {spoiled}");
        assert_eq!(scan.pieces[1], Piece::Corrupt { from: at[1], to: at[2] });
    }
    assert_eq!(scan(&bytes, &STAMP, None).pieces.len(), 3);
}

#[test]
fn a_damaged_body_below_the_watermark_is_left_to_delivery() {
    let (_, at) = segment(&[(1, START), (2, START)]);
    let (mut bytes, _) = segment(&[(1, START), (2, at[1])]);
    bytes[at[0] as usize + 100] ^= 1;
    assert_eq!(ids(&scan(&bytes, &STAMP, None)), [Some(1), Some(2)]);
}

#[test]
fn a_sealed_segment_counts_to_its_end_and_no_further() {
    let (mut bytes, at) = segment(&[(1, START), (2, START), (3, START)]);
    assert_eq!(ids(&scan(&bytes, &STAMP, Some(at[2]))), [Some(1), Some(2)]);
    bytes[at[1] as usize] ^= 1;
    let scan = scan(&bytes, &STAMP, Some(at[2]));
    assert_eq!(scan.pieces[1], Piece::Corrupt { from: at[1], to: at[2] }, "the last one is damaged");
}

#[test]
fn records_of_an_earlier_use_are_no_records() {
    let (bytes, _) = segment(&[(1, START), (2, START)]);
    let younger = Stamp { generation: 10, ..STAMP };
    assert_eq!(scan(&bytes, &younger, None).pieces, []);
    let other_salt = Stamp { salt: 4, ..STAMP };
    assert_eq!(scan(&bytes, &other_salt, None).pieces, []);
}

#[test]
fn a_stamp_survives_the_loss_of_either_copy_and_the_younger_one_counts() {
    let write = |bytes: &mut [u8], at: u32, stamp: &Stamp| {
        bytes[at as usize..at as usize + HEADER].copy_from_slice(&stamp.encode());
    };
    let mut bytes = vec![0; START as usize + HEADER];
    assert_eq!(stamped(&bytes), Stamped::Blank);
    let younger = Stamp { generation: 10, in_use: false, ..STAMP };
    write(&mut bytes, STAMPS[0], &STAMP);
    assert_eq!(stamped(&bytes), Stamped::As(STAMP));
    write(&mut bytes, STAMPS[1], &younger);
    assert_eq!(stamped(&bytes), Stamped::As(younger));
    bytes[STAMPS[1] as usize + 8] ^= 1;
    assert_eq!(stamped(&bytes), Stamped::As(STAMP));
    bytes[STAMPS[0] as usize + 8] ^= 1;
    assert_eq!(stamped(&bytes), Stamped::Unreadable);
}
