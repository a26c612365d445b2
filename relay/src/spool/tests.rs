use super::*;
use crate::envelope::{Origin, Remote};

fn options(directory: &tempfile::TempDir) -> Options {
    Options { size_max: 64 << 20, ..Options::new(directory.path()) }
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        arrived: Timestamp::from_second(1_790_000_000).unwrap(),
        sender: "a@example.com".parse().map(crate::address::ReversePath::Mailbox).unwrap(),
        recipients: recipients.iter().map(|it| it.parse().unwrap()).collect(),
        origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
        eight_bit: false,
        binary: false,
        utf8: false,
        dsn: None,
    }
}

async fn draft(spool: &Spool, pieces: &[&str]) -> Draft {
    let mut intake = spool.admit(None).unwrap();
    for piece in pieces {
        intake.write(piece.as_bytes()).await.unwrap();
    }
    intake.end().await.unwrap()
}

async fn read(claim: &Claim) -> String {
    let mut content = claim.content().await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = content.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).unwrap()
}

fn remote(reply: &str) -> Remote {
    Remote { server: "mail.example[192.0.2.2]:25".into(), reply: reply.into(), status: "4.0.0".into() }
}

#[tokio::test]
async fn commits_claims_and_settles() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, mut arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let mut draft = draft(&spool, &["A: 1\r\nB: 2\r", "\n\r\nbo", "dy\r\n.\r\n"]).await;
    assert_eq!(draft.header(), b"A: 1\r\nB: 2\r\n");
    draft.prepend(b"Received: here\r\n");
    let id = draft.id();
    let receipt = spool.commit(draft, envelope(&["x@a.example", "y@b.example"])).await.unwrap();
    assert_eq!(receipt.id(), id);
    assert_eq!(arrivals.try_next().unwrap().id, id);

    let claim = spool.claim(id, &[1]).await.unwrap();
    assert!(spool.claim(id, &[1]).await.is_none(), "claimed already");
    assert_eq!(spool.envelope(id).await.unwrap().recipients.len(), 1);
    assert_eq!(read(&claim).await, "Received: here\r\nA: 1\r\nB: 2\r\n\r\nbody\r\n.\r\n");
    assert!(claim.leading_dots());
    drop(claim);
    assert_eq!(arrivals.try_next().unwrap().id, id, "a dropped claim comes back");

    let until = Timestamp::from_second(1_790_000_600).unwrap();
    let claim = spool.claim(id, &[0, 1, 2]).await.unwrap();
    let deferred = Outcome::Deferred { remote: remote("450 later"), until };
    spool.settle(claim, vec![Outcome::Delivered(remote("250 ok")), deferred]).await;
    let pending = spool.envelope(id).await.unwrap();
    assert_eq!((pending.recipients[0].index, pending.recipients[0].attempts, pending.recipients[0].due), (1, 1, until));
    assert_eq!(spool.queue()[0].last.as_ref().unwrap().reply, "450 later");
    assert_eq!(spool.retry(&[id], Timestamp::UNIX_EPOCH), 1);
    assert_eq!(arrivals.try_next().unwrap(), Arrival { id, due: Timestamp::UNIX_EPOCH });

    let claim = spool.claim(id, &[1]).await.unwrap();
    spool.settle(claim, vec![Outcome::Failed(remote("550 no"))]).await;
    assert!(spool.envelope(id).await.is_none() && spool.queue().is_empty());
}

#[tokio::test]
async fn stores_an_id_only_once() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, mut arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    for _ in 0..2 {
        let draft = spool.admit_as(QueueId::new(1, 1)).unwrap().end().await.unwrap();
        spool.commit(draft, envelope(&["x@a.example"])).await.unwrap();
    }
    assert_eq!(spool.usage().messages, 1);
    assert!(arrivals.try_next().is_some() && arrivals.try_next().is_none());
}

