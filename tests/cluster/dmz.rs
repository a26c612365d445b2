//! A DMZ: a namespace with the relay chart in it, looked after by the operator that all tests share.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process;
use std::sync::RwLockReadGuard;
use std::thread;

use anyhow::{Context, Result, ensure};
use postern_tests::clock::wait_for;
use postern_wire::{Digest, Status};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, eventually, repository, undisturbed};
use crate::network;
use crate::peer::Peer;
use crate::trouble;

/// A load balancer is of no cluster by itself, and Helm would wait for its address.
const CHEAP: &[&str] = &["service.type=NodePort", "spool.size=1Gi"];

pub(crate) struct Dmz {
    pub(crate) namespace: String,
    /// Held for as long as the DMZ is there.
    undisturbed: Option<RwLockReadGuard<'static, ()>>,
}

/// A relay pod.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    pub(crate) name: String,
    /// `a` or `b`.
    pub(crate) node: String,
    pub(crate) ip: IpAddr,
}

impl Dmz {
    /// With the relay chart installed, so many relays, and these values besides; ready.
    pub(crate) fn new(hint: &str, relays: u32, values: &[&str]) -> Self {
        let held = undisturbed();
        let mut dmz = Self::disturbing(hint, relays, values);
        dmz.undisturbed = Some(held);
        dmz
    }

    /// The same for a test that holds [`crate::cluster::alone`].
    pub(crate) fn disturbing(hint: &str, relays: u32, values: &[&str]) -> Self {
        let cluster = Cluster::shared();
        cluster.operator();
        let dmz = Self { namespace: format!("{hint}-{}", process::id()), undisturbed: None };
        dmz.upgrade(relays, values).unwrap();
        dmz
    }

    /// The chart with these values in place of the earlier ones; ready.
    pub(crate) fn upgrade(&self, relays: u32, values: &[&str]) -> Result<()> {
        let replicas = format!("replicas={relays}");
        let values = [CHEAP, &[&replicas], values].concat();
        Cluster::shared().chart("relay", &self.namespace, &values).map(drop)
    }

    /// With one relay, and not waited for: the operator has no rights here until [`Self::upgrade`].
    pub(crate) fn unattended(hint: &str) -> Self {
        let undisturbed = Some(undisturbed());
        let cluster = Cluster::shared();
        cluster.operator();
        let dmz = Self { namespace: format!("{hint}-{}", process::id()), undisturbed };
        let values = [CHEAP, &["replicas=1", "operator.serviceAccount=nobody"]].concat();
        cluster.release("relay", &dmz.namespace, &values, &[]).unwrap();
        dmz
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        Cluster::shared().kubectl(&[&["-n", &self.namespace], args].concat())
    }

    pub(crate) fn get(&self, args: &[&str]) -> Result<Value> {
        Cluster::shared().get(&[&["-n", &self.namespace], args].concat())
    }

    /// `kubectl apply` of this YAML or JSON; what kubectl says.
    pub(crate) fn apply(&self, manifest: &str) -> Result<String> {
        Cluster::shared().kubectl_with(&["-n", &self.namespace, "apply", "-f", "-"], manifest)
    }

    /// Waits as a user would, until all of these are Ready: `relaydomains/example`, or a kind and `--all`.
    pub(crate) fn wait_ready(&self, what: &[&str]) -> Result<()> {
        // An object is told about its latest generation, which `kubectl wait` does not look at before the first status.
        let condition = ["wait", "--for=condition=Ready", "--timeout=180s"];
        self.kubectl(&[&condition, what].concat()).map(drop)
    }

