//! `postern up`, as somebody who has just cloned the repository uses it: the quickstart, its edits and its mistakes.

mod explain;
mod many;
mod tool;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use postern_tests::clock::{wait_for, wait_until};
use postern_tests::loopback;
use postern_tests::program::{Program, own};
use postern_tests::smtp::Client;
use tempfile::TempDir;

/// What may be waited for on a busy machine. What is promised within a second is still looked at every 10 ms.
const PATIENCE: Duration = Duration::from_secs(30);

/// The quickstart in a folder of its own, and `postern up` on it.
struct Up {
    folder: TempDir,
    program: Option<Program>,
    smtp: SocketAddr,
    sink: SocketAddr,
}

impl Up {
    /// A copy of the quickstart whose mailbox server is on an address of this test.
    fn prepare() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let sink = loopback::address();
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples/quickstart");
        fs::create_dir(folder.path().join("dmz"))?;
        for entry in fs::read_dir(quickstart)? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            let here = format!("address: {}, port: {}", sink.ip(), sink.port());
            fs::write(
                folder.path().join("dmz").join(entry.file_name()),
                text.replace("address: 127.0.0.1, port: 2526", &here),
            )?;
        }
        Ok(Self { folder, program: None, smtp: loopback::address(), sink })
    }

    fn start(&mut self, options: &[&str]) -> Result<()> {
        let http = loopback::address().to_string();
        let mut command = Command::new(own("postern")?);
        command.current_dir(self.folder.path()).args(["up", "-f", "dmz", "--http", &http]).args(options);
        command.args(["--smtp", &self.smtp.to_string(), "--hostname", "relay.example"]);
        command.args([
            "--retry-first",
            "1s",
            "--retry-max",
            "1s",
            "--host-retry-first",
            "1s",
            "--host-retry-max",
            "1s",
        ]);
        let mut program = Program::start(&mut command, &self.folder.path().join("log"))?;
        let smtp = self.smtp;
        program.until("the relay takes mail", PATIENCE, || Client::greeted(smtp).is_ok())?;
        self.program = Some(program);
        Ok(())
    }

    fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_until(text, PATIENCE, || self.log().contains(text)).with_context(|| self.log())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.path("dmz").join(file);
        let text = fs::read_to_string(&path)?;
        assert!(text.contains(from), "{file} has no {from:?}");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    fn client(&self) -> Result<Client> {
        let mut client = Client::greeted(self.smtp)?;
        client.say("EHLO client.example", 250)?;
        Ok(client)
    }

    /// The code that RCPT gets from a new session.
    fn rcpt(&self, recipient: &str) -> Result<u16> {
        let mut client = self.client()?;
        client.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
        Ok(client.ask(&format!("RCPT TO:<{recipient}>"))?.code)
    }

    fn delivered(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.path(".postern/delivered")) else { return Vec::new() };
        files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
    }

    fn wait_for_delivery(&self, text: &str) -> Result<String> {
        wait_for(text, PATIENCE, || self.delivered().into_iter().find(|mail| mail.contains(text)))
            .with_context(|| self.log())
    }

    /// A relay without `postern up`, on what lies in the folder `settings`.
    fn alone(&self) -> Result<Program> {
        let (smtp, http) = (self.smtp.to_string(), loopback::address().to_string());
        let mut command = Command::new(own("postern-relay")?);
        command.current_dir(self.folder.path()).args(["--settings", "settings", "--spool", "spool"]);
        command.args(["--hostname", "relay.example", "--smtp", &smtp, "--http", &http, "--control", "control.sock"]);
        let mut relay = Program::start(&mut command, &self.path("relay.log"))?;
        relay.until("the relay takes mail", PATIENCE, || Client::greeted(self.smtp).is_ok())?;
        Ok(relay)
    }

    fn postern(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(own("postern")?).current_dir(self.folder.path()).args(arguments).output()?)
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn the_quickstart_relays_refuses_and_obeys_an_edit() -> Result<()> {
    let mut up = Up::prepare()?;
    up.start(&["--sink"])?;
    let log = up.log();
    for said in ["example.com, *.example.com", &up.smtp.to_string(), "curl -sS --url smtp://", "postern queue list"] {
        assert!(log.contains(said), "{said:?} is missing in:\n{log}");
    }

    let mut open = up.client()?;
    let id = open
        .mail("someone@elsewhere.example", &["alice@example.com"], b"Subject: hello\r\n\r\n..one\r\n")?
        .queue_id()?;
    let mail = up.wait_for_delivery("Subject: hello")?;
    assert!(
        mail.starts_with("Return-Path: <someone@elsewhere.example>\r\nDelivered-To: alice@example.com\r\nReceived: ")
    );
    assert!(mail.contains(&id) && mail.ends_with("\r\n\r\n.one\r\n"), "{mail}");
    up.wait_for_log("delivered  <someone@elsewhere.example> to <alice@example.com>: \"hello\"")?;

    assert_eq!(up.rcpt("nobody@example.com")?, 550);
    assert_eq!(up.rcpt("alice@other.example")?, 550);
    assert_eq!(up.rcpt("carol+news@example.com")?, 250);

    // A transaction keeps the settings that it began with; the next one, and everybody else, gets the new ones.
    open.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
    up.edit("recipients.yaml", "carol@example.com", "dave@example.com")?;
    wait_until("dave is known", PATIENCE, || up.rcpt("dave@example.com").is_ok_and(|code| code == 250))?;
    assert_eq!(up.rcpt("carol@example.com")?, 550);
    open.say("RCPT TO:<carol@example.com>", 250)?;
    open.say("RSET", 250)?;
    open.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
    open.say("RCPT TO:<carol@example.com>", 550)?;
    up.wait_for_log("enforced")
}

