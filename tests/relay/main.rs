//! A real `postern-relay` on a folder of settings: mail goes through it by them, they change under it, and nothing that it
//! has acknowledged is lost when a next hop, or the relay itself, is down.

mod ending;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_relay::control::{self, Act, Answer, Client as Control, Filter, Message, Standing};
use postern_tests::clock::wait_for;
use postern_tests::relay::{Relay, get};
use postern_tests::settings::relaying;
use postern_tests::sink::Sink;
use postern_tests::smtp::Client;
use postern_tests::{loopback, program};
use postern_wire::snapshot::{Host, Network, NextHop, Outbound, OutboundRecipients, RecipientMode, Verifier, Way};
use postern_wire::{SETTINGS_FILE, Section, SettingsFile, Snapshot, Status};

const SOON: Duration = Duration::from_secs(20);
/// An application server in the sources of the RelayHost `app`.
const APP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1));

/// Mail to these recipients at contoso.test goes to `mailbox`; the host `app` may send as contoso.test to anyone, and that
/// goes the same way.
fn contoso(mailbox: SocketAddr, recipients: &[&str]) -> Snapshot {
    let mut snapshot = relaying("contoso.test", mailbox);
    let mut domain = snapshot.domains[0].spec.clone();
    if let Way::Open(inbound) = &mut domain.inbound {
        let list = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        inbound.recipients.mode = RecipientMode::Verify(vec![Verifier::List(list)]);
    }
    domain.outbound = Some(Way::Open(Outbound {
        hosts: vec!["app".to_owned()],
        recipients: OutboundRecipients::Any,
        via: vec![NextHop { preference: 10, host: "mailbox".to_owned() }],
        policy: "default".to_owned(),
    }));
    let app = Host {
        endpoints: Vec::new(),
        sources: vec![Network { range: format!("{APP}/32"), except: Vec::new() }],
        ..snapshot.hosts[0].spec.clone()
    };
    snapshot.domains = vec![Section::new("contoso", "uid-of-contoso", 1, domain)];
    snapshot.hosts.insert(0, Section::new("app", "uid-of-app", 1, app));
    snapshot
}

/// Settings that a relay takes up quickly, and next hops that it tries again soon.
fn relay(snapshot: &Snapshot) -> Result<Relay> {
    let mut relay = Relay::prepare()?;
    for (option, value) in [("--retry-first", "1s"), ("--host-retry-first", "1s"), ("--drain-accept-time", "0")] {
        relay.option(option, value);
    }
    relay.volume.publish(snapshot, &[])?;
    relay.start_again()?;
    Ok(relay)
}

