//! A disk whose syncs fail, and one whose syncs are slow: on the real program, by strace, which puts an error or a wait in
//! place of the system call. (The device mapper's `error` and `delay` would need a kernel that has them. What a disk may do
//! to the data after a failed sync is what the simulated disk of the spool's own tests is for.)

use std::thread;

use postern_tests::clock::wait_until;
use postern_tests::relay::Relay;
use postern_tests::sink::Sink;
use postern_tests::smtp::Client;

use crate::load::{Acknowledged, arrived, lost, message_of, send};
use crate::trace::Trace;
use crate::{DELIVERED_WITHIN, DOMAIN, relay_to};

const LENGTH: usize = 4 << 10;

fn content(number: u64) -> Vec<u8> {
    message_of(number, LENGTH)
}

/// A relay whose mail waits, and what it has acknowledged.
fn waiting(messages: u64) -> (Relay, Sink, Acknowledged) {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    sink.answer("HELO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    let acknowledged = (0..messages).map(|number| (number, send(&mut client, number, &content(number)).unwrap()));
    let acknowledged = acknowledged.collect();
    (relay, sink, acknowledged)
}

/// After a kill everything that was acknowledged arrives, and nothing that is damaged.
fn all_arrives(mut relay: Relay, sink: &Sink, acknowledged: &Acknowledged) {
    sink.answer_normally();
    relay.start_again().unwrap();
    // One that nobody was told of may be among them.
    wait_until("all that was acknowledged arrives", DELIVERED_WITHIN, || {
        lost(acknowledged, &arrived(&sink.mails(), content).unwrap()).is_empty()
    })
    .unwrap();
}

#[test]
fn after_a_failed_sync_the_message_is_written_elsewhere_before_it_is_acknowledged() {
    let (mut relay, sink, mut acknowledged) = waiting(3);
    let folder = tempfile::tempdir().unwrap();
    let failing =
        Trace::attach_and(relay.pid().unwrap(), folder.path(), &["inject=fdatasync:error=EIO:when=1"]).unwrap();
    let mut client = relay.client().unwrap();
    for number in 3..6 {
        acknowledged.insert(number, send(&mut client, number, &content(number)).unwrap());
    }
    let calls = failing.end().unwrap();
    assert!(relay.is_alive(), "{}", relay.log());
    assert!(relay.log().contains("writing again elsewhere"), "{}", relay.log());
    let failed = calls.iter().find(|call| call.name == "fdatasync" && call.result != 0).unwrap();
    let segment = |args: &str| args.split("segment-").nth(1).map(|rest| rest.trim_end_matches('>').to_owned());
    let told = format!("queued as {}", acknowledged[&3]);
    let told = calls.iter().find(|call| call.args.contains(&told)).unwrap();
    let elsewhere =
        |call: &&crate::trace::Call| call.name == "fdatasync" && call.result == 0 && call.entry > failed.exit;
    let synced: Vec<_> = calls.iter().filter(elsewhere).filter(|call| call.exit <= told.entry).collect();
    assert!(synced.len() >= 2, "the fresh segment's stamp, then the message: {calls:#?}");
    assert!(synced.iter().all(|call| segment(&call.args) != segment(&failed.args)), "never in place: {calls:#?}");
    relay.kill().unwrap();
    all_arrives(relay, &sink, &acknowledged);
}

#[test]
fn when_no_sync_succeeds_the_process_ends_and_nothing_that_was_acknowledged_is_lost() {
    let (mut relay, sink, acknowledged) = waiting(5);
    let folder = tempfile::tempdir().unwrap();
    let failing =
        Trace::attach_and(relay.pid().unwrap(), folder.path(), &["inject=fdatasync:error=EIO:when=1+"]).unwrap();
    let mut client = relay.client().unwrap();
    let refused = send(&mut client, 5, &content(5)).unwrap_err().to_string();
    assert!(!refused.contains("250"), "{refused}");
    drop(failing);
    wait_until("the process ends", DELIVERED_WITHIN, || !relay.is_alive()).unwrap();
    assert!(relay.log().contains("the process ends, and the next one reads the spool"), "{}", relay.log());
    relay.kill().ok();
    all_arrives(relay, &sink, &acknowledged);
}

#[test]
fn a_slow_disk_holds_up_only_those_who_wait_for_it_and_one_sync_serves_them_all() {
    const CLIENTS: u64 = 20;
    let (relay, _sink, _) = waiting(1);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| relay.client().unwrap()).collect();
    let mut bystander = relay.client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // In microseconds: far longer than a busy machine needs for the bystander's commands.
    let slow = ["inject=fdatasync:delay_enter=6000000"];
    let trace = Trace::attach_and(relay.pid().unwrap(), folder.path(), &slow).unwrap();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say("MAIL FROM:<sender@elsewhere.test>", 250).unwrap();
        client.say(&format!("RCPT TO:<r{number}@{DOMAIN}>"), 250).unwrap();
        client.say("DATA", 354).unwrap();
        client.send(&content(number as u64)).unwrap();
        client.send(b".\r\n").unwrap();
    }
    let acknowledged = thread::scope(|scope| {
        let waiting: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| client.reply().unwrap())).collect();
        for _ in 0..20 {
            bystander.say("NOOP", 250).unwrap();
        }
        assert!(waiting.iter().all(|client| !client.is_finished()), "nobody was told before the sync");
        waiting.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(acknowledged.iter().all(|reply| reply.code == 250), "{acknowledged:?}");
    let calls = trace.end().unwrap();
    let syncs = calls.iter().filter(|call| call.name == "fdatasync").count();
    assert!((1..=4).contains(&syncs), "{syncs} syncs for {CLIENTS} messages");
}
