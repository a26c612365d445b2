//! `postern explain` tells what a relay does: the same replies, word for word, as one that runs on the same files.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use postern_tests::smtp::Client;
use serde_json::Value;

use crate::{Up, text};

impl Up {
    /// Asks, and gives exit code and answer.
    fn explain(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let output = self.postern(&[&["explain", "-f", "dmz", "-o", "json"], arguments].concat())?;
        let answer = serde_json::from_slice(&output.stdout).with_context(|| text(&output.stderr))?;
        Ok((output.status.code().unwrap_or(-1), answer))
    }
}

/// What the relay says to this client about each recipient: the reply to RCPT, or the one that ends it all before.
fn asked(up: &Up, client: IpAddr, from: &str, to: &[&str]) -> Result<Vec<String>> {
    let mut session = Client::connect_from(client, up.smtp)?;
    let all = |reply: String| vec![reply; to.len()];
    let greeting = session.reply()?;
    if greeting.code != 220 {
        return Ok(all(greeting.to_string()));
    }
    session.say("EHLO client.example", 250)?;
    let mail = session.ask(&format!("MAIL FROM:<{from}>"))?;
    if mail.code != 250 {
        return Ok(all(mail.to_string()));
    }
    to.iter().map(|to| Ok(session.ask(&format!("RCPT TO:<{to}>"))?.to_string())).collect()
}

#[test]
fn an_explanation_says_word_for_word_what_a_relay_says() -> Result<()> {
    let mut up = Up::prepare()?;
    up.start(&["--sink"])?;
    let good =
        ["alice@example.com", "ALICE+news@example.com", "abuse@example.com", "postmaster", "support@help.example.com"];
    let bad = ["nobody@example.com", "a@other.example", "a@[192.0.2.1]", "bob@example.com"];
    for (client, from, to, code) in [
        ("127.0.0.1", "a@elsewhere.example", &good[..], 0),
        ("127.0.0.1", "", &good, 0),
        ("127.0.0.1", "a@elsewhere.example", &bad, 3),
        ("127.0.0.1", "bad@spam.example", &good, 3),
        ("127.0.0.1", "press@spam.example", &["alice@example.com"], 0),
        ("127.0.0.1", "billing@example.com", &["a@other.example"], 3),
        ("127.0.0.9", "billing@example.com", &["a@other.example", "alice@example.com"], 0),
        ("127.0.0.9", "billing@sub.example.com", &["a@other.example", "nobody@example.com"], 3),
        ("127.0.0.9", "billing@other.example", &["alice@example.com"], 3),
        ("127.0.0.15", "billing@example.com", &["a@other.example"], 3),
        ("127.0.0.66", "a@elsewhere.example", &good, 3),
    ] {
        let recipients = to.iter().flat_map(|to| ["--to", to]);
        let question: Vec<&str> = ["--client", client, "--from", from].into_iter().chain(recipients).collect();
        let (exit, answer) = up.explain(&question)?;
        let told = answer["recipients"].as_array().context("no recipients")?.iter();
        let told: Vec<&str> = told.filter_map(|recipient| recipient["reply"].as_str()).collect();
        assert_eq!(told, asked(&up, client.parse()?, from, to)?, "{client} {from}");
        assert_eq!(exit, code, "{client} {from}: {answer:#}");
    }
    Ok(())
}

/// Client, sender and recipient; the stage that is looked at, what it says, and by which field.
const STEPS: &[([&str; 3], [&str; 3])] = &[
    (
        ["127.0.0.66", "a@b.example", "alice@example.com"],
        ["connect", "127.0.0.66/32", "FilterPolicy/default spec.connections.blockedClients"],
    ),
    (
        ["127.0.0.9", "app@example.com", "a@b.example"],
        ["client", "RelayHost application, by 127.0.0.8/29", "RelayHost/application spec.sources"],
    ),
    (
        ["127.0.0.15", "app@example.com", "a@b.example"],
        ["client", "without 127.0.0.15/32", "RelayHost/application spec.sources"],
    ),
    (
        ["127.0.0.9", "app@example.com", "a@b.example"],
        ["mail", "RelayDomain example (example.com)", "RelayDomain/example spec.outbound.hosts"],
    ),
    (
        ["127.0.0.9", "app@x.example.com", "a@b.example"],
        ["mail", "RelayDomain example (*.example.com)", "RelayDomain/example spec.outbound.hosts"],
    ),
    (
        ["127.0.0.1", "a@b.example", "bob+x@example.com"],
        ["rcpt", "bob@example.com is in its list", "RelayDomain/example spec.recipients.verify[0].list"],
    ),
    (
        ["127.0.0.1", "x@spam.example", "bob@example.com"],
        ["rcpt", "*@spam.example", "FilterPolicy/default spec.senders.blocked"],
    ),
    (
        ["127.0.0.1", "a@b.example", "bob@example.com"],
        ["content", "35 MiB, 100 recipients and 50 hops", "FilterPolicy/default spec.limits"],
    ),
    (
        ["127.0.0.1", "a@b.example", "bob@example.com"],
        ["route", "mailbox-server", "RelayDomain/example spec.deliverTo"],
    ),
    (["127.0.0.9", "app@example.com", "a@b.example"], ["route", "smarthost", "RelayDomain/example spec.outbound.via"]),
];