    /// The quickstart's objects, with this mailbox server in place of the loopback address that a cluster refuses.
    pub(crate) fn quickstart(&self, mailbox_server: SocketAddr) -> Result<()> {
        let mut all = Vec::new();
        for entry in fs::read_dir(repository("crds/examples/quickstart"))? {
            let path = entry?.path();
            let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(&path)?)?;
            all.extend(documents.into_iter().map(|document| aimed(document, mailbox_server)));
        }
        // The chart has made its own `default`.
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string()).map(drop)
    }

    /// A sink in this namespace as the mailbox server, with the quickstart's objects aimed at it and Ready.
    pub(crate) fn with_mailboxes(&self, node: &str) -> Peer {
        let sink = Peer::start(&self.namespace, node, "mailbox-server", &["sink", "2526"]).unwrap();
        self.quickstart((sink.ip(), 2526).into()).unwrap();
        self.wait_ready(&["relaydomains,relayhosts,filterpolicies", "--all"]).unwrap();
        sink
    }

    /// The relays that run, by name.
    pub(crate) fn relays(&self) -> Result<Vec<Relay>> {
        let pods = self.get(&["pods", "-l", "postern.io/relay=true"])?;
        let pods = pods["items"].as_array().context("a list")?;
        pods.iter().map(relay).collect()
    }

    /// The name of the Service that takes mail, and its port.
    pub(crate) fn service(&self) -> String {
        format!("postern-relay.{}.svc.cluster.local:25", self.namespace)
    }

    /// Where node `a` or `b` takes mail from outside of the cluster, for its own relays.
    pub(crate) fn outside(&self, node: &str) -> Result<SocketAddr> {
        let service = self.get(&["service", "postern-relay"])?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no port on the nodes")?;
        Ok((Cluster::shared().node(node), u16::try_from(port)?).into())
    }

    /// What `postern`, run within a relay's pod, prints.
    pub(crate) fn postern(&self, relay: &str, args: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", relay, "--", "/postern"], args].concat())
    }

    /// Waits until no message waits in any relay.
    pub(crate) fn drained(&self) -> Result<()> {
        eventually("no message waits", || {
            for relay in self.relays()? {
                let queue = self.postern(&relay.name, &["queue", "list", "-o", "json"])?;
                let waiting = queue.lines().filter(|line| line.contains("\"id\"")).count();
                ensure!(waiting == 0, "{} has {waiting} messages: {queue}", relay.name);
            }
            Ok(())
        })
    }
}

impl Relay {
    /// What it says that it enforces. Asked from its own node, which may always ask its pods.
    pub(crate) fn status(&self) -> Result<Status> {
        network::inside(&self.node, || self.status_from_here())
    }

    /// Waits until it enforces other settings than these; asks every few milliseconds.
    pub(crate) fn until_other(&self, before: &Digest) -> Result<Digest> {
        let what = format!("{} enforces other settings than {before}", self.name);
        network::inside(&self.node, || {
            wait_for(&what, PATIENCE, || self.status_from_here().ok()?.settings.filter(|settings| settings != before))
        })
    }

    fn status_from_here(&self) -> Result<Status> {
        let body = network::http((self.ip, 8025).into(), "/status")?;
        serde_json::from_str(&body).with_context(|| format!("/status of {}: {body}", self.name))
    }
}

impl Drop for Dmz {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", trouble::of_test(&self.namespace));
        } else {
            // It makes room for the others. A namespace that stays hurts nobody.
            drop(Cluster::shared().kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
        }
    }
}

fn relay(pod: &Value) -> Result<Relay> {
    let text = |pointer: &str| {
        let found = pod.pointer(pointer).and_then(Value::as_str);
        found.with_context(|| format!("no {pointer} in {}", pod["metadata"]["name"]))
    };
    let node = text("/spec/nodeName")?.trim_start_matches("node-").to_owned();
    Ok(Relay { name: text("/metadata/name")?.to_owned(), node, ip: text("/status/podIP")?.parse()? })
}

/// A document of the quickstart, with this server instead of the built-in sink on a loopback address.
fn aimed(mut document: Value, server: SocketAddr) -> Value {
    if let Some(endpoints) = document.pointer_mut("/spec/endpoints").and_then(Value::as_array_mut) {
        for endpoint in endpoints {
            endpoint["host"] = json!({"address": server.ip().to_string(), "port": server.port()});
        }
    }
    document
}
