//! How long a change takes until every relay enforces it: within a second or so where the operator may wake the kubelets, and
//! within a minute or so where it may not.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::clock::now;
use postern_wire::Digest;
use serde_json::json;

use crate::cluster::{Cluster, eventually, within};
use crate::dmz::{Dmz, Relay};

const CHANGES: usize = 30;
/// What this test insists on, whatever else the machine does at the time. The README says what is to be expected.
const P99_MAX: Duration = Duration::from_secs(10);

/// A kubelet looks by itself every minute, and a little later than it should when it has much to do.
const BY_ITSELF: Duration = Duration::from_secs(180);

/// The recipients' ConfigMap with one more.
fn recipients(number: usize) -> String {
    let addresses = format!("bob@example.com\ndora-{number}@example.com\n");
    let name = json!({"name": "example-recipients"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"addresses": addresses}}).to_string()
}

/// How long after `kubectl apply` has returned the last relay enforces one more recipient.
fn change(dmz: &Dmz, relays: &[Relay], number: usize) -> Result<Duration> {
    let before: Vec<Digest> =
        relays.iter().map(|relay| Ok(relay.status()?.settings.unwrap())).collect::<Result<_>>()?;
    ensure!(before.windows(2).all(|pair| pair[0] == pair[1]), "{before:?}");
    dmz.apply(&recipients(number))?;
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

#[test]
fn without_the_right_to_wake_kubelets_a_change_comes_later_and_status_says_why() {
    let dmz = Dmz::new("unwoken", 1, &[]);
    let _sink = dmz.with_mailboxes("b");
    let relay = &dmz.relays().unwrap()[0];
    let mut rules = dmz.get(&["role", "postern-operator"]).unwrap()["rules"].take();
    let before = rules.as_array().unwrap().len();
    rules.as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["pods/status"]));
    assert_eq!(rules.as_array().unwrap().len(), before - 1, "{rules}");
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
    dmz.kubectl(&["patch", "role", "postern-operator", "--type=json", "-p", &patch]).unwrap();

    let enforced = relay.status().unwrap().settings.unwrap();
    dmz.apply(&recipients(0)).unwrap();
    let begun = now();
    let why = || {
        let domain = dmz.get(&["relaydomain", "example"])?;
        let conditions = domain["status"]["conditions"].as_array().context("no status")?;
        let programmed = conditions.iter().find(|one| one["type"] == "Programmed").context("not yet")?;
        let message = programmed["message"].as_str().unwrap_or_default();
        ensure!(programmed["reason"] == "Pending" && message.contains("within about a minute"), "{programmed}");
        ensure!(message.contains("pods/status") || message.contains("forbidden"), "{message}");
        Ok(())
    };
    eventually("status says why it waits", why).unwrap();
    let other = || {
        let now = relay.status()?.settings.context("none")?;
        ensure!(now != enforced, "still {now}");
        Ok(())
    };
    within(BY_ITSELF, "the kubelet has looked by itself", other).unwrap();
    Cluster::shared().note(&format!("change until enforced where no kubelet may be woken: {:?}", begun.elapsed()));
    dmz.wait_ready(&["relaydomains/example"]).unwrap();
}
