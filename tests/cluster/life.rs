//! The operator and the API server away: the relays go on, and nothing flaps when they are back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::clock::now;
use postern_tests::smtp::Client;
use serde_json::{Value, json};

use crate::cluster::{Cluster, alone, eventually};
use crate::dmz::Dmz;
use crate::network::inside;
use crate::peer::Peer;

/// How long the API server is away: longer than the cluster waits for a kubelet before it calls its pods not ready.
const AWAY: Duration = Duration::from_secs(60);

/// What each condition of each object here says, and since when.
fn conditions(dmz: &Dmz) -> Result<BTreeMap<String, String>> {
    let objects = dmz.get(&["relaydomains,relayhosts,filterpolicies"])?;
    let mut all = BTreeMap::new();
    for object in objects["items"].as_array().context("a list")? {
        for condition in object["status"]["conditions"].as_array().context("a status")? {
            let key = format!("{}/{} {}", object["kind"], object["metadata"]["name"], condition["type"]);
            all.insert(key, format!("{} since {}", condition["status"], condition["lastTransitionTime"]));
        }
    }
    Ok(all)
}

/// One more domain of this name.
fn domain(name: &str) -> Value {
    json!({
        "apiVersion": "postern.io/v1alpha1",
        "kind": "RelayDomain",
        "metadata": {"name": name},
        "spec": {
            "domains": [format!("{name}.example")],
            "deliverTo": [{"name": "mailbox-server"}],
            "recipients": {"mode": "AcceptAll"},
        },
    })
}

/// A DMZ with mail going through it.
struct Scene {
    dmz: Dmz,
    sink: Peer,
    /// Where the nodes take mail: known beforehand, for there may be nobody to ask.
    entrances: Vec<SocketAddr>,
    before: BTreeMap<String, String>,
}

impl Scene {
    fn new(hint: &str) -> Self {
        let dmz = Dmz::disturbing(hint, 2, &[]);
        let sink = dmz.with_mailboxes("a");
        // Whether anything isolates the relays is known after a second try.
        let before = eventually("every condition is true", || {
            let all = conditions(&dmz)?;
            ensure!(all.values().all(|value| value.starts_with("\"True\"")), "{all:?}");
            Ok(all)
        });
        let before = before.unwrap();
        let entrances = ["a", "b"].map(|node| dmz.outside(node).unwrap()).into();
        Self { dmz, sink, entrances, before }
    }

    /// One more domain is served, on both relays, and what was there before has not changed in between.
    fn obeys_and_has_not_flapped(&self, name: &str) {
        self.dmz.apply(&domain(name).to_string()).unwrap();
        self.dmz.wait_ready(&[&format!("relaydomains/{name}")]).unwrap();
        for relay in self.dmz.relays().unwrap() {
            let subject = format!("{name}-{}", relay.name);
            let message = format!("Subject: {subject}\r\n\r\nIt works.\r\n");
            let recipient = format!("someone@{name}.example");
            inside("net", || {
                let mut client = Client::greeted((relay.ip, 2525).into())?;
                client.mail("o@elsewhere.example", &[&recipient], message.as_bytes())?.queue_id()
            })
            .unwrap();
            self.sink.takes(&subject).unwrap();
        }
        let now = conditions(&self.dmz).unwrap();
        let same: BTreeMap<_, _> = now.into_iter().filter(|(key, _)| self.before.contains_key(key)).collect();
        assert_eq!(same, self.before, "a condition has changed in between");
    }

    /// Sends from outside until the time is over; the subjects of what was acknowledged.
    fn sends_for(&self, time: Duration) -> Result<Vec<String>> {
        let begun = now();
        let mut sent = Vec::new();
        while begun.elapsed() < time {
            for relay in &self.entrances {
                let subject = format!("meanwhile-{}", sent.len());
                let message = format!("Subject: {subject}\r\n\r\nIt works.\r\n");
                let send =
                    || Client::greeted(*relay)?.mail("o@elsewhere.example", &["alice@example.com"], message.as_bytes());
                inside("net", send)?.queue_id()?;
                sent.push(subject);
            }
            thread::sleep(Duration::from_millis(500));
        }
        Ok(sent)
    }
}

/// The operator's pods.
fn operators() -> Result<Vec<String>> {
    let pods = Cluster::shared().get(&["-n", "postern-system", "pods", "-l", "postern.io/operator=true"])?;
    let pods = pods["items"].as_array().context("a list")?;
    Ok(pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

/// At once, as a node that fails takes it along.
fn kill(operator: &str) {
    let delete =
        ["-n", "postern-system", "delete", "pod", operator, "--grace-period=0", "--force", "--ignore-not-found"];
    Cluster::shared().kubectl(&delete).unwrap();
}

/// Which of them leads.
fn leader() -> Result<String> {
    let lease = Cluster::shared().get(&["-n", "postern-system", "lease", "postern-operator"])?;
    let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
    Ok(holder.context("nobody leads")?.to_owned())
}

#[test]
fn mail_flows_without_an_operator_and_the_next_one_changes_nothing_by_itself() {
    let _alone = alone();
    let scene = Scene::new("operator");
    let cluster = Cluster::shared();
    let led = eventually("an operator leads", leader).unwrap();
    kill(&led);
    let begun = now();
    let other = || {
        let leads = leader()?;
        ensure!(leads != led, "{leads} still leads");
        Ok(leads)
    };
    eventually("another operator leads", other).unwrap();
    cluster.note(&format!("another operator leads after {:?}", begun.elapsed()));
    scene.obeys_and_has_not_flapped("led");

    let scale = |replicas: &str| {
        let args = ["-n", "postern-system", "scale", "deployment/postern-operator", replicas];
        cluster.kubectl(&args).unwrap();
    };
    scale("--replicas=0");
    operators().unwrap().iter().for_each(|operator| kill(operator));
    eventually("no operator is left", || {
        let left = operators()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .unwrap();
    scene.dmz.apply(&domain("unseen").to_string()).unwrap();
    for subject in scene.sends_for(Duration::from_secs(3)).unwrap() {
        scene.sink.takes(&subject).unwrap();
    }
    let unseen = scene.dmz.get(&["relaydomain", "unseen"]).unwrap();
    assert!(unseen["status"].is_null(), "nobody is there to see it: {unseen}");

    scale("--replicas=2");
    cluster
        .kubectl(&["-n", "postern-system", "rollout", "status", "deployment/postern-operator", "--timeout=180s"])
        .unwrap();
    scene.dmz.wait_ready(&["relaydomains/unseen"]).unwrap();
    scene.obeys_and_has_not_flapped("afterwards");
}

#[test]
fn mail_flows_without_the_api_server_and_nothing_flaps_when_it_is_back() {
    let _alone = alone();
    let scene = Scene::new("api-server");
    let cluster = Cluster::shared();
    cluster.kill("kube-apiserver").unwrap();
    assert!(cluster.kubectl(&["get", "nodes", "--request-timeout=5s"]).is_err());
    let sent = scene.sends_for(AWAY);
    cluster.start("kube-apiserver").unwrap();
    eventually("the API server answers again", || cluster.kubectl(&["get", "nodes"])).unwrap();
    for subject in sent.unwrap() {
        scene.sink.takes(&subject).unwrap();
    }
    scene.obeys_and_has_not_flapped("afterwards");
}
