//! The isolation of relays, by their own packets on two nodes: every path is seen open and closed, by whoever may use it and
//! by whoever may not.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use postern_tests::smtp::Client;
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};
use crate::dmz::Dmz;
use crate::peer::Peer;
use crate::spot::Spot;
use crate::standing::Namespace;

const SMTP: u16 = 2525;
const STATUS: u16 = 8025;
/// Where a kubelet listens on its node.
const KUBELET: u16 = 10250;

/// A RelayHost with one endpoint.
pub(crate) fn host(name: &str, endpoint: &Value) -> Value {
    json!({
        "apiVersion": "postern.io/v1alpha1",
        "kind": "RelayHost",
        "metadata": {"name": name},
        "spec": {"endpoints": [endpoint]},
    })
}

/// The API server, by its Service and by itself.
fn api_server() -> Result<Vec<SocketAddr>> {
    let cluster = Cluster::shared();
    let service = cluster.get(&["-n", "default", "service", "kubernetes"])?;
    let service: IpAddr = service["spec"]["clusterIP"].as_str().context("an address")?.parse()?;
    let slice = cluster.get(&["-n", "default", "endpointslice", "kubernetes"])?;
    let itself: IpAddr = slice["endpoints"][0]["addresses"][0].as_str().context("an address")?.parse()?;
    let port = slice["ports"][0]["port"].as_u64().context("a port")?;
    Ok(vec![(service, 443).into(), (itself, u16::try_from(port)?).into()])
}

#[test]
fn a_relays_packets_go_nowhere_but_where_an_object_lets_them() {
    let dmz = Dmz::new("egress", 2, &[]);
    let cluster = Cluster::shared();
    let mail = Peer::start(&dmz.namespace, "b", "mail", &["listen", "25", "26"]).unwrap();
    let other = Peer::start(&dmz.namespace, "a", "other", &["listen", "25"]).unwrap();
    Peer::start(&dmz.namespace, "a", "witness", &["idle"]).unwrap();
    let witness = Spot::pod(&dmz.namespace, "witness").unwrap();
    let server = TcpListener::bind((cluster.outside(), 0)).unwrap();
    let relays = dmz.relays().unwrap();
    let spots: Vec<Spot> = relays.iter().map(Spot::relay).collect();
    assert!(relays.len() == 2 && relays[0].node != relays[1].node, "{relays:?}");

    let path = SocketAddr::from((mail.ip(), 25));
    let mut never = api_server().unwrap();
    never.extend([(mail.ip(), 26).into(), (other.ip(), 25).into(), server.local_addr().unwrap()]);
    never.extend(["a", "b"].map(|node| SocketAddr::from((cluster.node(node), KUBELET))));
    witness.sees_open(&[path]);
    witness.sees_open(&never);
    witness.sees_open(&relays.iter().map(|relay| (relay.ip, SMTP).into()).collect::<Vec<_>>());
    // Each relay from the other one.
    let closed = |open: bool| {
        for (spot, another) in spots.iter().zip(relays.iter().rev()) {
            if open {
                spot.sees_open(&[path])
            } else {
                spot.sees_closed(&[path])
            };
            spot.sees_closed(&never);
            // What lets mail in to every relay lets none of them out to another.
            spot.sees_closed(&[(another.ip, SMTP).into(), (another.ip, STATUS).into()]);
        }
    };
    closed(false);
    let endpoint = json!({"host": {"address": mail.ip().to_string(), "port": 25}});
    dmz.apply(&host("mail", &endpoint).to_string()).unwrap();
    closed(true);
    dmz.kubectl(&["delete", "relayhost", "mail"]).unwrap();
    closed(false);
}

