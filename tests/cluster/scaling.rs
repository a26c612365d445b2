//! A relay that goes for good, with mail that could not be delivered: its queue waits for it on its volume.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use postern_tests::smtp::Client;
use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::dmz::{Dmz, Relay};
use crate::network::inside;
use crate::peer::Peer;
use crate::tool::postern;

const MESSAGES: usize = 5;

/// A mailbox server that is a Service, so that it may come later.
fn mailboxes() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "mailboxes"},
            "spec": {"selector": {"peer": "mailbox-server"}, "ports": [{"port": 25, "targetPort": 2526}]},
        },
        {
            "apiVersion": "postern.io/v1alpha1",
            "kind": "RelayHost",
            "metadata": {"name": "mailbox-server"},
            "spec": {"endpoints": [{"service": {"name": "mailboxes", "port": 25}}]},
        },
        {
            "apiVersion": "postern.io/v1alpha1",
            "kind": "RelayDomain",
            "metadata": {"name": "example"},
            "spec": {
                "domains": ["example.com"],
                "deliverTo": [{"name": "mailbox-server"}],
                "recipients": {"mode": "AcceptAll"},
            },
        },
    ]})
}

/// The subjects of what is sent to this relay.
fn send(relay: &Relay) -> Result<BTreeSet<String>> {
    inside("net", || {
        let mut client = Client::greeted((relay.ip, 2525).into())?;
        (0..MESSAGES)
            .map(|number| {
                let subject = format!("{}-{number}", relay.name);
                let message = format!("Subject: {subject}\r\n\r\nIt waits.\r\n");
                let reply = client.mail("o@elsewhere.example", &["alice@example.com"], message.as_bytes())?;
                reply.queue_id()?;
                Ok(subject)
            })
            .collect()
    })
}

fn waiting(dmz: &Dmz, relay: &str) -> Result<usize> {
    let queue = dmz.postern(relay, &["queue", "list", "-o", "json"])?;
    Ok(queue.lines().filter(|line| line.contains("\"id\"")).count())
}

/// What the status says of mail on kept volumes: the condition, and the volumes.
fn told(dmz: &Dmz) -> Result<(Value, Value)> {
    let status = dmz.get(&["filterpolicy", "default"])?["status"].take();
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == "MailKept").cloned();
    Ok((condition.unwrap_or_default(), status["keptVolumes"].clone()))
}

/// The operator and the tool name what the relay has left, to the message.
fn left_is_named(dmz: &Dmz) {
    let left = format!("{MESSAGES} messages of postern-relay-1 on the claim spool-postern-relay-1");
    eventually("the status names what was left", || {
        let (condition, volumes) = told(dmz)?;
        let volume = json!({"claim": "spool-postern-relay-1", "relay": "postern-relay-1", "messages": MESSAGES});
        ensure!(volumes == json!([volume]), "{volumes}");
        let is_named = condition["message"].as_str().is_some_and(|message| message.contains(&left));
        ensure!(condition["status"] == "True" && is_named, "{condition}");
        Ok(())
    })
    .unwrap();
    dmz.wait_ready(&["filterpolicy/default"]).unwrap();
    for (command, exit) in [(&["status"][..], 3), (&["queue", "list"], 4), (&["queue", "summary"], 4)] {
        let (code, text) = postern(dmz, command).unwrap();
        assert!(code == exit && text.contains(&left), "{command:?}: {code}\n{text}");
        println!("$ kubectl postern {}\n{text}", command.join(" "));
    }
}

#[test]
fn a_relay_that_goes_with_mail_keeps_it_until_it_is_back() {
    let dmz = Dmz::new("scaling", 2, &[]);
    dmz.apply(&mailboxes().to_string()).unwrap();
    dmz.wait_ready(&["relaydomains,relayhosts,filterpolicies", "--all"]).unwrap();
    let relays = dmz.relays().unwrap();
    let goes = relays.iter().find(|relay| relay.name == "postern-relay-1").unwrap();
    let sent = send(goes).unwrap();
    assert_eq!(waiting(&dmz, &goes.name).unwrap(), MESSAGES);
    let volume = || {
        let claim = dmz.get(&["persistentvolumeclaim", "spool-postern-relay-1"])?;
        ensure!(claim["status"]["phase"] == "Bound", "{}", claim["status"]);
        Ok(claim["spec"]["volumeName"].as_str().context("a volume")?.to_owned())
    };
    let before = volume().unwrap();

    dmz.upgrade(1, &[]).unwrap();
    dmz.kubectl(&["wait", "--for=delete", "pod/postern-relay-1", "--timeout=180s"]).unwrap();
    assert_eq!(volume().unwrap(), before, "the queue stays");
    left_is_named(&dmz);
    // The mailbox server is there again, and the relay is not: nothing can arrive.
    let sink = Peer::start(&dmz.namespace, "b", "mailbox-server", &["sink", "2526"]).unwrap();
    assert!(sink.subjects().unwrap().is_empty());

    dmz.upgrade(2, &[]).unwrap();
    assert_eq!(volume().unwrap(), before);
    eventually("nothing is said of volumes", || {
        let (condition, volumes) = told(&dmz)?;
        ensure!(condition.is_null() && volumes.is_null(), "{condition} {volumes}");
        Ok(())
    })
    .unwrap();
    let (_, queue) = postern(&dmz, &["queue", "list"]).unwrap();
    assert!(!queue.contains("Left behind"), "{queue}");
    eventually("all has arrived", || {
        // What waits for its next attempt need not. It says so when nothing waits.
        drop(dmz.postern("postern-relay-1", &["queue", "retry", "--all"]));
        let arrived = sink.subjects()?;
        let distinct: BTreeSet<String> = arrived.iter().cloned().collect();
        ensure!(distinct == sent, "{distinct:?}");
        ensure!(arrived.len() == MESSAGES, "some came twice: {arrived:?}");
        Ok(())
    })
    .unwrap();
    assert_eq!(waiting(&dmz, "postern-relay-1").unwrap(), 0);
}
