//! What a crash or a bad disk leaves in the log: the torn tail is cut off, damage is set aside, the rest is delivered.

use std::fs;
use std::path::PathBuf;

use postern_tests::relay::Relay;
use postern_tests::sink::Sink;

use crate::load::{Acknowledged, arrived, lost, message_of, send};
use crate::{DELIVERED_WITHIN, relay_to};

const MESSAGES: u64 = 40;
const LENGTH: usize = 4 << 10;
/// Where a record may begin.
const ALIGN: usize = 64;
/// With what it begins.
const RECORD: &[u8] = b"PSR\n";

fn expected(number: u64) -> Vec<u8> {
    message_of(number, LENGTH)
}

/// A relay that was killed with so many messages in its spool, and a sink that takes them once it is started again.
fn killed() -> (Relay, Sink, Acknowledged) {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    let acknowledged = (0..MESSAGES).map(|number| (number, send(&mut client, number, &expected(number)).unwrap()));
    let acknowledged = acknowledged.collect();
    relay.kill().unwrap();
    sink.answer_normally();
    (relay, sink, acknowledged)
}

/// Damaged pieces that the relay counts.
fn corrupt(relay: &Relay) -> u64 {
    let (_, metrics) = relay.get("/metrics").unwrap();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("postern_relay_spool_corrupt_records "));
    counted.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

/// The segment that holds this text, and its octets.
fn segment_with(relay: &Relay, text: &str) -> (PathBuf, Vec<u8>) {
    let entries = fs::read_dir(relay.spool().join("segments")).unwrap();
    let segments = entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap()));
    let mut holding = segments.filter(|(_, octets)| find(octets, text).is_some());
    holding.next().unwrap_or_else(|| panic!("no segment holds {text}"))
}

fn find(octets: &[u8], text: &str) -> Option<usize> {
    octets.windows(text.len()).position(|window| window == text.as_bytes())
}

/// The first octet where a record could follow the last one.
fn end(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| (last + 1).next_multiple_of(ALIGN))
}

/// Whatever a disk may hold where nothing was written.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_torn_record_and_garbage_behind_the_log_cost_nothing() {
    let (mut relay, sink, acknowledged) = killed();
    let (path, mut octets) = segment_with(&relay, "X-Marker: 39\r\n");
    let at = end(&octets);
    // The beginning of a record that is true in itself, of which the rest was never written, and then anything.
    let marker = find(&octets, "X-Marker: 7\r\n").unwrap();
    let record = octets[..marker].windows(RECORD.len()).rposition(|window| window == RECORD).unwrap();
    assert_eq!(record % ALIGN, 0);
    octets.copy_within(record..record + 1024, at);
    octets[at + 1024..at + 9216].copy_from_slice(&garbage(8192));
    fs::write(path, octets).unwrap();

    relay.start_again().unwrap();
    sink.wait_for_mails(acknowledged.len(), DELIVERED_WITHIN).unwrap();
    let arrived = arrived(&sink.mails(), expected).unwrap();
    assert_eq!(lost(&acknowledged, &arrived), [] as [u64; 0]);
    assert_eq!(arrived.len(), acknowledged.len(), "nothing else was sent");
    let mut client = relay.client().unwrap();
    send(&mut client, MESSAGES, &expected(MESSAGES)).unwrap();
}

#[test]
fn a_segment_that_was_cut_off_loses_its_end_only() {
    let (mut relay, sink, acknowledged) = killed();
    let (path, octets) = segment_with(&relay, "X-Marker: 30\r\n");
    // In the middle of the message, which is the first that is lost.
    let cut = find(&octets, "X-Marker: 30\r\n").unwrap() + 100;
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(cut as u64).unwrap();

    relay.start_again().unwrap();
    sink.wait_for_mails(30, DELIVERED_WITHIN).unwrap();
    let arrived = arrived(&sink.mails(), expected).unwrap();
    assert_eq!(lost(&acknowledged, &arrived), (30..MESSAGES).collect::<Vec<_>>());
    assert!(relay.log().contains("was cut off"), "{}", relay.log());
    assert_eq!(corrupt(&relay), 1);
    let mut client = relay.client().unwrap();
    send(&mut client, MESSAGES, &expected(MESSAGES)).unwrap();
}

#[test]
fn a_damaged_record_is_set_aside_and_all_others_are_delivered() {
    let (mut relay, sink, acknowledged) = killed();
    let (path, mut octets) = segment_with(&relay, "X-Marker: 20\r\n");
    let at = find(&octets, "X-Marker: 20\r\n").unwrap() + 512;
    octets[at..at + 16].copy_from_slice(&garbage(16));
    fs::write(path, octets).unwrap();

    relay.start_again().unwrap();
    sink.wait_for_mails(acknowledged.len() - 1, DELIVERED_WITHIN).unwrap();
    let arrived = arrived(&sink.mails(), expected).unwrap();
    assert_eq!(lost(&acknowledged, &arrived), [20], "a damaged message is never sent");
    let kept = fs::read_dir(relay.spool().join("corrupt")).unwrap().count();
    assert!(kept > 0, "nothing was set aside:\n{}", relay.log());
    assert_eq!(corrupt(&relay), 1);
}
