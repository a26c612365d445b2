//! What the operator may do, what it does without a right, and that it takes nothing that is not its own.

use anyhow::ensure;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use serde_json::json;

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::operator::{self, USER};
use crate::programmed::{Answers, enforcing, published};

#[tokio::test]
async fn a_namespace_that_it_may_not_read_is_said_on_each_object_and_heals_with_the_role() {
    let dmz = Dmz::without_rights("forbidden").await.unwrap();
    dmz.anchor("postern-relay").await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    let message = dmz.told::<RelayDomain>("example", "ResolvedRefs", "Unknown", "Forbidden").await;
    assert!(message.contains(&format!("no relay chart is installed in namespace {} ", dmz.namespace)), "{message}");
    assert!(message.contains("cannot list resource"), "{message}");
    let message = dmz.told::<RelayDomain>("example", "Programmed", "Unknown", "Forbidden").await;
    assert!(!message.contains("cannot list resource"), "twice: {message}");
    dmz.told::<FilterPolicy>("default", "Ready", "Unknown", "UnresolvedRefs").await;
    let requests = ApiServer::shared().requests(USER, &dmz.namespace).unwrap();
    let refused = requests.iter().filter(|request| request.ends_with(" 403")).count();
    assert!(refused < 40, "a hot loop: {refused} refused requests");

    operator::admit(&dmz.client, &dmz.namespace).await.unwrap();
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    dmz.api::<ConfigMap>().get("postern-settings").await.unwrap();
}

