//! `postern queue`, `status` and `trace` over more than one relay, and what they say when one of them does not answer.

use std::fs;
use std::process::Output;

use anyhow::{Context as _, Result};
use postern_tests::clock::wait_until;
use serde_json::Value;

use crate::{PATIENCE, Up, text};

/// Two relays without a mailbox server: their mail waits.
struct Two {
    first: Up,
    second: Up,
}

impl Two {
    fn start() -> Result<Self> {
        let (mut first, mut second) = (Up::prepare()?, Up::prepare()?);
        first.start(&[])?;
        second.start(&[])?;
        Ok(Self { first, second })
    }

    fn sockets(&self) -> [String; 2] {
        [&self.first, &self.second].map(|up| up.path(".postern/control.sock").display().to_string())
    }

    fn postern(&self, arguments: &[&str]) -> Result<Output> {
        let [first, second] = self.sockets();
        self.first.postern(&[arguments, &["--control", &first, "--control", &second]].concat())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.postern(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_slice(&output.stdout).with_context(|| text(&output.stderr))
    }

    /// One message to each in turn, in the order of the ids.
    fn send(&self) -> Result<Vec<String>> {
        let send = |up: &Up, size: usize| {
            let content = format!("Subject: wait\r\n\r\n{}\r\n", "x".repeat(size));
            up.client()?.mail("anna@fabrikam.example", &["bob@example.com"], content.as_bytes())?.queue_id()
        };
        [(&self.first, 500), (&self.second, 900), (&self.first, 100)].iter().map(|(up, size)| send(up, *size)).collect()
    }
}

fn ids(listed: &Value) -> Vec<&str> {
    listed.as_array().into_iter().flatten().filter_map(|message| message["id"].as_str()).collect()
}

#[test]
fn the_queues_of_two_relays_are_seen_and_steered_as_one() -> Result<()> {
    let two = Two::start()?;
    let sent = two.send()?;
    let listed = two.json(&["queue", "list"])?;
    let mut found = ids(&listed);
    found.sort_unstable();
    assert_eq!(found, sent, "{listed:#}");
    let [first, second] = two.sockets();
    let whose: Vec<_> = [0, 1, 2].iter().map(|place| &listed[*place]["relay"]).collect();
    assert!(whose.contains(&&first.as_str().into()) && whose.contains(&&second.as_str().into()), "{listed:#}");
    assert_eq!(ids(&two.json(&["queue", "list", "--sort", "size"])?), [&*sent[1], &sent[0], &sent[2]]);
    assert_eq!(
        ids(&two.json(&["queue", "list", "--sort", "size", "--reverse", "--limit", "2"])?),
        [&*sent[2], &sent[0]]
    );
    assert_eq!(two.json(&["queue", "summary"])?[0]["recipients"], 3);
    assert_eq!(two.json(&["queue", "show", &sent[1]])?["relay"], second);

    assert_eq!(two.json(&["queue", "hold", &sent[0], &sent[1]])?["messages"], 2);
    assert_eq!(ids(&two.json(&["queue", "list", "--state", "held"])?).len(), 2);
    let export = two.json(&["queue", "export", "--all", "--out", "all/"])?;
    assert_eq!(export["messages"], 3);
    assert!(sent.iter().all(|id| two.first.path("all").join(format!("{id}.eml")).exists()));
    let import = two.postern(&["queue", "import", "all/"])?;
    assert!(text(&import.stderr).contains("say into which relay"), "{}", text(&import.stderr));
    assert_eq!(two.json(&["queue", "delete", "--state", "held", "--yes"])?["messages"], 2);
    let gone = two.postern(&["queue", "show", &sent[0]])?;
    assert!(
        gone.status.code() == Some(1) && text(&gone.stderr).contains("is not in the queue"),
        "{}",
        text(&gone.stderr)
    );
    Ok(())
}

#[test]
fn a_relay_that_does_not_answer_is_named_and_the_others_are_not_held_up() -> Result<()> {
    let mut two = Two::start()?;
    let sent = two.send()?;
    drop(two.second.program.take());
    let [_, dead] = two.sockets();
    for arguments in [&["queue", "list"][..], &["queue", "summary"], &["queue", "retry", "--all"]] {
        let output = two.postern(arguments)?;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with(&dead), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(ids(&two.json(&["queue", "list"])?).len(), 2);
    let status = two.postern(&["status"])?;
    assert_eq!(status.status.code(), Some(3));
    let told = text(&status.stdout);
    assert!(told.contains(&format!("! {dead}: it cannot be asked")) && told.contains("2 messages wait"), "{told}");
    assert!(two.json(&["status"])?["relays"][0]["standing"]["status"]["queue"]["messages"] == 2);

    drop(two.first.program.take());
    let nobody = two.postern(&["queue", "show", &sent[0]])?;
    assert!(
        nobody.status.code() == Some(1) && text(&nobody.stderr).contains("no relay answered"),
        "{}",
        text(&nobody.stderr)
    );
    let lost = two.first.postern(&["queue", "list", "--control", "nowhere.sock"])?;
    assert!(lost.status.code() == Some(1) && text(&lost.stderr).contains("nowhere.sock"), "{}", text(&lost.stderr));
    Ok(())
}

#[test]
fn without_a_word_about_it_no_cluster_is_asked() -> Result<()> {
    let up = Up::prepare()?;
    fs::write(up.path("broken"), "not a kubeconfig: [")?;
    let broken = up.path("broken").display().to_string();
    let here = up.postern(&["queue", "list"])?;
    assert!(text(&here.stderr).contains(".postern/control.sock"), "{}", text(&here.stderr));
    for said in [["--namespace", "dmz"], ["--context", "other"], ["--pod", "relay-0"]] {
        let there = up.postern(&[&["queue", "list", "--kubeconfig", &broken][..], &said].concat())?;
        assert!(there.status.code() == Some(1) && text(&there.stderr).contains("broken"), "{}", text(&there.stderr));
        let both = up.postern(&[&["queue", "list", "--control", "a.sock"][..], &said].concat())?;
        assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
    }
    Ok(())
}

#[test]
fn a_trace_tells_the_whole_story_of_a_message() -> Result<()> {
    let up = Up::prepare()?;
    let rendered = up.postern(&["render", "-f", "dmz", "--to", "settings"])?;
    assert!(rendered.status.success(), "{}", text(&rendered.stderr));
    let relay = up.alone()?;
    let mut client = up.client()?;
    let id =
        client.mail("anna@fabrikam.example", &["bob@example.com"], b"Subject: wait\r\n\r\nfor it\r\n")?.queue_id()?;
    client.say("MAIL FROM:<anna@fabrikam.example>", 250)?;
    client.say("RCPT TO:<nobody@example.com>", 550)?;
    let trace = |what: &str| up.postern(&["trace", what, "-f", "relay.log"]);
    wait_until("an attempt is told", PATIENCE, || trace(&id).is_ok_and(|told| text(&told.stdout).contains("deferred")))
        .with_context(|| relay.log())?;
    let control = up.path("control.sock").display().to_string();
    assert!(up.postern(&["queue", "hold", &id, "--control", &control])?.status.success());
    let held = up.postern(&["queue", "delete", &id, "--yes", "--control", &control])?;
    assert!(held.status.success(), "{}", text(&held.stderr));
    for what in [&*id, "ANNA@fabrikam.example", "@example.com"] {
        let told = trace(what)?;
        let told = text(&told.stdout);
        let place = |part: &str| told.find(part).with_context(|| format!("{part:?} is missing in:\n{told}"));
        let story = [
            "accepted   <anna@fabrikam.example> to <bob@example.com>, from 127.0.0.1",
            "by RelayDomain/example spec.recipients",
            "no answer",
            "deferred   <bob@example.com>",
            "attempt 1",
            "held       by a person",
            "deleted    by a person",
        ];
        let places = story.iter().map(|part| place(part)).collect::<Result<Vec<_>>>()?;
        assert!(places.is_sorted(), "{told}");
        assert_eq!(told.contains("<nobody@example.com>: no such recipient"), what != id, "{told}");
    }
    let nothing = trace("stranger@example.com")?;
    assert_eq!((nothing.status.code(), text(&nothing.stdout)), (Some(3), "Nothing was found.\n".to_owned()));
    Ok(())
}
