//! How long a change takes until every relay enforces it.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use postern_tests::clock::now;
use postern_wire::Digest;
use serde_json::json;

use crate::cluster::Cluster;
use crate::dmz::{Dmz, Relay};

const CHANGES: usize = 30;
/// What this test insists on, whatever else the machine does at the time. The README says what is to be expected.
const P99_MAX: Duration = Duration::from_secs(10);

/// How long after `kubectl apply` has returned the last relay enforces one more recipient.
fn change(dmz: &Dmz, relays: &[Relay], number: usize) -> Result<Duration> {
    let before: Vec<Digest> =
        relays.iter().map(|relay| Ok(relay.status()?.settings.unwrap())).collect::<Result<_>>()?;
    ensure!(before.windows(2).all(|pair| pair[0] == pair[1]), "{before:?}");
    let addresses = format!("bob@example.com\ndora-{number}@example.com\n");
    let name = json!({"name": "example-recipients"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"addresses": addresses}});
    dmz.apply(&map.to_string())?;
    let begun = now();
    let after: Vec<Digest> = thread::scope(|scope| {
        let waiting: Vec<_> = relays.iter().map(|relay| scope.spawn(|| relay.until_other(&before[0]))).collect();
        waiting.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<_>>()
    })?;
    let took = begun.elapsed();
    ensure!(after.windows(2).all(|pair| pair[0] == pair[1]), "{after:?}");
    Ok(took)
}

#[test]
fn a_change_is_enforced_by_three_relays_within_seconds() {
    let dmz = Dmz::new("latency", 3, &[]);
    let _sink = dmz.with_mailboxes("a");
    let relays = dmz.relays().unwrap();
    assert_eq!(relays.len(), 3);
    let mut took: Vec<Duration> = (0..CHANGES).map(|number| change(&dmz, &relays, number).unwrap()).collect();
    took.sort();
    let (p50, p99) = (took[CHANGES / 2], took[CHANGES - 1]);
    Cluster::shared().note(&format!("change until enforced by 3 relays: p50 {p50:?}, p99 {p99:?}, {CHANGES} changes"));
    assert!(p99 <= P99_MAX, "{took:?}");
}