#[tokio::test]
async fn what_a_person_keeps_or_deletes_stays_so_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let mut ids: Vec<_> = three(&spool).await.into_iter().map(|(id, _)| id).collect();
    // In the order of the queue: those of one millisecond are in none.
    ids.sort_unstable();
    ids.push(QueueId::new(1, 1));
    assert_eq!(spool.hold(&ids, true).await, Ok(3));
    assert_eq!(spool.hold(&ids[1..2], false).await, Ok(1));
    assert_eq!(spool.delete(&ids[2..]).await, Deleted { deleted: 1, busy: 0 });
    let (spool, mut arrivals) = reopen(spool, &directory);
    assert_eq!(spool.queue().iter().map(|it| (it.id, it.held)).collect::<Vec<_>>(), [(ids[0], true), (ids[1], false)]);
    assert_eq!((arrivals.try_next().map(|it| it.id), arrivals.try_next()), (Some(ids[1]), None));
    assert_eq!(spool.hold(&ids[..1], false).await, Ok(1));
    assert_eq!(arrivals.try_next().map(|it| it.id), Some(ids[0]));
}

#[tokio::test]
async fn a_notification_that_was_sent_before_a_crash_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let draft = draft(&spool, &["A: 1\r\n\r\n"]).await;
    let about = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
    let notification = QueueId::new(1, 1);
    let notify = async |spool: &Spool| {
        let draft = spool.admit_as(notification).unwrap().end().await.unwrap();
        let origin = Origin::Notification { about, domain: None };
        spool.commit(draft, Envelope { origin, ..envelope(&["a@example.com"]) }).await.unwrap();
    };
    notify(&spool).await;
    let claim = spool.claim(notification, &[0]).await.unwrap();
    spool.settle(claim, vec![Outcome::Delivered(remote("250"))]).await;
    spool.close().await;
    // The outcome of its cause is lost: after the crash the notification is made again.
    let (spool, mut arrivals) = reopen(spool, &directory);
    notify(&spool).await;
    assert_eq!(spool.usage().messages, 1);
    assert_eq!((arrivals.try_next().map(|it| it.id), arrivals.try_next()), (Some(about), None));
}

/// What is still queued after the process ends (without a drain) and another one begins.
fn reopen(spool: Spool, directory: &tempfile::TempDir) -> (Spool, Arrivals) {
    drop(spool);
    Spool::open(options(directory), Timestamp::UNIX_EPOCH).unwrap()
}

#[tokio::test]
async fn a_restart_recovers_messages_and_the_state_of_their_recipients() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let mut ids = Vec::new();
    for number in 0..3 {
        let draft = draft(&spool, &[&format!("N: {number}\r\n"), "\r\n..body\r\n"]).await;
        ids.push(spool.commit(draft, envelope(&["x@a.example", "y@b.example"])).await.unwrap().id());
    }
    let until = Timestamp::from_second(1_790_000_600).unwrap();
    let claim = spool.claim(ids[0], &[0, 1]).await.unwrap();
    spool.settle(claim, vec![Outcome::Delivered(remote("250")), Outcome::Delivered(remote("250"))]).await;
    let claim = spool.claim(ids[1], &[0, 1]).await.unwrap();
    let deferred = Outcome::Deferred { remote: remote("450 later"), until };
    spool.settle(claim, vec![deferred, Outcome::Failed(remote("550"))]).await;
    let held = spool.claim(ids[2], &[0]).await.unwrap();
    spool.close().await;
    drop(held);

    let (spool, mut arrivals) = reopen(spool, &directory);
    let mut arrived = [arrivals.try_next().unwrap(), arrivals.try_next().unwrap()].map(|it| it.id);
    arrived.sort_unstable();
    let mut waiting = [ids[1], ids[2]];
    waiting.sort_unstable();
    assert_eq!(arrived, waiting);
    assert!(arrivals.try_next().is_none());
    let pending = spool.envelope(ids[1]).await.unwrap();
    let last = Some(Arc::new(remote("450 later")));
    assert_eq!(pending.recipients, [PendingRecipient { index: 0, attempts: 1, due: until, last }]);
    let claim = spool.claim(ids[2], &[0, 1]).await.unwrap();
    assert_eq!(claim.recipients().len(), 2, "a claim does not outlive the process");
    assert_eq!(*claim.envelope(), envelope(&["x@a.example", "y@b.example"]));
    assert_eq!(read(&claim).await, "N: 2\r\n\r\n..body\r\n");
    assert!(claim.leading_dots());
    assert_eq!(spool.usage().corrupt, 0);
}

