//! Without descriptors no segment can be made: then mail is refused for now, not for want of room, and taken again at once
//! when there are some.

use std::fs;

use postern_tests::clock::wait_until;
use postern_tests::sink::Sink;
use postern_tests::smtp::Client;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::load::message_of;
use crate::{DELIVERED_WITHIN, DOMAIN, relay_to};

/// As long as a message in the log may be.
const LENGTH: usize = 200 << 10;
/// More than all segments can take.
const MESSAGES_MAX: u64 = 1000;

/// The reply that ends a transaction.
fn attempt(client: &mut Client, number: u64) -> u16 {
    let sender = client.ask("MAIL FROM:<sender@elsewhere.test>").unwrap();
    if sender.code != 250 {
        return sender.code;
    }
    client.say(&format!("RCPT TO:<r{number}@{DOMAIN}>"), 250).unwrap();
    client.say("DATA", 354).unwrap();
    client.send(&message_of(number, LENGTH)).unwrap();
    client.send(b".\r\n").unwrap();
    client.reply().unwrap().code
}

#[test]
fn without_descriptors_mail_is_refused_for_now_and_taken_as_soon_as_there_are_some() {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    relay.option("--spool-size", "512Mi");
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    assert_eq!(attempt(&mut client, 0), 250);
    let pid = relay.pid().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let maximum = files.split_whitespace().nth(1).unwrap().parse().ok();
    let process = Pid::from_raw(i32::try_from(pid).unwrap());
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(open), maximum }).unwrap();
    let refused = (1..MESSAGES_MAX).map(|number| attempt(&mut client, number)).find(|code| *code != 250);
    assert_eq!(refused, Some(451), "not 452: there is room\n{}", relay.log());
    prlimit(process, Resource::Nofile, before).unwrap();
    wait_until("mail is taken again", DELIVERED_WITHIN, || attempt(&mut client, MESSAGES_MAX) == 250).unwrap();
    assert!(relay.log().contains("the spool can have further segments again"), "{}", relay.log());
}
