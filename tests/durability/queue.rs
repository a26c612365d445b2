//! What a person decides about the queue, by the real program `postern`, holds through `kill -9`; and messages go out of one
//! spool and into it again without being lost or doubled.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use postern_tests::clock::wait_until;
use postern_tests::program::own;
use postern_tests::relay::Relay;
use postern_tests::sink::Sink;

use crate::load::{arrived, lost, message_of, send};
use crate::{DELIVERED_WITHIN, DOMAIN, relay_to};

const MESSAGES: u64 = 12;

/// One in three is a file of its own in the spool.
fn content(number: u64) -> Vec<u8> {
    message_of(number, if number.is_multiple_of(3) { 300 << 10 } else { 4 << 10 })
}

fn queue(relay: &Relay, arguments: &[&str]) -> Output {
    let mut command = Command::new(own("postern").unwrap());
    command.arg("queue").args(arguments).arg("--control").arg(relay.control());
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// What it prints, when it ends with this code.
fn says(relay: &Relay, code: i32, arguments: &[&str]) -> String {
    let output = queue(relay, arguments);
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "queue {arguments:?}: {said}{complained}");
    format!("{said}{complained}")
}

fn listed(relay: &Relay, arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = queue(relay, &[&["list", "-o", "json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_held_stays_held_and_what_is_exported_comes_back_once() {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    let mut relay = relay_to(&sink);
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    let acknowledged = (0..MESSAGES).map(|number| (number, send(&mut client, number, &content(number)).unwrap()));
    let acknowledged: std::collections::BTreeMap<_, _> = acknowledged.collect();

    // Messages behind a host that does not answer say so, whether they were tried themselves or not.
    wait_until("each message shows why it waits", DELIVERED_WITHIN, || {
        let all = listed(&relay, &["--domain", DOMAIN]);
        let shows = |message: &serde_json::Value| message.to_string().contains("421 4.3.2 later");
        all.len() == MESSAGES as usize && all.iter().all(shows)
    })
    .unwrap();
    assert!(says(&relay, 0, &["summary"]).contains(DOMAIN));
    assert!(says(&relay, 2, &["list", "--state", "asleep"]).contains("waiting"));
    assert!(says(&relay, 1, &["hold"]).contains("say which messages: ids, --domain and the like, or --all"));
    assert!(says(&relay, 3, &["hold", "0000000000000001"]).contains("0 messages"));
    assert_eq!(says(&relay, 0, &["hold", "--all"]), "12 messages are held now.\n");
    relay.kill().unwrap();
    sink.answer_normally();
    relay.start_again().unwrap();
    assert_eq!(listed(&relay, &["--state", "held"]).len(), MESSAGES as usize, "after a kill they are held");

    let folder = tempfile::tempdir().unwrap();
    let (file, directory) = (folder.path().join("all"), folder.path().join("each/"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(says(&relay, 0, &["export", "--all", "--out", &text(&file)]), "12 messages exported.\n");
    assert_eq!(says(&relay, 0, &["export", "--all", "--out", &text(&directory)]), "12 messages exported.\n");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2 * MESSAGES as usize);
    let id = &acknowledged[&3];
    let eml = fs::read(directory.join(format!("{id}.eml"))).unwrap();
    assert!(eml.ends_with(&content(3)), "the content as it will be sent");

    assert!(says(&relay, 1, &["delete", "--all"]).contains("12 messages would be deleted: say --yes"));
    assert_eq!(says(&relay, 0, &["delete", "--all", "--yes"]), "12 messages deleted.\n");
    relay.kill().unwrap();
    relay.start_again().unwrap();
    assert_eq!(says(&relay, 0, &["list"]), "The queue is empty.\n", "what is deleted stays deleted");
    assert!(says(&relay, 0, &["import", &text(&file)]).starts_with("12 messages imported, and held; 0 in"));
    assert!(says(&relay, 3, &["import", &text(&directory)]).starts_with("0 messages imported, and held; 12 in"));
    relay.kill().unwrap();
    relay.start_again().unwrap();
    assert_eq!(listed(&relay, &["--state", "held"]).len(), MESSAGES as usize);
    assert!(sink.mails().is_empty(), "nothing that is held was sent");
    assert_eq!(says(&relay, 0, &["release", "--recipient", &format!("@{DOMAIN}")]), "12 messages released.\n");
    sink.wait_for_mails(MESSAGES as usize, DELIVERED_WITHIN).unwrap();
    wait_until("the queue is empty", DELIVERED_WITHIN, || listed(&relay, &[]).is_empty()).unwrap();
    let arrived = arrived(&sink.mails(), content).unwrap();
    assert_eq!(lost(&acknowledged, &arrived), [] as [u64; 0], "all, under their ids");
    assert_eq!(sink.mails().len(), MESSAGES as usize, "each once");
}