#[tokio::test]
async fn a_large_body_goes_to_its_file_and_leaves_with_its_message() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let body = "0123456789abcd\r\n".repeat(40_000);
    let draft = draft(&spool, &["A: 1\r\n\r\n", &body[..100_000], &body[100_000..]]).await;
    let id = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
    assert_eq!(spool.0.shared.directory.bodies().unwrap().len(), 1);
    let whole = format!("A: 1\r\n\r\n{body}");
    assert_eq!(read(&spool.claim(id, &[0]).await.unwrap()).await, whole);

    let (spool, _arrivals) = reopen(spool, &directory);
    let claim = spool.claim(id, &[0]).await.unwrap();
    assert_eq!(read(&claim).await, whole);
    spool.settle(claim, vec![Outcome::Delivered(remote("250"))]).await;
    let (spool, _arrivals) = reopen(spool, &directory);
    assert_eq!((spool.usage().messages, spool.0.shared.directory.bodies().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn an_abandoned_intake_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let files = Arc::clone(&spool.0.shared.directory);
    drop(draft(&spool, &["A: 1\r\n\r\n", &"x".repeat(500_000)]).await);
    assert_eq!(spool.usage().octets % (4 << 20), 0, "only segments");
    drop(spool);
    assert_eq!(files.bodies().unwrap(), []);
}

/// The path of the only segment that holds records.
fn segment_path(directory: &tempfile::TempDir) -> PathBuf {
    let segments = std::fs::read_dir(directory.path().join("segments")).unwrap().map(|entry| entry.unwrap().path());
    segments.min().unwrap()
}

/// Changes one octet of a message's record.
fn spoil(directory: &tempfile::TempDir, place: log::Place, at: u32) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(segment_path(directory)).unwrap();
    let (mut octet, offset) = ([0], u64::from(place.offset + at));
    file.read_exact_at(&mut octet, offset).unwrap();
    file.write_all_at(&[octet[0] ^ 0x20], offset).unwrap();
}

/// Three messages, each in a write of its own, and their places.
async fn three(spool: &Spool) -> Vec<(QueueId, log::Place)> {
    let mut all = Vec::new();
    for number in 0..3 {
        let draft = draft(spool, &[&format!("N: {number}\r\n\r\nbody {number}\r\n")]).await;
        let id = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
        let place = spool.0.shared.index().facts(id).unwrap().place;
        assert_eq!(place.slot.0, 0, "the first segment");
        all.push((id, place));
    }
    all
}

#[tokio::test]
async fn a_torn_last_write_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let all = three(&spool).await;
    drop(spool);
    spoil(&directory, all[2].1, 70);
    let (spool, mut arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((spool.usage().messages, spool.usage().corrupt), (2, 0));
    assert!(arrivals.try_next().is_some() && arrivals.try_next().is_some() && arrivals.try_next().is_none());
    three(&spool).await;
    assert_eq!(reopen(spool, &directory).0.usage().messages, 5);
}