fn status(relay: &Relay) -> Result<Status> {
    let (code, body) = relay.get("/status")?;
    ensure!(code == 200, "{code}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn queue(relay: &Relay) -> Result<Vec<Message>> {
    let mut client = Control::connect(&relay.control())?;
    let answers = client.ask(control::Command::List(control::List::default()))?;
    let message = |answer| match answer {
        Ok(Answer::Message(message)) => Ok(*message),
        other => anyhow::bail!("not a message: {other:?}"),
    };
    answers.map(message).collect()
}

fn standing(relay: &Relay) -> Result<Standing> {
    let mut client = Control::connect(&relay.control())?;
    match client.ask(control::Command::Status {})?.next() {
        Some(Ok(Answer::Status(standing))) => Ok(*standing),
        other => anyhow::bail!("no status: {other:?}"),
    }
}

#[test]
fn mail_goes_where_the_settings_say_and_nowhere_else() -> Result<()> {
    let sink = Sink::start()?;
    let relay = relay(&contoso(sink.address(), &["bob@contoso.test"]))?;
    let mut client = relay.client()?;
    let reply = client.mail("a@elsewhere.test", &["Bob@Contoso.test"], b"Subject: hello\r\n\r\n..dots\r\n")?;
    ensure!(reply.code == 250, "{reply}");
    let id = reply.queue_id()?;
    let mails = sink.wait_for_mails(1, SOON)?;
    let content = String::from_utf8(mails[0].content.clone())?;
    assert!(mails[0].sender.starts_with("<a@elsewhere.test>"), "{}", mails[0].sender);
    assert_eq!(mails[0].recipients, ["<Bob@contoso.test>"]);
    assert!(content.starts_with("Received: from client.test") && content.contains(&id), "{content}");
    assert!(content.ends_with("Subject: hello\r\n\r\n.dots\r\n"), "{content}");

    client.say("MAIL FROM:<a@elsewhere.test>", 250)?;
    let unknown = client.say("RCPT TO:<eve@contoso.test>", 550)?;
    assert_eq!(unknown.text(), "5.1.1 <eve@contoso.test>: no such recipient");
    let foreign = client.say("RCPT TO:<victim@evil.test>", 550)?;
    assert_eq!(foreign.text(), "5.7.1 <victim@evil.test>: relaying denied");
    client.say("RCPT TO:<postmaster>", 250)?;

    client.say("QUIT", 221)?;
    drop(client);
    let counted = |line: &str| relay.get("/metrics").is_ok_and(|(_, text)| text.lines().any(|found| found == line));
    wait_for("the metrics", SOON, || counted("postern_relay_smtp_open_connections 0").then_some(()))?;
    assert!(counted("postern_relay_smtp_decisions_total{rule=\"unknown-recipient\"} 1"));
    Ok(())
}

#[test]
fn a_source_sends_as_its_domain_and_as_no_other() -> Result<()> {
    let sink = Sink::start()?;
    let relay = relay(&contoso(sink.address(), &[]))?;
    let mut client = Client::connect_from(APP, relay.smtp)?;
    client.expect(220)?;
    client.say("EHLO app.contoso.test", 250)?;
    let reply = client.mail("robot@contoso.test", &["someone@far.test"], b"From: robot@contoso.test\r\n\r\nhi\r\n")?;
    ensure!(reply.code == 250, "{reply}");
    assert_eq!(sink.wait_for_mails(1, SOON)?[0].recipients, ["<someone@far.test>"]);
    let refused = client.say("MAIL FROM:<x@far.test>", 550)?;
    assert!(refused.text().contains("no RelayDomain has this domain with app in spec.outbound.hosts"), "{refused}");

    let mut outsider = relay.client()?;
    outsider.say("MAIL FROM:<robot@contoso.test>", 250)?;
    outsider.say("RCPT TO:<someone@far.test>", 550)?;
    Ok(())
}

#[test]
fn a_source_that_is_a_node_is_none_for_as_long_as_it_is_one() -> Result<()> {
    let sink = Sink::start()?;
    let mut snapshot = contoso(sink.address(), &["bob@contoso.test"]);
    let relay = relay(&snapshot)?;
    let mut client = Client::connect_from(APP, relay.smtp)?;
    client.expect(220)?;
    client.say("EHLO app.contoso.test", 250)?;
    let mut answers = |code: u16| {
        wait_for(&format!("the answer {code}"), SOON, || {
            let reply = client
                .ask("RSET")
                .and_then(|_| client.ask("MAIL FROM:<robot@contoso.test>"))
                .and_then(|_| client.ask("RCPT TO:<someone@far.test>"));
            reply.ok().filter(|reply| reply.code == code)
        })
    };
    answers(250)?;
    snapshot.nodes = vec![format!("{APP}/32"), "192.0.2.0/31".to_owned()];
    relay.volume.publish(&snapshot, &[])?;
    let refused = answers(550)?;
    let told = format!(
        "5.7.1 <someone@far.test>: relaying denied: {APP} is the address of a node, behind which anybody may be"
    );
    assert_eq!(refused.text(), told);
    ensure!(relay.log().contains("RelayHost/app spec.sources"), "{}", relay.log());
    snapshot.nodes.remove(0);
    relay.volume.publish(&snapshot, &[])?;
    answers(250)?;
    Ok(())
}

#[test]
fn an_edit_is_obeyed_within_a_second_by_sessions_that_stay_open() -> Result<()> {
    let sink = Sink::start()?;
    let relay = relay(&contoso(sink.address(), &["bob@contoso.test"]))?;
    let mut client = relay.client()?;
    let mut other = relay.client()?;
    other.say("MAIL FROM:<a@elsewhere.test>", 250)?;
    let edited = contoso(sink.address(), &["carol@contoso.test"]);
    relay.volume.publish(&edited, &[])?;
    wait_for("carol to be known", Duration::from_secs(1), || {
        let known = client.ask("MAIL FROM:<a@elsewhere.test>").and_then(|_| client.ask("RCPT TO:<carol@contoso.test>"));
        client.ask("RSET").ok()?;
        known.is_ok_and(|reply| reply.code == 250).then_some(())
    })?;
    // The transaction that was open keeps the settings that it began with; the next one of its session does not.
    other.say("RCPT TO:<bob@contoso.test>", 250)?;
    other.say("RSET", 250)?;
    other.say("MAIL FROM:<a@elsewhere.test>", 250)?;
    other.say("RCPT TO:<bob@contoso.test>", 550)?;

    relay.volume.publish_text("{\"schema\":1", &[])?;
    let rejected = wait_for("the report", SOON, || status(&relay).ok()?.rejected)?;
    assert!(rejected.contains("settings.json cannot be read"), "{rejected}");
    assert_eq!(relay.get("/readyz")?.0, 200);
    client.say("MAIL FROM:<a@elsewhere.test>", 250)?;
    client.say("RCPT TO:<carol@contoso.test>", 250)?;

    relay.volume.publish(&edited, &[])?;
    wait_for("the end of the report", SOON, || status(&relay).ok().filter(|status| status.rejected.is_none()))?;
    let status = status(&relay)?;
    let objects: Vec<_> = status.objects.iter().map(|object| (object.kind.as_str(), object.name.as_str())).collect();
    let expected =
        [("RelayDomain", "contoso"), ("RelayHost", "app"), ("RelayHost", "mailbox"), ("FilterPolicy", "default")];
    assert_eq!(objects, expected);
    assert_eq!(status.objects[0].digest, edited.domains[0].digest);
    Ok(())
}

#[test]
fn mail_waits_for_a_next_hop_that_is_down_and_is_seen_in_the_queue() -> Result<()> {
    let sink = Sink::start()?;
    let address = sink.address();
    drop(sink);
    let mut relay = relay(&contoso(address, &["bob@contoso.test"]))?;
    let reply = relay.client()?.mail("a@elsewhere.test", &["bob@contoso.test"], b"Subject: late\r\n\r\n")?;
    let id = reply.queue_id()?;
    let message = queue(&relay)?.pop().context("the queue is empty")?;
    assert_eq!((message.id.to_string(), message.sender.to_string()), (id, "<a@elsewhere.test>".to_owned()));
    assert_eq!(message.pending[0].recipient.to_string(), "bob@contoso.test");
    let down = wait_for("what cannot be reached", SOON, || standing(&relay).ok()?.unreachable.pop())?;
    assert!(down.name == "mailbox" && down.problem.reply.contains("connection refused"), "{down:?}");

    // What is acknowledged outlives the process.
    relay.kill()?;
    relay.start_again()?;
    assert_eq!(queue(&relay)?.len(), 1);
    let sink = Sink::listen(address)?;
    let mut control = Control::connect(&relay.control())?;
    let answers = control
        .ask(control::Command::Act { act: Act::Retry, filter: Filter::default() })?
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(answers, [Answer::Changed { messages: 1, busy: 0 }]);
    sink.wait_for_mails(1, SOON)?;
    wait_for("the queue to be empty", SOON, || queue(&relay).ok().filter(Vec::is_empty))?;
    assert_eq!((sink.mails().len(), standing(&relay)?.unreachable), (1, Vec::new()));
    relay.stop()?;
    assert!(!relay.control().exists());
    Ok(())
}

#[test]
fn takes_no_mail_before_its_first_settings() -> Result<()> {
    let mut relay = Relay::prepare()?;
    let (smtp, http, volume) = (relay.smtp, relay.http, relay.volume.path().to_owned());
    let settings = SettingsFile::new(contoso(loopback::address(), &["bob@contoso.test"])).to_json();
    let before = thread::spawn(move || -> Result<(u16, String)> {
        let reason = "settings.json is missing";
        let answer =
            wait_for("the reason", SOON, || get(http, "/readyz").ok().filter(|(_, text)| text.contains(reason)))?;
        ensure!(TcpStream::connect(smtp).is_err(), "SMTP listens already");
        fs::create_dir(volume.join("..first"))?;
        fs::write(volume.join("..first").join(SETTINGS_FILE), settings)?;
        symlink("..first", volume.join("..data"))?;
        Ok(answer)
    });
    relay.start_again()?;
    let (code, text) = before.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    assert_eq!(code, 503, "{text}");
    assert_eq!(relay.get("/readyz")?, (200, "ready\n".to_owned()));
    relay.client()?.say("MAIL FROM:<>", 250)?;
    Ok(())
}

#[test]
fn flags_that_cannot_be_used_end_it_before_anything_is_bound() -> Result<()> {
    let binary = program::own("postern-relay")?;
    for (line, said) in [
        (&["--settings", "s"][..], "--spool <DIR>"),
        (&["--settings", "s", "--spool", "p", "--smtp", "25"], "'--smtp <ADDR:PORT>'"),
        (&["--settings", "s", "--spool", "p", "--errors", "0"], "--errors 0: must be between 1 and 1000 replies"),
        (&["--settings", "s", "--spool", "p", "--hostname", "a b"], "--hostname a b: not a domain name"),
    ] {
        let output = Command::new(&binary).args(line).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains(said), "{error}");
    }
    let folder = tempfile::tempdir()?;
    let environment = Command::new(&binary)
        .args(["--settings", "s", "--spool", "p"])
        .env("POSTERN_BODY_RATE", "fast")
        .current_dir(folder.path())
        .output()?;
    assert_eq!(environment.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&environment.stderr).contains("--body-rate fast: not a number"));
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[test]
fn every_limit_is_printed_without_any_flag() -> Result<()> {
    let output = Command::new(program::own("postern-relay")?).arg("--help-limits").output()?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let page = String::from_utf8(output.stdout)?;
    for limit in
        ["--command-time ", "--spool-size ", "RelayHost.spec.limits.connections ", "FilterPolicy.spec.limits.hops "]
    {
        ensure!(page.lines().any(|line| line.starts_with(limit)), "{limit} is missing in:\n{page}");
    }
    Ok(())
}