#[test]
fn anyone_reaches_a_relays_smtp_port_and_only_operator_and_monitoring_its_status() {
    let dmz = Dmz::new("ingress", 2, &[]);
    let cluster = Cluster::shared();
    let strange = Namespace::new("stranger");
    Peer::start(&strange.0, "a", "stranger", &["idle"]).unwrap();
    let stranger = Spot::pod(&strange.0, "stranger").unwrap();
    // The operator's label, but not its namespace.
    Peer::start(&dmz.namespace, "b", "impostor", &["idle"]).unwrap();
    dmz.kubectl(&["label", "pod", "impostor", "postern.io/operator=true"]).unwrap();
    let impostor = Spot::pod(&dmz.namespace, "impostor").unwrap();
    let outside = Spot::outside();
    let relays = dmz.relays().unwrap();
    let ports = |port: u16| relays.iter().map(|relay| SocketAddr::from((relay.ip, port))).collect::<Vec<_>>();
    let (smtp, status) = (ports(SMTP), ports(STATUS));

    for spot in [&stranger, &impostor, &outside] {
        spot.sees_open(&smtp);
        spot.sees_closed(&status);
    }
    for pod in cluster.get(&["-n", "postern-system", "pods", "-l", "postern.io/operator=true"]).unwrap()["items"]
        .as_array()
        .unwrap()
    {
        let operator = Spot::pod("postern-system", pod["metadata"]["name"].as_str().unwrap()).unwrap();
        operator.sees_open(&status);
        // Its own policy leaves it nothing else of a relay.
        operator.sees_closed(&smtp);
    }
    let label = |label: &str| cluster.kubectl(&["label", "namespace", &strange.0, label]).unwrap();
    label("postern.io/monitoring=true");
    stranger.sees_open(&status);
    label("postern.io/monitoring-");
    stranger.sees_closed(&status);
    for spot in [&impostor, &outside] {
        spot.sees_closed(&status);
        spot.sees_open(&smtp);
    }
}

#[test]
fn a_relay_stays_closed_when_every_object_is_deleted() {
    let dmz = Dmz::new("outlived", 1, &[]);
    let other = Peer::start(&dmz.namespace, "a", "other", &["listen", "2526"]).unwrap();
    let stranger = Spot::pod(&dmz.namespace, "other").unwrap();
    let sink = dmz.with_mailboxes("b");
    let relays = dmz.relays().unwrap();
    let relay = Spot::relay(&relays[0]);
    let (mailboxes, other) = (SocketAddr::from((sink.ip(), 2526)), SocketAddr::from((other.ip(), 2526)));
    relay.sees_open(&[mailboxes]);

    dmz.kubectl(&["delete", "relaydomains,relayhosts,filterpolicies", "--all"]).unwrap();
    relay.sees_closed(&[mailboxes]);
    let policies = || {
        let list = dmz.get(&["networkpolicies"])?;
        let names: Vec<&str> = list["items"]
            .as_array()
            .context("a list")?
            .iter()
            .filter_map(|one| one["metadata"]["name"].as_str())
            .collect();
        ensure!(names == ["postern-default-deny", "postern-egress", "postern-ingress"], "{names:?}");
        Ok(())
    };
    eventually("only the isolation is left", policies).unwrap();
    // The domain is nobody's now.
    let refused = || {
        let said = stranger.does(|| {
            let mut client = Client::greeted((relays[0].ip, SMTP).into())?;
            client.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
            client.ask("RCPT TO:<alice@example.com>")
        })?;
        ensure!(said.to_string().starts_with("550 5.7.1"), "{said}");
        Ok(())
    };
    eventually("no domain is served", refused).unwrap();
    relay.sees_closed(&[mailboxes, other]);
    relay.sees_closed(&api_server().unwrap());
    stranger.sees_closed(&[(relays[0].ip, STATUS).into()]);
    stranger.sees_open(&[mailboxes]);
    policies().unwrap();
}

/// Waits until the DMZ is said to be isolated, or not; in which words.
fn is_told(dmz: &Dmz, status: &str, reason: &str) -> String {
    let ask = || {
        let policy = dmz.get(&["filterpolicy", "default"])?;
        let conditions = policy["status"]["conditions"].as_array().context("no status yet")?;
        let told = conditions.iter().find(|one| one["type"] == "Isolated").context("nothing is said of it yet")?;
        ensure!(told["status"] == status && told["reason"] == reason, "{told}");
        Ok(told["message"].as_str().context("a sentence")?.to_owned())
    };
    eventually(&format!("Isolated is {status}, {reason}"), ask).unwrap()
}

#[test]
fn whether_anything_isolates_the_relays_is_told() {
    let often = "limits.canary-interval=10s";
    let dmz = Dmz::new("canary", 1, &[often]);
    let api_server = api_server().unwrap()[0];
    let relay = Spot::relay(&dmz.relays().unwrap()[0]);
    is_told(&dmz, "True", "Isolated");
    relay.sees_closed(&[api_server]);

    dmz.upgrade(1, &[often, "networkPolicies=false"]).unwrap();
    let sentence = is_told(&dmz, "False", "NotEnforced");
    assert!(sentence.contains(&format!("postern-relay-0 reaches {api_server}")), "{sentence}");
    relay.sees_open(&[api_server]);

    dmz.upgrade(1, &[often]).unwrap();
    is_told(&dmz, "True", "Isolated");
    relay.sees_closed(&[api_server]);
}
