//! Pods for the other ends: clients and servers of the tests' own on a node of their choice (tests/peer).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually, within};

/// A pod that runs `postern-peer`. It goes with its namespace.
pub(crate) struct Peer {
    namespace: String,
    name: String,
    ip: IpAddr,
}

/// What a load has counted so far: see tests/peer/src/load.rs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acked: u64,
    pub(crate) again: u64,
    pub(crate) cut: u64,
    pub(crate) unreached: u64,
    pub(crate) worse: u64,
    pub(crate) said: String,
    pub(crate) done: bool,
}

impl Peer {
    /// A pod on node `a` or `b` with these arguments, once it runs. Its label `peer` is its name.
    pub(crate) fn start(namespace: &str, node: &str, name: &str, args: &[&str]) -> Result<Self> {
        Self::start_like(namespace, node, name, args, json!({}), json!([]))
    }

    /// The same as a pod that every NetworkPolicy takes for a relay. It never becomes ready: the operator does not wait for it.
    pub(crate) fn start_as_relay(namespace: &str, node: &str, name: &str, args: &[&str]) -> Result<Self> {
        let never = json!([{"conditionType": "postern.test/never"}]);
        Self::start_like(namespace, node, name, args, json!({"postern.io/relay": "true"}), never)
    }

    fn start_like(
        namespace: &str,
        node: &str,
        name: &str,
        args: &[&str],
        labels: Value,
        readiness_gates: Value,
    ) -> Result<Self> {
        let cluster = Cluster::shared();
        // A namespace's own ServiceAccount comes a moment after it, and no pod can be made before.
        eventually("the namespace has its ServiceAccount", || {
            cluster.kubectl(&["-n", namespace, "get", "serviceaccount", "default"])
        })?;
        let mut labels = labels;
        labels["peer"] = json!(name);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "readinessGates": readiness_gates,
                "nodeName": format!("node-{node}"),
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "peer",
                    "image": "postern.test/postern-peer:test",
                    "imagePullPolicy": "IfNotPresent",
                    "args": args,
                }],
            },
        });
        cluster.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
        cluster.kubectl(&[
            "-n",
            namespace,
            "wait",
            "--for=condition=ContainersReady",
            "--timeout=180s",
            &format!("pod/{name}"),
        ])?;
        let pod = cluster.get(&["-n", namespace, "pod", name])?;
        let ip = pod["status"]["podIP"].as_str().context("a pod that runs has an address")?.parse()?;
        let peer = Self { namespace: namespace.to_owned(), name: name.to_owned(), ip };
        if matches!(args.first(), Some(&("listen" | "sink"))) {
            eventually("the peer listens", || {
                ensure!(peer.log()?.contains("listening"), "not yet");
                Ok(())
            })?;
        }
        Ok(peer)
    }

    /// Its address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// All that it has printed.
    pub(crate) fn log(&self) -> Result<String> {
        Cluster::shared().kubectl(&["-n", &self.namespace, "logs", &self.name])
    }

    /// What becomes of a connection from this pod: `open GREETING`, `refused` or `silent`.
    pub(crate) fn connect(&self, to: &str) -> Result<String> {
        let said = Cluster::shared().kubectl(&[
            "-n",
            &self.namespace,
            "exec",
            &self.name,
            "--",
            "/postern-peer",
            "connect",
            to,
            "2",
        ]);
        Ok(said?.trim().to_owned())
    }

    /// Waits until a connection from this pod to there is made.
    pub(crate) fn sees_open(&self, to: &str) -> Result<String> {
        eventually(&format!("{} sees {to} open", self.name), || {
            let said = self.connect(to)?;
            ensure!(said.starts_with("open"), "{said}");
            Ok(said)
        })
    }

    /// Waits until a connection from this pod to there is refused, or not answered.
    pub(crate) fn sees_closed(&self, to: &str) -> Result<()> {
        eventually(&format!("{} sees {to} closed", self.name), || {
            let said = self.connect(to)?;
            ensure!(said.starts_with("refused") || said == "silent", "{said}");
            Ok(())
        })
    }

    /// The subjects of the messages that this sink has taken, each as often as it came.
    pub(crate) fn subjects(&self) -> Result<Vec<String>> {
        let log = self.log()?;
        let lines = log.lines().filter_map(|line| line.strip_prefix("id="));
        Ok(lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
    }

    /// Waits until this sink has taken a message with this subject; the line that says so.
    pub(crate) fn takes(&self, subject: &str) -> Result<String> {
        eventually(&format!("{} takes {subject}", self.name), || {
            let log = self.log()?;
            let wanted = format!("id={subject} ");
            let line = log.lines().find(|line| line.starts_with(&wanted)).map(str::to_owned);
            line.with_context(|| format!("it has taken:\n{log}"))
        })
    }

    /// What this load has counted.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let log = Cluster::shared().kubectl(&["-n", &self.namespace, "logs", "--tail=12", &self.name])?;
        Ok(counts(&log))
    }

    /// Tells this load to end.
    pub(crate) fn stop(&self) -> Result<()> {
        let said = self.connect("127.0.0.1:2500")?;
        ensure!(said.starts_with("open"), "{said}");
        Ok(())
    }

    /// The subjects of all messages that this load, which has ended, had acknowledged.
    pub(crate) fn acknowledged(&self, sessions: u64) -> Result<BTreeSet<String>> {
        Ok(acknowledged(&self.log()?, sessions))
    }

    /// Waits until what this load has counted will do.
    pub(crate) fn until(&self, what: &str, limit: Duration, mut ask: impl FnMut(&Counts) -> bool) -> Result<Counts> {
        within(limit, what, || {
            let counts = self.counts()?;
            ensure!(ask(&counts), "{counts:?}");
            Ok(counts)
        })
    }
}

