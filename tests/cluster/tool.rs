//! `kubectl postern` on a whole cluster: through exec into the relays, and from their logs.

use std::env;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Result, ensure};
use postern_tests::program::own;
use postern_tests::smtp::Client;

use crate::cluster::{Cluster, eventually};
use crate::dmz::Dmz;
use crate::network::inside;

/// What it prints, called by kubectl, and its exit code.
pub(crate) fn postern(dmz: &Dmz, args: &[&str]) -> Result<(i32, String)> {
    let folder = tempfile::tempdir()?;
    symlink(own("postern")?, folder.path().join("kubectl-postern"))?;
    // kubectl takes no flags before the name of a plugin.
    let mut command = Command::new(Cluster::shared().program("kubectl"));
    command.env("PATH", format!("{}:{}", folder.path().display(), env::var("PATH")?));
    command.env("KUBECONFIG", Cluster::shared().kubeconfig());
    let output = command.arg("postern").args(args).args(["-n", &dmz.namespace]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text))
}

fn send(dmz: &Dmz, subject: &str) {
    let relay = dmz.outside("a").unwrap();
    let message = format!("Subject: {subject}\r\n\r\nIt works.\r\n");
    let send = || Client::greeted(relay)?.mail("o@elsewhere.example", &["alice@example.com"], message.as_bytes());
    inside("net", send).unwrap().queue_id().unwrap();
}

#[test]
fn a_person_sees_relays_queue_and_a_messages_way_from_outside() {
    let dmz = Dmz::new("tool", 2, &[]);
    let sink = dmz.with_mailboxes("b");
    send(&dmz, "arrives");
    sink.takes("arrives").unwrap();
    let says = |args: &[&str], code: i32, all: &[&str]| {
        eventually(&args.join(" "), || {
            let (ended, text) = postern(&dmz, args)?;
            ensure!(ended == code && all.iter().all(|part| text.contains(part)), "exit code {ended}\n{text}");
            Ok(())
        })
        .unwrap();
    };
    says(&["status"], 0, &["nothing is wrong", "in force on 2 of 2 relays", "postern-relay-0", "postern-relay-1"]);
    says(&["trace", "alice@example.com"], 0, &["accepted ", "delivered ", "250 2.0.0"]);
    says(
        &["explain", "--client", "192.0.2.7", "--from", "a@b.example", "--to", "nobody@example.com"],
        3,
        &["those that its relays obey", "550 5.1.1 <nobody@example.com>: no such recipient"],
    );
    says(&["queue", "list"], 0, &[]);

    // While its host is suspended it waits where everyone can see it, until a person takes it away.
    dmz.kubectl(&["patch", "relayhost", "mailbox-server", "--type=merge", r#"--patch={"spec":{"suspend":true}}"#])
        .unwrap();
    eventually("the relays know it", || {
        let host = dmz.get(&["relayhost", "mailbox-server"])?;
        let all = host["status"]["conditions"].as_array().into_iter().flatten();
        let mut programmed = all.filter(|condition| condition["type"] == "Programmed" && condition["status"] == "True");
        let is_told = programmed.any(|condition| condition["observedGeneration"] == host["metadata"]["generation"]);
        ensure!(is_told, "{}", host["status"]);
        Ok(())
    })
    .unwrap();
    send(&dmz, "waits");
    says(&["queue", "list"], 0, &["postern-relay-", "alice@example.com"]);
    says(&["queue", "delete", "--all", "--yes"], 0, &[]);
    eventually("the queue is empty", || {
        let (_, text) = postern(&dmz, &["queue", "list"])?;
        ensure!(!text.contains("alice@example.com"), "{text}");
        Ok(())
    })
    .unwrap();
}