#[test]
fn a_broken_edit_is_named_by_file_line_object_and_field_and_changes_nothing() -> Result<()> {
    let mut up = Up::prepare()?;
    up.start(&["--sink"])?;
    for (file, from, to, said) in [
        ("domain.yaml", "    mode: Verify", "    mode: Verify: oops", "dmz/domain.yaml:"),
        (
            "domain.yaml",
            "subaddressDelimiter:",
            "subadressDelimiter:",
            "RelayDomain/example: spec.recipients.subadressDelimiter: ",
        ),
        (
            "domain.yaml",
            "- name: mailbox-server",
            "- name: mailbox-sever",
            "RelayDomain/example: spec.deliverTo: the RelayHost mailbox-sever does not exist (there are application, mailbox-server, smarthost)",
        ),
        ("policy.yaml", "hops: 50", "hops: 5000", "FilterPolicy/default: spec.limits.hops: "),
        ("smarthost.yaml", "port: ", "port: 10", "RelayHost/smarthost: spec.endpoints[0].host.port: "),
    ] {
        let before = up.log().len();
        up.edit(file, from, to)?;
        let what = format!("{said:?} about {to:?}");
        wait_until(&what, PATIENCE, || up.log()[before..].contains("the settings in force stay"))
            .with_context(|| up.log())?;
        let log = up.log();
        let finding =
            log[before..].lines().find(|line| line.contains(said)).with_context(|| log[before..].to_owned())?;
        assert!(finding.starts_with(&format!("dmz/{file}:")), "{finding}");
        assert_eq!((up.rcpt("alice@example.com")?, up.rcpt("nobody@example.com")?), (250, 550), "{what}");
        up.edit(file, to, from)?;
    }
    up.edit("recipients.yaml", "carol@example.com", "erin@example.com")?;
    wait_until("the next good edit is enforced", PATIENCE, || up.rcpt("erin@example.com").is_ok_and(|code| code == 250))
}

