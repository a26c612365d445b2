//! The quickstart in a cluster: what becomes of it, and that nothing is written twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_wire::{SETTINGS_FILE, SettingsFile};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::operator::admit;

fn mailbox_server() -> SocketAddr {
    ([10, 20, 0, 11], 25).into()
}

async fn policies(dmz: &Dmz) -> BTreeMap<String, NetworkPolicy> {
    let list = dmz.api::<NetworkPolicy>().list(&ListParams::default()).await.unwrap();
    list.items.into_iter().map(|policy| (policy.metadata.name.clone().unwrap(), policy)).collect()
}

#[tokio::test]
async fn the_quickstart_becomes_settings_secrets_policies_and_status() {
    let dmz = Dmz::new("quickstart").await.unwrap();
    dmz.quickstart(mailbox_server()).await.unwrap();
    let domain = dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    assert_eq!(domain, "there is no relay pod");
    for condition in ["Accepted", "ResolvedRefs"] {
        dmz.told::<RelayDomain>("example", condition, "True", condition).await;
        dmz.told::<RelayHost>("mailbox-server", condition, "True", condition).await;
        dmz.told::<FilterPolicy>("default", condition, "True", condition).await;
    }
    let map = dmz.api::<ConfigMap>().get("postern-settings").await.unwrap();
    let file = SettingsFile::from_json(map.data.unwrap()[SETTINGS_FILE].as_bytes()).unwrap();
    let names: Vec<_> = file.snapshot.domains.iter().flat_map(|domain| &domain.spec.names).collect();
    assert_eq!(names, ["*.example.com", "example.com"]);
    let owner = &map.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("StatefulSet", "postern-relay"));
    dmz.api::<Secret>().get("postern-secrets").await.unwrap();

    let policies = policies(&dmz).await;
    let names: Vec<_> = policies.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "postern-default-deny",
            "postern-egress",
            "postern-host-mailbox-server",
            "postern-host-smarthost",
            "postern-ingress"
        ]
    );
    let egress = serde_json::to_value(&policies["postern-host-mailbox-server"]).unwrap()["spec"]["egress"].take();
    let expected =
        json!([{"ports": [{"port": 25, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.20.0.11/32"}}]}]);
    assert_eq!(egress, expected);

    let table = ApiServer::shared().kubectl(&["get", "relaydomains", "-n", &dmz.namespace]).unwrap();
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["NAME", "DOMAINS", "DELIVER", "TO", "READY", "RELAYS", "AGE"], "{table}");
    assert_eq!(cells[1][..4], ["example", "[\"example.com\",\"*.example.com\"]", "mailbox-server", "False"], "{table}");
}

#[tokio::test]
async fn a_second_reconcile_writes_nothing() {
    let dmz = Dmz::new("still").await.unwrap();
    dmz.quickstart(mailbox_server()).await.unwrap();
    dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NoRelay").await;
    let before = dmz.settled().await;
    assert!(before.iter().any(|write| write.starts_with("patch configmaps/postern-settings 20")), "{before:?}");
    dmz.wake().await;
    assert_eq!(dmz.settled().await, before);
}

/// An earlier one wrote a single policy for both directions.
#[tokio::test]
async fn the_policy_of_an_earlier_operator_goes_when_those_that_follow_it_are_there() {
    let dmz = Dmz::without_rights("upgraded").await.unwrap();
    dmz.anchor("postern-relay").await.unwrap();
    let relays = json!({"matchLabels": {"postern.io/relay": "true"}});
    let base = |name: &str, labels: Value| {
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"podSelector": relays, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
        })
    };
    dmz.put::<NetworkPolicy>(base("postern-base", json!({"app.kubernetes.io/managed-by": "postern"}))).await.unwrap();
    dmz.put::<NetworkPolicy>(base("postern-mine", json!({}))).await.unwrap();
    admit(&dmz.client, &dmz.namespace).await.unwrap();
    dmz.quickstart(mailbox_server()).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NoRelay").await;
    eventually("the old policy is gone", async || {
        anyhow::ensure!(!policies(&dmz).await.contains_key("postern-base"), "it is still there");
        Ok(())
    })
    .await;
    let names: Vec<_> = policies(&dmz).await.into_keys().filter(|name| !name.contains("host")).collect();
    assert_eq!(names, ["postern-default-deny", "postern-egress", "postern-ingress", "postern-mine"]);
    let writes = dmz.writes().unwrap();
    let at = |write: &str| writes.iter().position(|made| made.starts_with(write)).expect(write);
    let gone = at("delete networkpolicies/postern-base ");
    for name in ["postern-default-deny", "postern-egress", "postern-ingress"] {
        assert!(at(&format!("patch networkpolicies/{name} ")) < gone, "{writes:?}");
    }
}

#[tokio::test]
async fn what_somebody_else_changes_is_put_right() {
    let dmz = Dmz::new("drift").await.unwrap();
    dmz.quickstart(mailbox_server()).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "NoRelay").await;
    let right = policies(&dmz).await;
    let map = dmz.api::<ConfigMap>().get("postern-settings").await.unwrap().data;

    let opened = json!({"spec": {"egress": [{}], "policyTypes": ["Ingress", "Egress"]}});
    let kubectl = |args: &[&str]| {
        let all = [&["-n", dmz.namespace.as_str()], args].concat();
        ApiServer::shared().kubectl(&all).unwrap()
    };
    let opened = opened.to_string();
    kubectl(&["patch", "networkpolicy", "postern-default-deny", "--type=merge", "-p", &opened]);
    kubectl(&[
        "patch",
        "networkpolicy",
        "postern-host-smarthost",
        "--type=merge",
        "-p",
        r#"{"spec":{"ingress":[{}]}}"#,
    ]);
    kubectl(&["label", "networkpolicy", "postern-egress", "app.kubernetes.io/managed-by-"]);
    kubectl(&["delete", "networkpolicy", "postern-host-mailbox-server"]);
    kubectl(&["patch", "configmap", "postern-settings", "--type=merge", "-p", r#"{"data":{"settings.json":"{}"}}"#]);
    kubectl(&["delete", "secret", "postern-secrets"]);

    eventually("all is as it was", async || {
        let now = policies(&dmz).await;
        for (name, policy) in &right {
            let found = now.get(name).map(|found| (&found.spec, &found.metadata.labels));
            anyhow::ensure!(found == Some((&policy.spec, &policy.metadata.labels)), "{name}: {found:?}");
        }
        anyhow::ensure!(dmz.api::<ConfigMap>().get("postern-settings").await?.data == map, "the settings");
        dmz.api::<Secret>().get("postern-secrets").await?;
        Ok(())
    })
    .await;
}
