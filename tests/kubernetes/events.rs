//! What `kubectl describe` tells of an object.

use anyhow::{Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, PostParams};
use postern_crds::{RelayDomain, RelayHost};
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::operator::USER;
use crate::programmed::{Answers, enforcing, published};

/// The events that `kubectl describe` shows of an object, oldest first: `Warning HostNotFound message`.
fn described(dmz: &Dmz, kind: &str, name: &str) -> Result<Vec<String>> {
    let text = dmz.server.kubectl(&["describe", kind, name, "-n", &dmz.namespace])?;
    let (_, events) = text.split_once("\nEvents:").unwrap_or_default();
    let lines = events.lines().filter(|line| line.contains("postern-operator"));
    // Type, Reason, Age, From, Message.
    let told = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} {} {}", words[0], words[1], words[4..].join(" "))
    };
    Ok(lines.map(told).collect())
}

/// Waits until these are told of an object, and nothing else; each by its beginning.
async fn tells(dmz: &Dmz, kind: &str, name: &str, story: &[&str]) {
    eventually(&format!("{kind} {name} tells {story:?}"), async || {
        let told = described(dmz, kind, name)?;
        let same = told.len() == story.len() && told.iter().zip(story).all(|(told, begins)| told.starts_with(begins));
        ensure!(same, "{told:#?}");
        Ok(())
    })
    .await;
}

fn written(dmz: &Dmz) -> usize {
    let requests = dmz.server.requests(USER, &dmz.namespace).unwrap();
    requests.iter().filter(|request| request.starts_with("create events/")).count()
}

#[tokio::test]
async fn describe_tells_an_objects_story_and_a_second_look_tells_nothing() {
    let dmz = Dmz::new("story").await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    let late =
        json!({"domains": ["late.example"], "deliverTo": [{"name": "late"}], "recipients": {"mode": "AcceptAll"}});
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "late"}, "spec": late})).await.unwrap();
    let mut story = vec![
        "Warning HostNotFound spec.deliverTo: the RelayHost late does not exist",
        "Warning NoRelay there is no relay pod",
    ];
    tells(&dmz, "relaydomain", "late", &story).await;

    let host = json!({"endpoints": [{"host": {"address": "10.20.0.12"}}]});
    dmz.put::<RelayHost>(json!({"metadata": {"name": "late"}, "spec": host})).await.unwrap();
    story.push("Normal ResolvedRefs everything that it names was found");
    tells(&dmz, "relaydomain", "late", &story).await;

    dmz.settled().await;
    let relay = Answers::start(serde_json::to_string(&enforcing(&published(&dmz).await)).unwrap()).await;
    dmz.relay_pod("postern-relay-0", relay.address).await.unwrap();
    story.extend(["Normal Programmed 1/1 relays", "Normal Ready enforced by every ready relay"]);
    tells(&dmz, "relaydomain", "late", &story).await;

    dmz.settled().await;
    let before = written(&dmz);
    dmz.wake().await;
    dmz.settled().await;
    assert_eq!(written(&dmz), before, "{:#?}", described(&dmz, "relaydomain", "late"));
}

#[tokio::test]
async fn what_somebody_changed_is_put_back_and_told_once_with_who_it_was() {
    let dmz = Dmz::new("drift").await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NoRelay").await;
    dmz.settled().await;
    dmz.wake().await;
    let policies = dmz.api::<NetworkPolicy>();
    let open = r#"[{"op": "add", "path": "/spec/egress/-", "value": {}}]"#;
    for _ in 0..2 {
        let (namespace, manager) = (dmz.namespace.as_str(), "--field-manager=intruder");
        let args =
            ["patch", "networkpolicy", "postern-host-smarthost", "-n", namespace, manager, "--type=json", "-p", open];
        dmz.server.kubectl(&args).unwrap();
        eventually("the path is closed again", async || {
            let rules =
                policies.get("postern-host-smarthost").await?.spec.unwrap_or_default().egress.unwrap_or_default();
            ensure!(rules.len() == 1, "{rules:?}");
            Ok(())
        })
        .await;
    }
    let changed = "Warning DriftCorrected NetworkPolicy postern-host-smarthost was changed by \"intruder\", and is put back: spec.egress";
    tells(&dmz, "relayhost", "smarthost", &["Warning NoRelay", changed]).await;

    policies.delete("postern-default-deny", &DeleteParams::default()).await.unwrap();
    eventually("the isolation is back", async || Ok(policies.get("postern-default-deny").await?)).await;
    let deleted = "Warning DriftCorrected NetworkPolicy postern-default-deny was deleted, and is made again";
    tells(&dmz, "filterpolicy", "default", &["Warning NoRelay", deleted]).await;
}

#[tokio::test]
async fn without_the_right_to_events_everything_else_is_done() {
    let dmz = Dmz::new("silent").await.unwrap();
    let roles = dmz.api::<Role>();
    let mut role = roles.get("postern-operator").await.unwrap();
    role.rules.iter_mut().flatten().for_each(|rule| {
        rule.resources
            .iter_mut()
            .flatten()
            .filter(|resource| *resource == "events")
            .for_each(|it| *it = "none".to_owned());
    });
    roles.replace("postern-operator", &PostParams::default(), &role).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    // Events are sent beside the status, and a refused one may come a moment later.
    eventually("an event was refused", async || {
        let requests = dmz.server.requests(USER, &dmz.namespace)?;
        let is_refused = |request: &String| request.starts_with("create events") && request.ends_with(" 403");
        ensure!(requests.iter().any(is_refused), "{requests:?}");
        Ok(())
    })
    .await;
    assert_eq!(described(&dmz, "relaydomain", "example").unwrap(), [""; 0]);
}
