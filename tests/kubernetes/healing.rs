//! One bad object: what it is told, that it stops no other, and that it heals without being touched.

use anyhow::ensure;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DeleteParams;
use postern_crds::{RelayDomain, RelayHost};
use postern_wire::{SETTINGS_FILE, SettingsFile};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::{Dmz, crds};

async fn quickstart(hint: &str) -> Dmz {
    let dmz = Dmz::new(hint).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    dmz
}

fn domain(name: &str, domains: &[&str], host: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"domains": domains, "deliverTo": [{"name": host}], "recipients": {"mode": "AcceptAll"}},
    })
}

fn host(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"endpoints": [{"host": {"address": address, "port": 25}}]}})
}

async fn settings(dmz: &Dmz) -> anyhow::Result<SettingsFile> {
    let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
    let text = map.data.unwrap_or_default().remove(SETTINGS_FILE).unwrap_or_default();
    Ok(SettingsFile::from_json(text.as_bytes())?)
}

#[tokio::test]
async fn a_dangling_reference_is_named_and_heals_when_its_target_appears() {
    let dmz = quickstart("dangling").await;
    dmz.put::<RelayDomain>(domain("late", &["late.example"], "not-yet")).await.unwrap();
    let message = dmz.told::<RelayDomain>("late", "ResolvedRefs", "False", "HostNotFound").await;
    assert!(message.contains("not-yet"), "{message}");
    dmz.told::<RelayDomain>("late", "Ready", "False", "UnresolvedRefs").await;
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;

    dmz.put::<RelayHost>(host("not-yet", "10.20.0.12")).await.unwrap();
    dmz.told::<RelayDomain>("late", "ResolvedRefs", "True", "ResolvedRefs").await;
}

#[tokio::test]
async fn the_path_of_a_deleted_host_closes_and_who_used_it_is_told() {
    let dmz = quickstart("deleted").await;
    let policies = dmz.api::<NetworkPolicy>();
    eventually("the path is open", async || Ok(policies.get("postern-host-smarthost").await?)).await;
    dmz.api::<RelayHost>().delete("smarthost", &DeleteParams::default()).await.unwrap();
    eventually("the path is closed", async || {
        ensure!(policies.get_opt("postern-host-smarthost").await?.is_none(), "the policy is still there");
        Ok(())
    })
    .await;
    let message = dmz.told::<RelayDomain>("example", "ResolvedRefs", "False", "HostNotFound").await;
    assert!(message.contains("smarthost"), "{message}");
    policies.get("postern-host-mailbox-server").await.unwrap();
}

#[tokio::test]
async fn of_two_that_claim_a_name_the_younger_loses_it_and_gets_it_when_the_older_goes() {
    let dmz = quickstart("conflict").await;
    dmz.put::<RelayDomain>(domain("zealot", &["example.com", "zealot.example"], "mailbox-server")).await.unwrap();
    let message = dmz.told::<RelayDomain>("zealot", "PartiallyInvalid", "True", "Conflicted").await;
    assert!(message.contains("example.com") && message.contains("RelayDomain"), "{message}");
    dmz.told::<RelayDomain>("zealot", "Accepted", "True", "Accepted").await;

    dmz.api::<RelayDomain>().delete("example", &DeleteParams::default()).await.unwrap();
    eventually("the name is the younger one's, and the condition gone", async || {
        let file = settings(&dmz).await?;
        ensure!(
            file.snapshot.domains[0].spec.names == ["example.com", "zealot.example"],
            "{:?}",
            file.snapshot.domains
        );
        ensure!(dmz.condition::<RelayDomain>("zealot", "PartiallyInvalid").await.is_err(), "still said");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_address_that_a_cluster_never_relays_to_is_refused() {
    let dmz = quickstart("loopback").await;
    dmz.put::<RelayHost>(host("inside", "127.0.0.1")).await.unwrap();
    let message = dmz.told::<RelayHost>("inside", "PartiallyInvalid", "True", "Invalid").await;
    assert!(message.contains("127.0.0.1"), "{message}");
    let policy = dmz.api::<NetworkPolicy>().get_opt("postern-host-inside").await.unwrap();
    assert!(policy.is_none(), "{policy:?}");
}

/// Makes the API server take an object that our types do not know, as one from another version of the CRD would be.
async fn put_undecodable(dmz: &Dmz) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/tls/properties/handshake/enum/-";
    let patch = json!([{"op": "add", "path": path, "value": "Telepathy"}]).to_string();
    let mut object = host("mailbox-server", "10.20.0.99");
    object["spec"]["tls"] = json!({"handshake": "Telepathy"});
    // Again and again: tests that run beside this one put the CRDs back, and a schema takes effect a moment later.
    eventually("the object is taken", async || {
        ApiServer::shared().kubectl(&["patch", "crd", "relayhosts.postern.io", "--type=json", "-p", &patch])?;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let path = format!("/apis/postern.io/v1alpha1/namespaces/{}/relayhosts/mailbox-server", dmz.namespace);
        let request = http::Request::patch(format!("{path}?fieldManager=user&force=true"));
        let request = request.header("content-type", "application/apply-patch+yaml");
        let mut body = object.clone();
        body["apiVersion"] = json!("postern.io/v1alpha1");
        body["kind"] = json!("RelayHost");
        let taken: Value = dmz.client.request(request.body(serde_json::to_vec(&body)?)?).await?;
        ensure!(taken["spec"]["tls"]["handshake"] == "Telepathy", "{taken}");
        Ok(())
    })
    .await;
    crds(&dmz.client).await.unwrap();
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_says_so_keeps_its_last_good_part_and_stops_no_other() {
    let dmz = quickstart("undecodable").await;
    eventually("the host is published", async || {
        let file = settings(&dmz).await?;
        ensure!(file.snapshot.hosts.iter().any(|host| host.name == "mailbox-server"), "{:?}", file.snapshot.hosts);
        Ok(())
    })
    .await;
    put_undecodable(&dmz).await;
    let message = dmz.told::<RelayHost>("mailbox-server", "Accepted", "False", "Invalid").await;
    assert!(message.contains("spec.tls.handshake: unknown variant `Telepathy`"), "{message}");
    assert!(message.contains("what it said at generation 1 stays in force"), "{message}");

    dmz.put::<RelayDomain>(domain("after", &["after.example"], "mailbox-server")).await.unwrap();
    dmz.told::<RelayDomain>("after", "Accepted", "True", "Accepted").await;
    let file = settings(&dmz).await.unwrap();
    let kept = file.snapshot.hosts.iter().find(|host| host.name == "mailbox-server").unwrap();
    assert_eq!((kept.generation, kept.spec.endpoints[0].address.as_str()), (1, "10.20.0.11"));

    // And what it was told is not written again and again.
    let before = dmz.settled().await;
    dmz.wake().await;
    assert_eq!(dmz.settled().await, before);

    dmz.put::<RelayHost>(json!({"metadata": {"name": "mailbox-server"}, "spec": {
        "endpoints": [{"host": {"address": "10.20.0.13", "port": 25}}], "tls": {"handshake": "STARTTLS"},
    }}))
    .await
    .unwrap();
    dmz.told::<RelayHost>("mailbox-server", "Accepted", "True", "Accepted").await;
}