/// The subjects of all messages that a load of so many sessions had acknowledged when it ended: each session counts on by
/// their number.
fn acknowledged(log: &str, sessions: u64) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for words in log.lines().filter_map(|line| line.strip_prefix("session=")?.split_once(" next=")) {
        let (Ok(session), Ok(next)) = (words.0.parse::<u64>(), words.1.trim().parse::<u64>()) else { continue };
        let mut number = session;
        while number < next {
            all.insert(format!("load-{session}-{number}"));
            number += sessions;
        }
    }
    all
}

fn counts(log: &str) -> Counts {
    let line = log.lines().rev().find(|line| line.starts_with("acked=")).unwrap_or_default();
    let (numbers, said) = line.split_once(" said=").unwrap_or((line, ""));
    let number = |name: &str| {
        let found = numbers.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    Counts {
        acked: number("acked"),
        again: number("again"),
        cut: number("cut"),
        unreached: number("unreached"),
        worse: number("worse"),
        said: said.to_owned(),
        done: log.lines().any(|line| line == "done"),
    }
}

#[test]
fn counts_are_read_from_the_last_line_that_has_them() {
    let log =
        "acked=1 again=0 cut=0 unreached=0 worse=0 said=\nacked=9 again=2 cut=3 unreached=4 worse=1 said=550 no\n";
    let read = counts(log);
    let expected =
        Counts { acked: 9, again: 2, cut: 3, unreached: 4, worse: 1, said: "550 no".to_owned(), done: false };
    assert_eq!(read, expected);
    assert!(counts(&format!("{log}done\n")).done);
    assert_eq!(counts(""), Counts::default());
}

#[test]
fn what_a_load_had_acknowledged_is_known_from_where_its_sessions_ended() {
    let read = acknowledged("acked=3\nsession=0 next=4\nsession=1 next=3\ndone\n", 2);
    assert_eq!(read, ["load-0-0", "load-0-2", "load-1-1"].map(str::to_owned).into());
}
