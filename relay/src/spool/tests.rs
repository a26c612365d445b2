use super::*;
use crate::envelope::{Origin, Remote};

fn options(directory: &tempfile::TempDir) -> Options {
    Options { segment_size: 4 << 20, size_max: 64 << 20, ..Options::new(directory.path()) }
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        arrived: Timestamp::from_second(1_790_000_000).unwrap(),
        sender: "a@example.com".parse().map(crate::address::ReversePath::Mailbox).unwrap(),
        recipients: recipients.iter().map(|it| it.parse().unwrap()).collect(),
        origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
        eight_bit: false,
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
    assert_eq!(arrived, [ids[1], ids[2]]);
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