#[test]
fn mail_waits_for_the_mailbox_server_and_is_seen_in_the_queue() -> Result<()> {
    let mut up = Up::prepare()?;
    up.start(&[])?; // no sink: nobody listens there
    let mut client = up.client()?;
    let mail = client.mail("someone@elsewhere.example", &["bob@example.com"], b"Subject: wait\r\n\r\nfor it\r\n")?;
    let id = mail.queue_id()?;
    wait_until("an attempt has failed", PATIENCE, || {
        up.postern(&["queue", "show", &id]).is_ok_and(|shown| text(&shown.stdout).to_lowercase().contains("refused"))
    })
    .with_context(|| up.log())?;
    for (act, said) in [
        ("hold", "1 message is held now.\n"),
        ("hold", "1 message is held already.\n"),
        ("retry", "1 message is held: release it first.\n"),
        ("release", "1 message released.\n"),
    ] {
        assert_eq!(text(&up.postern(&["queue", act, &id])?.stdout), said, "{act}");
    }
    let listed = up.postern(&["queue", "list"])?;
    assert!(listed.status.success() && text(&listed.stdout).contains(&id), "{}", text(&listed.stdout));
    let json: serde_json::Value = serde_json::from_slice(&up.postern(&["queue", "list", "-o", "json"])?.stdout)?;
    assert!(json.to_string().contains(&id), "{json}");

    // Ended and started again, with a sink this time.
    drop(up.program.take());
    up.start(&["--sink"])?;
    up.wait_for_delivery("Subject: wait")?;
    wait_until("the queue is empty", PATIENCE, || {
        up.postern(&["queue", "list", "-o", "json"]).is_ok_and(|listed| !text(&listed.stdout).contains(&id))
    })
}

#[test]
fn a_refused_recipient_becomes_a_notification_that_a_person_can_read() -> Result<()> {
    let mut up = Up::prepare()?;
    up.start(&["--sink", "--sink-refuse", "bob@example.com"])?;
    let recipients = ["alice@example.com", "bob@example.com"];
    up.client()?
        .mail("me@elsewhere.example", &recipients, b"Subject: both\r\n\r\nthe body stays here\r\n")?
        .queue_id()?;
    let mail = up.wait_for_delivery("Delivered-To: alice@example.com")?;
    assert!(!mail.contains("Delivered-To: bob@example.com"));
    let notification = up.wait_for_delivery("Delivered-To: me@elsewhere.example")?;
    for part in [
        "Return-Path: <>\r\n",
        "report-type=delivery-status",
        "bob@example.com",
        "mailbox unavailable",
        "Action: failed\r\n",
        "Subject: both\r\n",
    ] {
        assert!(notification.contains(part), "{part:?} is missing in:\n{notification}");
    }
    assert!(!notification.contains("the body stays here"), "a notification carries headers only:\n{notification}");
    assert!(notification.contains(&up.sink.port().to_string()), "it names the server that refused:\n{notification}");
    Ok(())
}

#[test]
fn nothing_is_started_on_files_that_are_wrong() -> Result<()> {
    let up = Up::prepare()?;
    up.edit("domain.yaml", "mode: Verify", "mode: Guess")?;
    for command in [
        &["up", "-f", "dmz"][..],
        &["check", "-f", "dmz"],
        &["render", "-f", "dmz"],
        &["render", "-f", "dmz", "--to", "out"],
    ] {
        let output = up.postern(command)?;
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("dmz/domain.yaml:") && said.contains("spec.recipients.mode"), "{command:?}: {said}");
    }
    assert!(!up.path("out").exists());
    let missing = up.postern(&["check", "-f", "nowhere.yaml"])?;
    assert_eq!(missing.status.code(), Some(1));
    assert!((text(&missing.stdout) + &text(&missing.stderr)).contains("nowhere.yaml"));
    Ok(())
}

#[test]
fn a_relay_runs_from_what_render_lays_out() -> Result<()> {
    let up = Up::prepare()?;
    let rendered = up.postern(&["render", "-f", "dmz", "--to", "settings"])?;
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    let _relay = up.alone()?;
    assert_eq!((up.rcpt("alice@example.com")?, up.rcpt("nobody@example.com")?), (250, 550));

    let printed = up.postern(&["render", "-f", "dmz"])?;
    let printed = text(&printed.stdout);
    let policies =
        ["kind: NetworkPolicy", "name: postern-default-deny", "name: postern-ingress", "name: postern-egress"];
    for object in ["kind: ConfigMap", "kind: Secret"].iter().chain(&policies) {
        assert!(printed.contains(object), "{object} is missing in:\n{printed}");
    }
    let again = text(&up.postern(&["render", "-f", "dmz"])?.stdout);
    assert_eq!(printed, again, "rendering is deterministic");
    Ok(())
}
