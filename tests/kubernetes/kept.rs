//! Relays that are scaled in: what they leave on their volumes is told until it is back, or its claim is deleted. The
//! relay is a real one; the test does what the controller of StatefulSets and a kubelet would.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::{DeleteParams, PostParams};
use postern_crds::status::KeptVolume;
use postern_crds::{FilterPolicy, RelayDomain};
use postern_tests::relay::{Relay, get};
use postern_wire::Status;
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::end_to_end::own_address;
use crate::files::mount;
use crate::leader::{Operator, SERVER, all, unattended};
use crate::operator;
use crate::programmed::{Answers, enforcing, published};

const MESSAGES: u64 = 3;

async fn kept(dmz: &Dmz) -> Result<Vec<KeptVolume>> {
    let policy = dmz.api::<FilterPolicy>().get("default").await?;
    Ok(policy.status.unwrap_or_default().kept_volumes)
}

fn volume(number: u32, messages: Option<i64>) -> KeptVolume {
    let relay = format!("postern-relay-{number}");
    KeptVolume { claim: format!("spool-{relay}"), relay, messages }
}

/// Waits until nothing is said of volumes any more.
async fn nothing_is_said(dmz: &Dmz) {
    eventually("nothing is said of volumes", async || {
        let policy = dmz.api::<FilterPolicy>().get("default").await?.status.unwrap_or_default();
        let condition = policy.conditions.iter().find(|condition| condition.type_ == "MailKept");
        ensure!(policy.kept_volumes.is_empty() && condition.is_none(), "{policy:?}");
        Ok(())
    })
    .await;
}

fn waiting(relay: &Relay) -> Result<u64> {
    let status: Status = serde_json::from_str(&get(relay.http, "/status")?.1)?;
    Ok(status.queue.map_or(0, |queue| queue.messages))
}

/// The second relay, with mail that nobody takes; the first one is a stand-in.
async fn with_mail(dmz: &Dmz) -> Result<(Relay, Answers)> {
    let mut relay = Relay::prepare()?;
    relay.option("--drain-accept-time", "1s");
    let file = published(dmz).await;
    mount(dmz, &relay).await?;
    relay.start_again()?;
    let other = Answers::start(serde_json::to_string(&enforcing(&file))?).await;
    for (name, address) in [("postern-relay-0", other.address), ("postern-relay-1", relay.http)] {
        dmz.claim(name).await?;
        dmz.relay_pod(name, address).await?;
    }
    for number in 0..MESSAGES {
        let content = format!("Subject: {number}\r\n\r\nIt waits.\r\n");
        let reply = relay.client()?.mail("o@elsewhere.example", &["alice@example.com"], content.as_bytes())?;
        reply.queue_id()?;
    }
    ensure!(waiting(&relay)? == MESSAGES);
    Ok((relay, other))
}

/// What becomes of a pod that the workload does not want any more.
async fn scale_in(dmz: &Dmz, name: &str, mut relay: Relay) -> Result<()> {
    dmz.scale(1).await?;
    let pods = dmz.api::<Pod>();
    pods.delete(name, &DeleteParams { grace_period_seconds: Some(30), ..DeleteParams::default() }).await?;
    tokio::task::spawn_blocking(move || relay.stop()).await??;
    pods.delete(name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_relay_has_left_is_told_until_it_is_back_or_its_claim_is_deleted() -> Result<()> {
    let _stays = SERVER.read().await;
    let dmz = unattended("kept").await?;
    dmz.scale(2).await?;
    dmz.quickstart(own_address()).await?;
    let mut one = Operator::start_alone(&dmz, "one", &[]).await?;
    one.leads().await;
    let (relay, _other) = with_mail(&dmz).await?;
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    assert_eq!(kept(&dmz).await?, []);

    scale_in(&dmz, "postern-relay-1", relay).await?;
    let message = dmz.told::<FilterPolicy>("default", "MailKept", "True", "ScaledIn").await;
    assert!(message.contains("3 messages of postern-relay-1 on the claim spool-postern-relay-1"), "{message}");
    assert!(message.contains("raise the replicas of the StatefulSet postern-relay to 2 (helm upgrade"), "{message}");
    dmz.says::<FilterPolicy>("default", "Ready", "see MailKept").await;
    dmz.told::<FilterPolicy>("default", "Ready", "True", "Ready").await;
    assert_eq!(kept(&dmz).await?, [volume(1, Some(3))]);

    // The next operator has not seen it go, and has nothing to write.
    one.has_settled(&dmz).await;
    let before = all(&dmz)?;
    one.program.kill()?;
    let two = Operator::start_alone(&dmz, "two", &[]).await?;
    two.leads().await;
    assert_eq!(all(&dmz)?, before);
    dmz.put::<ConfigMap>(json!({"metadata": {"name": "unrelated"}})).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(two.writes(&dmz)?, [""; 0]);
    assert_eq!(kept(&dmz).await?, [volume(1, Some(3))]);

    // Wanted again: it will deliver what it has.
    dmz.scale(2).await?;
    nothing_is_said(&dmz).await;
    // This time nobody has asked it before it was gone.
    dmz.scale(1).await?;
    dmz.says::<FilterPolicy>("default", "MailKept", "an unknown number of messages of postern-relay-1").await;
    assert_eq!(kept(&dmz).await?, [volume(1, None)]);
    dmz.api::<PersistentVolumeClaim>().delete("spool-postern-relay-1", &DeleteParams::default()).await?;
    nothing_is_said(&dmz).await;
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_list_claims_only_that_is_not_known() -> Result<()> {
    let dmz = Dmz::without_rights("kept-forbidden").await?;
    operator::admit(&dmz.client, &dmz.namespace).await?;
    let roles = dmz.api::<Role>();
    let mut role = roles.get("postern-operator").await?;
    let whole = role.rules.clone();
    let lists = |rule: &PolicyRule| rule.resources.iter().flatten().any(|it| it == "persistentvolumeclaims");
    role.rules.iter_mut().for_each(|rules| rules.retain(|rule| !lists(rule)));
    ensure!(role.rules != whole, "the chart's Role has no such right");
    let mut role = roles.replace("postern-operator", &PostParams::default(), &role).await?;
    dmz.anchor("postern-relay").await?;
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await?;
    let relay = Answers::start(serde_json::to_string(&enforcing(&published(&dmz).await))?).await;
    dmz.relay_pod("postern-relay-0", relay.address).await?;
    eventually("the relay enforces what is published last", async || {
        relay.say(&enforcing(&published(&dmz).await));
        let found = dmz.condition::<FilterPolicy>("default", "Ready").await?;
        ensure!(found["status"] == "True", "{found}");
        Ok(())
    })
    .await;
    let message = dmz.told::<FilterPolicy>("default", "MailKept", "Unknown", "Forbidden").await;
    assert!(message.contains("helm upgrade") && message.contains("cannot list resource"), "{message}");
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;

    role.rules = whole;
    roles.replace("postern-operator", &PostParams::default(), &role).await?;
    nothing_is_said(&dmz).await;
    Ok(())
}