#[tokio::test]
async fn its_rights_suffice_and_reach_no_further_than_is_written_beside_them() {
    let dmz = Dmz::new("rights").await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    eventually("all is written", async || Ok(dmz.api::<ConfigMap>().get("postern-settings").await?)).await;
    let requests = ApiServer::shared().requests(USER, &dmz.namespace).unwrap();
    let refused: Vec<_> = requests.iter().filter(|request| request.ends_with(" 403")).collect();
    assert!(refused.is_empty(), "{refused:?}");

    let may = async |verb: &str, group: &str, resource: &str, name: &str, namespace: &str| {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            name: (!name.is_empty()).then(|| name.to_owned()),
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(USER.to_owned()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(dmz.client.clone());
        api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    };
    let here = dmz.namespace.as_str();
    assert!(may("patch", "", "secrets", "postern-secrets", here).await, "the review itself works");
    for (verb, group, resource, name, namespace) in [
        ("list", "", "secrets", "", ""),
        ("list", "", "configmaps", "", ""),
        ("get", "", "secrets", "any", "kube-system"),
        ("patch", "", "secrets", "any", here),
        ("delete", "", "secrets", "postern-secrets", here),
        ("patch", "", "configmaps", "any", here),
        ("delete", "", "configmaps", "postern-settings", here),
        ("delete", "", "configmaps", "any", here),
        ("patch", "", "configmaps", "postern-settings-8", here),
        ("create", "", "pods", "", here),
        ("patch", "", "pods", "postern-relay-0", here),
        ("create", "", "pods/exec", "", here),
        ("delete", "", "persistentvolumeclaims", "spool-postern-relay-0", here),
        ("patch", "apps", "statefulsets", "postern-relay", here),
        ("patch", "postern.io", "relayhosts", "smarthost", here),
        ("create", "rbac.authorization.k8s.io", "rolebindings", "", here),
        ("impersonate", "", "users", "", ""),
    ] {
        assert!(
            !may(verb, group, resource, name, namespace).await,
            "{verb} {group}/{resource} {name} in {namespace:?}"
        );
    }
}

#[tokio::test]
async fn without_the_right_to_wake_a_kubelet_the_settings_are_late_and_status_says_why() {
    let dmz = Dmz::new("late").await.unwrap();
    let roles = dmz.api::<Role>();
    let mut role = roles.get("postern-operator").await.unwrap();
    let whole = role.rules.clone();
    let wakes = |rule: &PolicyRule| rule.resources.iter().flatten().any(|resource| resource == "pods/status");
    role.rules.iter_mut().for_each(|rules| rules.retain(|rule| !wakes(rule)));
    let mut role = roles.replace("postern-operator", &PostParams::default(), &role).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    let first = published(&dmz).await;
    let relay = Answers::start(serde_json::to_string(&enforcing(&first)).unwrap()).await;
    dmz.relay_pod("postern-relay-0", relay.address).await.unwrap();
    dmz.told::<RelayDomain>("example", "Programmed", "True", "Programmed").await;

    let change = async |recipient: &str| {
        let data = json!({"addresses": format!("{recipient}@example.com\n")});
        dmz.put::<ConfigMap>(json!({"metadata": {"name": "example-recipients"}, "data": data})).await.unwrap();
        dmz.told::<RelayDomain>("example", "Programmed", "False", "Pending").await
    };
    let message = change("dora").await;
    assert!(message.contains("the kubelet of Pod postern-relay-0 could not be told of it"), "{message}");
    assert!(
        message.contains("about a minute") && message.contains("cannot patch resource \"pods/status\""),
        "{message}"
    );
    // A minute later.
    relay.say(&enforcing(&published(&dmz).await));
    dmz.told::<RelayDomain>("example", "Programmed", "True", "Programmed").await;

    role.rules = whole;
    roles.replace("postern-operator", &PostParams::default(), &role).await.unwrap();
    eventually("the kubelet is woken, and nothing more is said", async || {
        let message = change("emil").await;
        ensure!(!message.contains("kubelet"), "{message}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_somebody_else_holds_under_our_names_is_never_overwritten() {
    let dmz = Dmz::new("taken").await.unwrap();
    let maps = dmz.api::<ConfigMap>();
    dmz.put::<ConfigMap>(json!({"metadata": {"name": "postern-settings"}, "data": {"mine": "all mine"}}))
        .await
        .unwrap();
    let mine = json!({"metadata": {"name": "postern-host-smarthost"}, "spec": {"podSelector": {}}});
    dmz.put::<NetworkPolicy>(mine).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();

    let message = dmz.told::<FilterPolicy>("default", "Programmed", "False", "NameTaken").await;
    assert!(message.contains("ConfigMap postern-settings"), "{message}");
    let message = dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NameTaken").await;
    assert!(message.contains("NetworkPolicy postern-host-smarthost"), "{message}");
    let writes = dmz.writes().unwrap();
    let touched = |name: &str| writes.iter().any(|write| write.contains(name));
    assert!(touched("networkpolicies/postern-default-deny"), "{writes:?}");
    assert!(
        !touched("configmaps/postern-settings") && !touched("networkpolicies/postern-host-smarthost"),
        "{writes:?}"
    );
    assert_eq!(maps.get("postern-settings").await.unwrap().data.unwrap()["mine"], "all mine");

    maps.delete("postern-settings", &DeleteParams::default()).await.unwrap();
    dmz.api::<NetworkPolicy>().delete("postern-host-smarthost", &DeleteParams::default()).await.unwrap();
    dmz.told::<FilterPolicy>("default", "Programmed", "False", "NoRelay").await;
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NoRelay").await;
}

#[tokio::test]
async fn without_a_relay_workload_nothing_but_status_is_written() {
    let dmz = Dmz::without_rights("anchorless").await.unwrap();
    operator::admit(&dmz.client, &dmz.namespace).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    let message = dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    assert!(message.contains("no StatefulSet in this namespace is labelled postern.io/relay"), "{message}");
    let writes = dmz.writes().unwrap();
    assert!(writes.iter().all(|write| write.contains("/status ")), "{writes:?}");

    let anchor = dmz.anchor("any-name").await.unwrap();
    eventually("all is written and owned", async || {
        let policies = dmz.api::<NetworkPolicy>().list(&ListParams::default()).await?;
        ensure!(policies.items.len() == 5, "{} policies", policies.items.len());
        let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
        ensure!(map.metadata.owner_references.unwrap_or_default()[0].uid == anchor.metadata.uid.clone().unwrap());
        Ok(())
    })
    .await;
}
