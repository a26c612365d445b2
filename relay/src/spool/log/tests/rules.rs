//! Rules of the log, one at a time, where the simulation would need luck to come to the point.

use super::*;

/// A log on a disk without faults.
fn log(segments: u64) -> (Log<SimulatedDisk>, SimulatedDisk) {
    let disk = SimulatedDisk::new(1, SEGMENT as usize, segments as usize);
    (Log::open(disk.clone(), rules(segments), &mut Index::default()).unwrap(), disk)
}

fn message(number: u64, octets: usize) -> Message {
    let envelope = envelope(1);
    let (id, json) = (QueueId::new(number, 0), serde_json::to_vec(&envelope).unwrap());
    Message { id, json, envelope, content: content(id, octets) }
}

/// Outcomes of a message, as octets that nobody reads here.
fn outcome(id: QueueId, record: &[u8]) -> Entry<'_> {
    Entry {
        rank: Rank::Report,
        kind: Kind::Outcome,
        flags: Flags::default(),
        id,
        parts: Parts { envelope: record, head: &[], body: &[] },
        body: 0,
        crc_front: crc_front(record, &[]),
        crc_body: 0,
    }
}

/// Writes entries of this rank until there is no room for one more; answers how many there were.
fn fill(log: &mut Log<SimulatedDisk>, rank: Rank, octets: usize) -> usize {
    (0..).find(|number| log.append(&[message(*number, octets).entry(rank)]).unwrap() == [Written::Full]).unwrap()
        as usize
}

#[test]
fn room_is_kept_back_for_outcomes_and_more_for_copies() {
    let (mut log, _) = log(6);
    let in_segment = fill(&mut log, Rank::Mail, 4000) / 4;
    assert_eq!(log.free_segments(), RESERVE, "mail leaves two segments");
    let long = [b'.'; 4000];
    for _ in 0..in_segment {
        let written = log.append(&[outcome(QueueId::new(1, 0), &long)]).unwrap();
        assert!(matches!(written[..], [Written::At(_)]), "an outcome finds room when mail does not");
        assert_eq!(
            log.append(&[message(1, 10).entry(Rank::Mail)]).unwrap(),
            [Written::Full],
            "and mail still does not"
        );
    }
    fill(&mut log, Rank::Report, 4000);
    assert_eq!(log.free_segments(), Rank::Report as u64, "notifications and outcomes leave one");
    let copies = fill(&mut log, Rank::Copy, 4000);
    assert!(copies >= in_segment, "a copy may take it: {copies}, {in_segment}");
    assert_eq!(log.free_segments(), 0);
}

#[test]
fn a_short_outcome_does_not_overtake_a_long_one_that_found_no_room() {
    let (mut log, _) = log(5);
    fill(&mut log, Rank::Report, 2000);
    let id = QueueId::new(1, 0);
    let (long, short) = ([b'.'; 4000], [b'.'; 10]);
    assert!(
        log.fits(outcome(id, &short).length()) && !log.fits(outcome(id, &long).length()),
        "only the short one fits"
    );
    let written = log.append(&[outcome(id, &long), outcome(id, &short)]).unwrap();
    assert_eq!(written, [Written::Full, Written::Full]);
    assert!(matches!(log.append(&[outcome(id, &short)]).unwrap()[..], [Written::At(_)]));
}

#[test]
fn what_a_torn_write_left_whole_is_never_a_record_again() {
    let (mut log, disk) = log(5);
    let (torn, whole, later) = (message(1, 300), message(2, 300), message(3, 300));
    let written = log.append(&[torn.entry(Rank::Mail), whole.entry(Rank::Mail)]).unwrap();
    let [Written::At(first), Written::At(_)] = written[..] else { panic!("{written:?}") };
    // The power went before the first of them was on the disk; the second one was.
    disk.flip(first.slot, first.offset + 80, 0);
    let mut index = Index::default();
    let mut log = Log::open(disk.clone(), rules(5), &mut index).unwrap();
    assert_eq!(index.len(), 0, "nobody was answered for either");
    // Now a record stands there that ends where the second one began.
    log.append(&[later.entry(Rank::Mail)]).unwrap();
    let mut index = Index::default();
    Log::open(disk, rules(5), &mut index).unwrap();
    assert_eq!(whole_queue(&index).iter().map(|queued| queued.id).collect::<Vec<_>>(), [later.id]);
}