#[test]
fn each_step_names_the_object_and_the_field_that_made_it() -> Result<()> {
    let up = Up::prepare()?;
    for ([client, from, to], [stage, said, by]) in STEPS {
        let (_, answer) = up.explain(&["--client", client, "--from", from, "--to", to])?;
        let steps = answer["steps"].as_array().context("no steps")?;
        let step =
            steps.iter().find(|step| step["stage"] == *stage).with_context(|| format!("no {stage}: {answer:#}"))?;
        assert!(step["says"].as_str().is_some_and(|says| says.contains(said)), "{said:?}: {step:#}");
        assert!(step["by"].as_array().is_some_and(|all| all.iter().any(|one| one == by)), "{by:?}: {step:#}");
    }
    Ok(())
}

#[test]
fn what_if_files_show_what_they_change() -> Result<()> {
    let up = Up::prepare()?;
    let what_if = "apiVersion: postern.io/v1alpha1\nkind: FilterPolicy\nmetadata: {name: default}\nspec: {senders: {blocked: ['*@b.example']}}\n";
    fs::write(up.path("what-if.yaml"), what_if)?;
    let question =
        ["--client", "127.0.0.1", "--from", "a@b.example", "--to", "bob@example.com", "--what-if", "what-if.yaml"];
    let (exit, answer) = up.explain(&question)?;
    assert_eq!((exit, &answer["verdict"], &answer["before"]["verdict"]), (3, &"refused".into(), &"accepted".into()));
    let output = up.postern(&[&["explain", "-f", "dmz"], &question[..]].concat())?;
    let told = text(&output.stdout);
    for said in [
        "What changes for <bob@example.com>:",
        "  now      <bob@example.com> goes to mailbox-server",
        "  what if  550 5.7.1",
    ] {
        assert!(told.contains(said), "{said:?} is missing in:\n{told}");
    }
    fs::write(up.path("what-if.yaml"), what_if.replace("blocked", "blokked"))?;
    let output = up.postern(&[&["explain", "-f", "dmz"], &question[..]].concat())?;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("what-if.yaml:4: FilterPolicy/default: spec.senders.blokked"),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn what_cannot_be_known_from_files_is_asked_for_or_said() -> Result<()> {
    let up = Up::prepare()?;
    up.edit("application.yaml", "- cidr:", "- a: {name: app.corp.example}\n    - cidr:")?;
    let outsider = ["--client", "127.0.0.1", "--from", "app@example.com", "--to", "a@b.example"];
    let (exit, answer) = up.explain(&[&outsider[..], &["--no-dns"]].concat())?;
    assert_eq!(exit, 4, "{answer:#}");
    assert!(
        answer.to_string().contains("451 4.4.3") && answer.to_string().contains("app.corp.example: not known"),
        "{answer:#}"
    );
    let (exit, answer) = up.explain(&[&outsider[..], &["--resolve", "app.corp.example=127.0.0.1"]].concat())?;
    assert_eq!(exit, 0, "{answer:#}");
    assert!(answer.to_string().contains("RelayHost application, by the addresses of app.corp.example"), "{answer:#}");
    let known = ["--resolve", "app.corp.example=127.0.0.1", "--never-source", "127.0.0.0/24"];
    let (exit, answer) = up.explain(&[&outsider[..], &known].concat())?;
    assert_eq!(exit, 3, "{answer:#}");
    assert!(answer.to_string().contains("Else it were one of application"), "{answer:#}");

    let null = ["--client", "127.0.0.9", "--from", "<>", "--to", "a@b.example", "--resolve", "app.corp.example="];
    let output = up.postern(&[&["explain", "-f", "dmz"], &null[..]].concat())?;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--header-from"), "{}", text(&output.stderr));
    let (exit, answer) = up.explain(&[&null[..], &["--header-from", "app@example.com"]].concat())?;
    assert_eq!(exit, 0, "{answer:#}");
    let (exit, answer) = up.explain(&[&null[..], &["--header-from", "b.example"]].concat())?;
    if exit != 3 {
        bail!("{answer:#}");
    }
    Ok(())
}