#[tokio::test]
async fn a_segment_that_was_cut_off_costs_what_it_lost_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let all = three(&spool).await;
    spool.close().await;
    drop(spool);
    // Nothing but the segment itself says how long it was.
    let path = segment_path(&directory);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let other = entry.unwrap().path();
        if other != path {
            std::fs::remove_file(other).unwrap();
        }
    }
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(u64::from(all[1].1.offset) + 100).unwrap();
    let (spool, mut arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((spool.usage().messages, spool.usage().corrupt), (1, 1), "nothing else tells that there was more");
    assert_eq!((arrivals.try_next().map(|it| it.id), arrivals.try_next()), (Some(all[0].0), None));
    three(&spool).await;
    assert_eq!(reopen(spool, &directory).0.usage().messages, 4, "and is gone on with");
}

#[tokio::test]
async fn a_flipped_bit_costs_one_message_which_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let all = three(&spool).await;
    drop(spool);
    let orphan = directory.path().join("files/00").join(QueueId::new(1, 0).to_string());
    std::fs::write(&orphan, "a body").unwrap();
    spoil(&directory, all[0].1, 70);
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((spool.usage().messages, spool.usage().corrupt), (2, 1));
    let kept: Vec<_> = std::fs::read_dir(directory.path().join("corrupt")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].as_ref().unwrap().metadata().unwrap().len(), u64::from(all[0].1.length));
    assert!(orphan.exists(), "the damaged record may be the one that names it");
    assert!(spool.show(all[0].0).await.is_none() && spool.show(all[1].0).await.is_some());
}

#[tokio::test]
async fn a_file_of_no_message_is_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap());
    let orphan = directory.path().join("files/00").join(QueueId::new(1, 0).to_string());
    std::fs::write(&orphan, "a body").unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    assert!(!orphan.exists() && spool.usage().corrupt == 0);
}

#[tokio::test]
async fn a_damaged_body_is_told_before_its_message_can_be_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let (small, place) = three(&spool).await[0];
    let draft = draft(&spool, &["A: 1\r\n\r\n", &"x".repeat(400_000)]).await;
    let large = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
    let file = spool.0.shared.directory.body_path(large);
    let header = content::read(&spool.0.shared, small, true).await.unwrap().header;
    drop(spool);
    spoil(&directory, place, record::HEADER as u32 + header.envelope + header.head + 3);
    let mut body = std::fs::read(&file).unwrap();
    body[300_000] = b'y';
    std::fs::write(&file, body).unwrap();

    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(spool.usage().corrupt, 0, "bodies are checked when they are sent");
    let claim = spool.claim(small, &[0]).await.unwrap();
    assert!(claim.content().await.unwrap_err().damaged);
    let claim = spool.claim(large, &[0]).await.unwrap();
    let mut content = claim.content().await.unwrap();
    let mut octets = 0;
    let error = loop {
        match content.next().await {
            Ok(piece) => octets += piece.expect("an end").len(),
            Err(error) => break error,
        }
    };
    assert!(error.damaged && octets < 400_000, "{error}");
    assert_eq!(spool.usage().corrupt, 2);
}

#[tokio::test]
async fn a_full_spool_refuses_at_mail_delivers_and_takes_mail_again() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { size_max: 16 << 20, ..options(&directory) };
    let (spool, _arrivals) = Spool::open(small, Timestamp::UNIX_EPOCH).unwrap();
    let body = format!("A: 1\r\n\r\n{}", "x".repeat(200_000));
    let mut ids = Vec::new();
    while let Ok(mut intake) = spool.admit(Some(200_000)) {
        intake.write(body.as_bytes()).await.unwrap();
        let draft = intake.end().await.unwrap();
        match spool.commit(draft, envelope(&["x@a.example"])).await {
            Ok(receipt) => ids.push(receipt.id()),
            Err(refused) => assert_eq!(refused, Refused::Full),
        }
        assert!(ids.len() < 100, "it never says that it is full");
    }
    assert_eq!(spool.admit(Some(200_000)).unwrap_err(), Refused::Full);
    assert!(spool.usage().octets <= 16 << 20 && ids.len() >= 19, "{} messages", ids.len());
    // A notification still has room.
    let mut intake = spool.admit_as(QueueId::new(1, 1)).unwrap();
    intake.write(b"A: 1\r\n\r\nfailed\r\n").await.unwrap();
    let mut about = envelope(&["x@a.example"]);
    about.origin = Origin::Notification { about: ids[0], domain: None };
    ids.push(spool.commit(intake.end().await.unwrap(), about).await.unwrap().id());
    for id in ids {
        let claim = spool.claim(id, &[0]).await.unwrap();
        spool.settle(claim, vec![Outcome::Delivered(remote("250"))]).await;
    }
    spool.close().await;
    assert!(spool.admit(Some(200_000)).is_ok() && !spool.usage().full);
    assert_eq!(reopen(spool, &directory).0.usage().messages, 0);
}

