//! The README's first DMZ, in a cluster: both charts installed, its YAML applied, a message through it, an edit enforced.

use anyhow::ensure;
use postern_tests::smtp::Client;
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::network::inside;
use crate::peer::Peer;

/// The reply to `RCPT TO` of a client outside of the cluster, at node `a`.
fn answer(dmz: &Dmz, recipient: &str) -> anyhow::Result<String> {
    let relay = dmz.outside("a")?;
    inside("net", || {
        let mut client = Client::greeted(relay)?;
        client.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
        Ok(client.ask(&format!("RCPT TO:<{recipient}>"))?.to_string())
    })
}

#[test]
fn a_message_passes_the_dmz_and_an_edit_is_enforced_by_every_relay() {
    let dmz = Dmz::new("quickstart", 2, &[]);
    let sink = dmz.with_mailboxes("b");
    let relays = dmz.relays().unwrap();
    let nodes: Vec<&str> = relays.iter().map(|relay| relay.node.as_str()).collect();
    assert!(nodes.contains(&"a") && nodes.contains(&"b"), "the relays are on both nodes: {relays:?}");

    // From a pod, by the Service's name; and from outside, at each node.
    let load = ["load", &dmz.service(), "someone@elsewhere.example", "alice@example.com", "1", "1", "1"];
    let _sender = Peer::start(&dmz.namespace, "a", "sender", &load).unwrap();
    let line = sink.takes("load-0-0").unwrap();
    assert_eq!(line, "id=load-0-0 to=<alice@example.com> from=<someone@elsewhere.example>");
    for node in ["a", "b"] {
        let relay = dmz.outside(node).unwrap();
        let message = format!("Subject: outside-{node}\r\n\r\nIt works.\r\n");
        let send = || Client::greeted(relay)?.mail("o@elsewhere.example", &["bob@example.com"], message.as_bytes());
        inside("net", send).unwrap();
        sink.takes(&format!("outside-{node}")).unwrap();
    }
    assert!(answer(&dmz, "nobody@example.com").unwrap().contains("550 5.1.1"));
    assert!(answer(&dmz, "a@other.example").unwrap().contains("550 5.7.1"));

    // A recipient more, in the ConfigMap that the domain names; told when every relay takes it.
    assert!(answer(&dmz, "dora@example.com").unwrap().contains("550 5.1.1"));
    let recipients = json!({"addresses": "dora@example.com\n"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "example-recipients"}, "data": recipients});
    dmz.apply(&map.to_string()).unwrap();
    eventually("dora is a recipient", || {
        let said = answer(&dmz, "dora@example.com")?;
        ensure!(said.starts_with("250"), "{said}");
        Ok(())
    })
    .unwrap();
    dmz.wait_ready(&["relaydomains/example"]).unwrap();
    let digests: Vec<_> = relays.iter().map(|relay| relay.status().unwrap().settings).collect();
    assert!(digests[0].is_some() && digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn a_path_is_open_for_as_long_as_an_object_asks_for_it() {
    let dmz = Dmz::new("paths", 1, &[]);
    // Policies know relays by a label alone, so this pod is held to what a relay is held to.
    let spy = Peer::start_as_relay(&dmz.namespace, "a", "spy", &["idle"]).unwrap();
    let other = Peer::start(&dmz.namespace, "b", "other", &["listen", "2526"]).unwrap();
    let sink = dmz.with_mailboxes("b");
    let (mailboxes, other) = (format!("{}:2526", sink.ip()), format!("{}:2526", other.ip()));
    spy.sees_open(&mailboxes).unwrap();
    spy.sees_closed(&other).unwrap();

    let host = dmz.get(&["relayhost", "mailbox-server"]).unwrap();
    // Two lead there.
    dmz.kubectl(&["delete", "relayhost", "mailbox-server", "smarthost"]).unwrap();
    spy.sees_closed(&mailboxes).unwrap();

    let spec = &host["spec"];
    let host =
        json!({"apiVersion": host["apiVersion"], "kind": "RelayHost", "metadata": {"name": "again"}, "spec": spec});
    dmz.apply(&host.to_string()).unwrap();
    spy.sees_open(&mailboxes).unwrap();
    spy.sees_closed(&other).unwrap();
}