#[test]
fn after_a_failed_sync_the_batch_is_in_a_fresh_segment_and_a_second_failure_is_the_end() {
    let (mut log, disk) = log(6);
    let first = log.append(&[message(1, 100).entry(Rank::Mail)]).unwrap();
    disk.fail_syncs(1);
    let second = log.append(&[message(2, 100).entry(Rank::Mail)]).unwrap();
    let ([Written::At(first)], [Written::At(second)]) = (&first[..], &second[..]) else { panic!("{second:?}") };
    assert!(second.generation > first.generation && second.slot != first.slot);
    let third = log.append(&[message(3, 100).entry(Rank::Mail)]).unwrap();
    assert!(
        matches!(third[..], [Written::At(third)] if third.slot == second.slot),
        "nothing more goes to the broken one"
    );
    disk.cut_power();
    let mut index = Index::default();
    Log::open(disk.clone(), rules(6), &mut index).unwrap();
    assert_eq!(index.len(), 3);
    disk.fail_syncs(3);
    assert!(log.append(&[message(4, 100).entry(Rank::Mail)]).is_err(), "neither there, nor in two fresh segments");
}

/// Notes what it is told of the progress.
#[derive(Default)]
struct Watching(Vec<(usize, usize)>);

impl Replay for Watching {
    fn replay(&mut self, _: &Header, _: &Parts<'_>, _: Place) -> Replayed {
        Replayed::Kept
    }

    fn looked(&mut self, done: usize, of: usize) {
        self.0.push((done, of));
    }

    fn end(&mut self) {}
}

#[test]
fn opening_tells_how_far_it_is() {
    let (mut log, disk) = log(6);
    fill(&mut log, Rank::Mail, 4000);
    let mut watching = Watching::default();
    Log::open(disk, rules(6), &mut watching).unwrap();
    assert_eq!(watching.0, [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn without_descriptors_no_room_is_counted_and_mail_is_taken_as_soon_as_there_is_one() {
    let (mut log, disk) = log(6);
    disk.set_faults(Faults { descriptors: 1, ..Faults::default() });
    let ask = |log: &mut Log<SimulatedDisk>| {
        while log.wants_slot() || log.tries_slot() {
            let slot = disk.allocate();
            let failed = slot.is_err();
            log.slot_came(slot);
            if failed {
                break;
            }
        }
    };
    ask(&mut log);
    assert_eq!((log.trouble(), log.free_segments(), log.room()), (Some(Trouble::Failing), 0, 0));
    assert_eq!(log.append(&[message(1, 100).entry(Rank::Mail)]).unwrap(), [Written::Full]);
    ask(&mut log);
    assert_eq!(log.trouble(), Some(Trouble::Failing), "it was tried again, in vain");
    disk.set_faults(Faults::default());
    ask(&mut log);
    assert_eq!((log.trouble(), log.free_segments()), (None, 5));
    assert!(matches!(log.append(&[message(1, 100).entry(Rank::Mail)]).unwrap()[..], [Written::At(_)]));
}

#[test]
fn when_one_slot_cannot_be_made_the_others_that_are_coming_are_no_room_either() {
    let (mut log, disk) = log(8);
    while log.wants_slot() {}
    disk.set_faults(Faults { descriptors: 1, ..Faults::default() });
    log.slot_came(disk.allocate());
    assert_eq!(log.free_segments(), 0);
}

#[test]
fn a_full_disk_is_another_trouble_than_a_missing_descriptor() {
    let (mut log, disk) = log(6);
    disk.set_faults(Faults { space: 1, ..Faults::default() });
    assert!(log.wants_slot());
    log.slot_came(disk.allocate());
    assert_eq!(log.trouble(), Some(Trouble::Full));
}

#[test]
fn a_segment_whose_messages_are_all_alive_is_not_copied() {
    let (mut log, _) = log(6);
    // A segment of 16 KiB begins with a stamp of 4 KiB, so that these fill what there is to fill, but not the file.
    fill(&mut log, Rank::Mail, 11_900);
    assert_eq!(log.crowded(), None, "nothing is gained by copying");
    fill(&mut log, Rank::Report, 11_900);
    assert_eq!(log.crowded(), None, "nor when room is short");
    let oldest = log.segments[0].stamp.generation;
    let place = Place { generation: oldest, slot: log.segments[0].slot, offset: START, length: 11_900 };
    log.release(place);
    assert_eq!(log.crowded(), Some(oldest));
}
