//! The guard against open relays: a Service that puts a node's address in place of its clients' makes nobody a source.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use postern_tests::smtp::Client;
use serde_json::json;

use crate::cluster::{Cluster, eventually};
use crate::dmz::Dmz;
use crate::network::inside;
use crate::spot::Spot;

/// What a client outside of the cluster is told at this node, when it would send as our application to somebody elsewhere.
fn asks(dmz: &Dmz, node: &str) -> Result<String> {
    let relay = dmz.outside(node)?;
    inside("net", || {
        let mut client = Client::greeted(relay)?;
        client.say("MAIL FROM:<billing@example.com>", 250)?;
        Ok(client.ask("RCPT TO:<customer@other.example>")?.to_string())
    })
}

#[test]
fn a_service_that_hides_its_clients_behind_nodes_opens_no_relay() {
    let dmz = Dmz::new("guard", 1, &["service.externalTrafficPolicy=Cluster"]);
    let sink = dmz.with_mailboxes("a");
    let relay = dmz.relays().unwrap().remove(0);
    // Everything that is in the test's network: whatever address a connection arrives with, it is among these.
    let (outside, pod) = (octets(Cluster::shared().outside()), octets(relay.ip));
    let nodes = format!("{}.{}.{}.0/24", outside[0], outside[1], outside[2]);
    let pods = format!("{}.{}.0.0/16", pod[0], pod[1]);
    let sources = json!([{"cidr": {"range": nodes}}, {"cidr": {"range": pods}, "allowWide": true}]);
    let application = json!({
        "apiVersion": "postern.io/v1alpha1",
        "kind": "RelayHost",
        "metadata": {"name": "application"},
        "spec": {"sources": sources},
    });
    dmz.apply(&application.to_string()).unwrap();
    dmz.wait_ready(&["relayhosts/application"]).unwrap();

    for node in ["a", "b"] {
        let said = asks(&dmz, node).unwrap();
        assert!(said.starts_with("550 5.7.1") && said.contains("relaying denied"), "at node {node}: {said}");
        // From another node it comes from that node's address, and on its own node from that of the pods' bridge.
        assert!(said.contains("is the address of a node"), "at node {node}: {said}");
    }

    dmz.upgrade(1, &["service.externalTrafficPolicy=Local"]).unwrap();
    eventually("the relay sees its client", || {
        let said = asks(&dmz, &relay.node)?;
        anyhow::ensure!(said.starts_with("250"), "{said}");
        Ok(())
    })
    .unwrap();
    let there = dmz.outside(&relay.node).unwrap();
    let message = b"Subject: invoice\r\n\r\nDear customer\r\n";
    inside("net", || Client::greeted(there)?.mail("billing@example.com", &["customer@other.example"], message))
        .unwrap();
    sink.takes("invoice").unwrap();
    let other = if relay.node == "a" { "b" } else { "a" };
    Spot::outside().sees_closed(&[dmz.outside(other).unwrap()]);
}

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}
