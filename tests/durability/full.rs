//! A full disk says no at MAIL, takes nothing that it cannot keep, and recovers when mail is delivered.
//!
//! The disk is a small file system in memory, in a mount namespace of its own: root is needed for that.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postern_tests::clock::wait_until;
use postern_tests::program::Program;
use postern_tests::relay::Relay;
use postern_tests::sink::Sink;
use postern_tests::smtp::{Client, Reply};

use crate::load::{Acknowledged, arrived, lost, message_of};
use crate::{DELIVERED_WITHIN, DOMAIN, relay_to};

/// Room for the segments that the spool needs, and little more.
const DISK: &str = "size=340m";
/// The body is a file of its own: it needs new room on the disk.
const LARGE: usize = 2 << 20;
/// The body is in the log, whose segments are on the disk already.
const SMALL: usize = 200 << 10;
/// More than the disk can hold of either.
const MESSAGES_MAX: u64 = 2000;

/// The message with this number: even ones are large.
fn content(number: u64) -> Vec<u8> {
    message_of(number, if number.is_multiple_of(2) { LARGE } else { SMALL })
}

/// A process that holds a mount namespace in which this folder is a small disk. It outlives the relay's restarts.
fn small_disk(folder: &Path, log: &Path) -> Program {
    fs::create_dir_all(folder).unwrap();
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" && echo mounted && exec sleep infinity";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", DISK]).arg(folder);
    let mut keeper = Program::start(&mut command, log).unwrap();
    let mounted = || fs::read_to_string(log).is_ok_and(|text| text.contains("mounted"));
    keeper.until("the small disk is mounted", Duration::from_secs(10), mounted).unwrap();
    keeper
}

/// The reply that ends the transaction, and the command that it was given to.
fn attempt(client: &mut Client, number: u64) -> (&'static str, Reply) {
    let content = content(number);
    let sender = client.ask(&format!("MAIL FROM:<sender@elsewhere.test> SIZE={}", content.len())).unwrap();
    if sender.code != 250 {
        return ("MAIL", sender);
    }
    client.say(&format!("RCPT TO:<r{number}@{DOMAIN}>"), 250).unwrap();
    client.say("DATA", 354).unwrap();
    client.send(&content).unwrap();
    client.send(b".\r\n").unwrap();
    ("DATA", client.reply().unwrap())
}

/// Sends these until MAIL is refused; remembers what was acknowledged before.
fn fill(relay: &Relay, numbers: impl Iterator<Item = u64>, acknowledged: &mut Acknowledged) {
    let mut client = relay.client().unwrap();
    for number in numbers.take_while(|number| *number < MESSAGES_MAX) {
        match attempt(&mut client, number) {
            ("MAIL", reply) => {
                assert_eq!(reply.code, 452, "{reply}");
                return;
            }
            (_, reply) if reply.code == 250 => drop(acknowledged.insert(number, reply.queue_id().unwrap())),
            // It may turn out to be full while a message comes; then that one is not taken, and the next MAIL is refused.
            (command, reply) => assert_eq!(reply.code, 452, "{command} of {number}: {reply}"),
        }
    }
    panic!("MAIL was never refused on a disk with {DISK}");
}

#[test]
fn a_full_disk_refuses_at_mail_and_loses_nothing() {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    let log = relay.spool().with_extension("disk");
    let keeper = small_disk(&relay.spool(), &log);
    relay.inside(keeper.pid());
    relay.start_again().unwrap();

    // Large mail fills the disk, then small mail fills the log.
    let mut acknowledged = Acknowledged::new();
    fill(&relay, (0..).step_by(2), &mut acknowledged);
    let large = acknowledged.len();
    assert!(large > 5, "only {large} were taken");
    fill(&relay, (1..).step_by(2), &mut acknowledged);
    assert!(acknowledged.len() > large + 20, "only {} small ones were taken", acknowledged.len() - large);
    assert!(sink.mails().is_empty());
    // It is as full after a crash, and what is in it can still be delivered, which makes room.
    relay.kill().unwrap();
    relay.start_again().unwrap();
    for number in [MESSAGES_MAX, MESSAGES_MAX + 1] {
        let (command, reply) = attempt(&mut relay.client().unwrap(), number);
        assert_eq!((command, reply.code), ("MAIL", 452), "{reply}");
    }
    sink.answer_normally();
    sink.wait_for_mails(acknowledged.len(), DELIVERED_WITHIN).unwrap();
    let arrived = arrived(&sink.mails(), content).unwrap();
    assert_eq!(lost(&acknowledged, &arrived), [] as [u64; 0]);
    let next = AtomicU64::new(MESSAGES_MAX);
    wait_until("there is room again", DELIVERED_WITHIN, || {
        attempt(&mut relay.client().unwrap(), next.fetch_add(1, Ordering::Relaxed)).1.code == 250
    })
    .unwrap();
    assert!(relay.is_alive(), "{}", relay.log());
}
