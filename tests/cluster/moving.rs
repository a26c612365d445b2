//! Relays that go and come while mail flows: nothing that was acknowledged is lost, and nobody is told worse than 421.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::{Cluster, alone};
use crate::dmz::Dmz;
use crate::peer::{Counts, Peer};

const SESSIONS: u64 = 8;
/// Messages a second. A relay takes thousands; these are for its being asked at every moment.
const RATE: u64 = 100;

/// Mail flows through the Service of a DMZ of two relays, from a pod on node `a` to a sink there.
struct Flow {
    dmz: Dmz,
    sink: Peer,
    load: Peer,
}

impl Flow {
    fn start(hint: &str) -> Self {
        let dmz = Dmz::disturbing(hint, 2, &[]);
        let sink = dmz.with_mailboxes("a");
        let (sessions, rate) = (SESSIONS.to_string(), RATE.to_string());
        let words = ["someone@elsewhere.example", "alice@example.com", &sessions, "1000000", &rate];
        let load = Peer::start(&dmz.namespace, "a", "load", &[&["load", dmz.service().as_str()], &words[..]].concat());
        let flow = Self { load: load.unwrap(), dmz, sink };
        flow.goes_on();
        flow
    }

    /// Waits until some hundred more messages have been taken than before.
    fn goes_on(&self) -> Counts {
        let before = self.load.counts().unwrap().acked;
        self.load.until("mail flows", Duration::from_secs(180), |counts| counts.acked >= before + 300).unwrap()
    }

    /// Ends the load, and holds what was acknowledged against what has arrived.
    fn ends_without_a_loss(self) {
        self.load.stop().unwrap();
        let counts = self.load.until("the load ends", Duration::from_secs(180), |counts| counts.done).unwrap();
        self.dmz.drained().unwrap();
        let acknowledged = self.load.acknowledged(SESSIONS).unwrap();
        assert_eq!(u64::try_from(acknowledged.len()).unwrap(), counts.acked, "{counts:?}");
        let arrived = self.sink.subjects().unwrap();
        let distinct: BTreeSet<String> = arrived.iter().cloned().collect();
        let lost: Vec<&String> = acknowledged.difference(&distinct).collect();
        let twice = arrived.len() - distinct.len();
        Cluster::shared().note(&format!(
            "{}: {counts:?}, {} arrived, {twice} twice",
            self.dmz.namespace,
            distinct.len()
        ));
        assert!(lost.is_empty(), "{} of {} are lost, such as {:?}", lost.len(), counts.acked, lost.first());
        assert_eq!((counts.worse, counts.cut, counts.unreached), (0, 0, 0), "{counts:?}");
    }
}

#[test]
fn a_rolling_restart_loses_no_message_and_refuses_nobody() {
    let _alone = alone();
    let flow = Flow::start("restart");
    flow.dmz.kubectl(&["rollout", "restart", "statefulset/postern-relay"]).unwrap();
    flow.dmz.kubectl(&["rollout", "status", "statefulset/postern-relay", "--timeout=300s"]).unwrap();
    flow.goes_on();
    flow.ends_without_a_loss();
}

#[test]
fn a_drained_node_loses_no_message_and_refuses_nobody() {
    let _alone = alone();
    let flow = Flow::start("drain");
    let cluster = Cluster::shared();
    let uncordon = Uncordon;
    let drain = ["drain", "node-b", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=300s"];
    cluster.kubectl(&drain).unwrap();
    // Its volume comes along: the relay is on the other node then.
    flow.dmz.kubectl(&["rollout", "status", "statefulset/postern-relay", "--timeout=300s"]).unwrap();
    let relays = flow.dmz.relays().unwrap();
    assert!(relays.len() == 2 && relays.iter().all(|relay| relay.node == "a"), "{relays:?}");
    flow.goes_on();
    drop(uncordon);
    flow.ends_without_a_loss();
}

/// Whatever becomes of the test, the others get their second node back.
struct Uncordon;

impl Drop for Uncordon {
    fn drop(&mut self) {
        drop(Cluster::shared().kubectl(&["uncordon", "node-b"]));
    }
}
