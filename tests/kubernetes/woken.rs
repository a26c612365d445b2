//! A kubelet that was woken and has not refreshed the relay's volume is woken again. The relay here is the real one; the
//! test is its kubelet.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use postern_crds::RelayDomain;
use postern_tests::clock::now;
use postern_tests::relay::Relay;
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::files::mount;
use crate::programmed::{Answers, enforcing, published, small_dmz};

const MARK: &str = "postern.io/settings-digest";
pub(crate) const REMINDER: &str = "postern.io/settings-reminder";

async fn annotation(dmz: &Dmz, pod: &str, name: &str) -> Result<Option<String>> {
    Ok(dmz.api::<Pod>().get(pod).await?.annotations().get(name).cloned())
}

async fn change_recipients(dmz: &Dmz, recipient: &str) {
    let text = format!("{recipient}@example.com\n");
    let recipients = json!({"metadata": {"name": "example-recipients"}, "data": {"addresses": text}});
    dmz.put::<ConfigMap>(recipients).await.unwrap();
}

/// Once the pod is marked with settings other than these; their digest.
async fn marked_anew(dmz: &Dmz, pod: &str, before: &str) -> String {
    eventually("the pod is marked with the new settings", async || {
        let mark = annotation(dmz, pod, MARK).await?.unwrap_or_default();
        ensure!(!mark.is_empty() && mark != before, "marked with {mark}");
        Ok(mark)
    })
    .await
}

#[tokio::test]
async fn a_kubelet_that_missed_the_mark_is_woken_again_until_its_relay_follows() {
    let dmz = small_dmz("woken").await;
    let first = published(&dmz).await;
    let mut relay = Relay::prepare().unwrap();
    mount(&dmz, &relay).await.unwrap();
    relay.start_again().unwrap();
    dmz.relay_pod("relay", relay.http).await.unwrap();
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    assert_eq!(annotation(&dmz, "relay", REMINDER).await.unwrap(), None, "nobody is reminded who follows");

    change_recipients(&dmz, "dora").await;
    let mark = marked_anew(&dmz, "relay", first.digest.as_str()).await;
    let began = now();
    // The kubelet has missed it.
    eventually("the pod is marked again", async || {
        let reminder = annotation(&dmz, "relay", REMINDER).await?;
        ensure!(reminder.as_deref() == Some("1"), "{reminder:?}");
        Ok(())
    })
    .await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1200) && took < Duration::from_secs(6), "after {took:?}");
    assert_eq!(mount(&dmz, &relay).await.unwrap().digest.as_str(), mark);
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;

    let writes = dmz.settled().await;
    // The next time would have been four seconds after the first.
    tokio::time::sleep(Duration::from_secs(6)).await;
    dmz.wake().await;
    assert_eq!(dmz.settled().await, writes, "a relay that follows is left alone");
}

#[tokio::test]
async fn a_relay_that_never_follows_causes_few_writes() {
    let dmz = small_dmz("stubborn").await;
    let first = published(&dmz).await;
    let relay = Answers::start(serde_json::to_string(&enforcing(&first)).unwrap()).await;
    dmz.relay_pod("relay", relay.address).await.unwrap();
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    change_recipients(&dmz, "dora").await;
    marked_anew(&dmz, "relay", first.digest.as_str()).await;
    dmz.told::<RelayDomain>("example", "Programmed", "False", "Pending").await;

    let before = dmz.writes().unwrap().len();
    // Reminded after 2, 6 and 14 seconds, whatever else happens in the namespace.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        dmz.wake().await;
    }
    let writes = dmz.writes().unwrap().split_off(before);
    assert!(writes.iter().all(|write| write == "patch pods/relay/status 200"), "{writes:?}");
    assert!((2..=3).contains(&writes.len()), "{writes:?}");
}