#[tokio::test]
async fn a_large_body_without_room_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { size_max: 16 << 20, ..options(&directory) };
    let (spool, _arrivals) = Spool::open(small, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(spool.admit(Some(20 << 20)).unwrap_err(), Refused::Full);
    let mut intake = spool.admit(None).unwrap();
    intake.write(b"A: 1\r\n\r\n").await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let refused = loop {
        if let Err(refused) = intake.write(&piece).await {
            break refused;
        }
        assert!(intake.size() < 20 << 20, "it never says that it is full");
    };
    assert_eq!(refused, Refused::Full);
    drop(intake);
    assert_eq!(spool.0.shared.room.files(), 0);
}

#[tokio::test]
async fn one_process_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (_spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let error = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap_err().to_string();
    let path = directory.path().display();
    assert_eq!(error, format!("spool {path} is in use by process {}", std::process::id()));
}

#[tokio::test]
async fn a_session_that_is_gone_while_it_waits_leaves_nothing_unscheduled() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, mut arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    let draft = draft(&spool, &["A: 1\r\n\r\n"]).await;
    let id = draft.id();
    {
        let mut commit = std::pin::pin!(spool.commit(draft, envelope(&["x@a.example"])));
        assert!(futures::poll!(&mut commit).is_pending(), "no answer before the sync");
    }
    assert_eq!(arrivals.next().await.unwrap().id, id);
    assert!(spool.claim(id, &[0]).await.is_some());
}

#[tokio::test]
async fn bodies_beyond_the_memory_budget_go_to_files() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) =
        Spool::open(Options { memory_max: 500_000, ..options(&directory) }, Timestamp::UNIX_EPOCH).unwrap();
    let text = format!("A: 1\r\n\r\n{}", "x".repeat(200_000));
    let mut drafts = Vec::new();
    for _ in 0..4 {
        drafts.push(draft(&spool, &[&text]).await);
    }
    assert_eq!(spool.0.shared.directory.bodies().unwrap().len(), 2, "two fit into memory");
    for draft in drafts {
        let id = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
        assert_eq!(read(&spool.claim(id, &[0]).await.unwrap()).await, text);
    }
}

#[tokio::test]
async fn a_header_section_ends_at_its_empty_line_wherever_the_pieces_end() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _arrivals) = Spool::open(options(&directory), Timestamp::UNIX_EPOCH).unwrap();
    for (text, head) in [
        ("A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore", "A: 1\r\nB: 2\r\n"),
        ("\r\nbody\r\n\r\n", ""),
        ("A: 1\r\n", "A: 1\r\n"),
        ("", ""),
    ] {
        for cut in 0..=text.len() {
            let draft = draft(&spool, &[&text[..cut], &text[cut..]]).await;
            assert_eq!(draft.header(), head.as_bytes(), "{text:?} cut at {cut}");
            let id = spool.commit(draft, envelope(&["x@a.example"])).await.unwrap().id();
            assert_eq!(read(&spool.claim(id, &[0]).await.unwrap()).await, text);
        }
    }
    let endless = draft(&spool, &["A: ", &"x".repeat(HEAD_MAX)]).await;
    assert_eq!(endless.header().len(), HEAD_MAX);
}
