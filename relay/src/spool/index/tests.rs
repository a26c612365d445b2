use super::*;
use crate::envelope::Origin;
use crate::spool::log::Slot;

const WAIT: Timestamp = Timestamp::UNIX_EPOCH;

fn envelope(recipients: usize) -> Arc<Envelope> {
    let envelope = Envelope {
        arrived: Timestamp::UNIX_EPOCH,
        sender: crate::address::ReversePath::Null,
        recipients: vec!["x@a.example".parse().unwrap(); recipients],
        origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
        eight_bit: false,
        binary: false,
        utf8: false,
        dsn: None,
    };
    envelope.into()
}

fn arrived(number: u64, envelope: &Arc<Envelope>) -> Arrived {
    let envelope = Arc::clone(envelope);
    let generation = number / 10_000 + 1;
    let place = Place { generation, slot: Slot(generation as u32), offset: 4096 + 640 * number as u32, length: 640 };
    let id = QueueId::new(number, number as u32);
    Arrived { id, place, flags: Flags::default(), file: None, size: 4096, envelope, standing: None, warm: None }
}

fn defer(index: &mut Index, id: QueueId, reply: &str) {
    let remote = Remote { server: "mx.example[192.0.2.1]:25".into(), reply: reply.into(), status: "4.0.0".into() };
    let (_, claimed) = index.claim(id, Some(&[0])).unwrap();
    index.settle(id, &claimed, vec![Outcome::Deferred { remote, until: WAIT }]);
}

/// All that is allocated for messages, whether it is used or not.
fn octets(index: &Index) -> usize {
    let Index { table, others, files, warm, replies: _, segments: _, notifications, sent } = index;
    assert!(others.capacity() + files.capacity() + warm.capacity() + notifications.capacity() + sent.capacity() == 0);
    table.octets()
}

#[test]
fn a_million_messages_take_at_most_64_octets_each() {
    let (mut index, envelope) = (Index::default(), envelope(1));
    // The hash table doubles at seven eighths of a power of two: just behind is where it is emptiest.
    for messages in [917_505, 1_000_000] {
        for number in index.len() as u64..messages {
            index.insert(arrived(number, &envelope));
        }
        let each = octets(&index) as f64 / messages as f64;
        println!("{messages} messages: {each:.2} octets each");
        assert!(each <= 64.0, "{messages} messages: {each:.2} octets each");
    }
    // Many of them wait behind the same dead host: nothing is kept for each.
    for number in 0..50_000 {
        defer(&mut index, QueueId::new(number, number as u32), "connection refused");
    }
    assert!(octets(&index) <= 64_000_000);
    let shown = index.show(QueueId::new(5, 5)).unwrap().0;
    assert_eq!((shown.attempts, shown.due, shown.last.unwrap().reply.as_str()), (1, WAIT, "connection refused"));
}

#[test]
fn each_recipient_stands_for_itself() {
    let mut index = Index::default();
    index.insert(arrived(1, &envelope(3)));
    let id = QueueId::new(1, 1);
    let (_, claimed) = index.claim(id, Some(&[2, 0])).unwrap();
    assert_eq!(claimed.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(index.pending(id).iter().map(|it| it.index).collect::<Vec<_>>(), [1]);
    let remote = || Remote { server: String::new(), reply: "450".into(), status: "4.0.0".into() };
    let until = Timestamp::from_second(100).unwrap();
    let outcomes = vec![Outcome::Delivered(remote()), Outcome::Deferred { remote: remote(), until }];
    let (settled, gone) = index.settle(id, &claimed, outcomes);
    assert_eq!((settled.len(), gone), (2, None));
    let (queued, recipients) = index.show(id).unwrap();
    assert_eq!((queued.recipients, queued.pending, queued.attempts, queued.due), (3, 2, 1, Timestamp::UNIX_EPOCH));
    assert_eq!(recipients.iter().map(|it| it.pending.is_some()).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(recipients[2].pending.as_ref().unwrap().due, until);
    let (_, rest) = index.claim(id, None).unwrap();
    let (_, gone) = index.settle(id, &rest, vec![Outcome::Failed(remote()); 2]);
    assert_eq!(gone.unwrap().place.offset, 4096 + 640);
    assert!(index.len() == 0 && index.others.is_empty());
}

#[test]
fn what_a_person_keeps_is_not_given_out() {
    let mut index = Index::default();
    index.insert(arrived(1, &envelope(1)));
    let id = QueueId::new(1, 1);
    assert_eq!(index.hold(id, true), None);
    assert!(index.pending(id).is_empty() && index.claim(id, Some(&[0])).is_none() && index.due().is_empty());
    assert!(!index.retry(id, WAIT) && index.show(id).unwrap().0.held);
    assert!(index.claim(id, None).is_some(), "but for that person");
    assert_eq!(index.hold(id, false), Some(Timestamp::UNIX_EPOCH));
    assert_eq!(index.due().len(), 1);
    assert_eq!(index.hold(QueueId::new(2, 2), true), None);
}

#[test]
fn a_message_that_moves_is_found_in_its_new_segment_only() {
    let mut index = Index::default();
    index.insert(arrived(1, &envelope(1)));
    index.insert(arrived(2, &envelope(1)));
    let (first, from) = index.in_segment(1)[0];
    let to = Place { generation: 9, slot: Slot(4), offset: 4096, length: 704 };
    assert!(index.moved(first, from, to) && !index.moved(first, from, to));
    assert_eq!(index.facts(first).unwrap().place, to);
    assert_eq!((index.in_segment(1).len(), index.in_segment(9)), (1, vec![(first, to)]));
    index.remove(first).unwrap();
    assert!(index.in_segment(9).is_empty() && index.segments.number(9).is_none());
}
