//! How mail leaves, as the API server sees it: the path to the Internet, and the login at a smarthost.

use anyhow::ensure;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use postern_crds::{RelayDomain, RelayHost};
use serde_json::json;

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;

async fn small_dmz(hint: &str) -> Dmz {
    let dmz = Dmz::new(hint).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    dmz
}

#[tokio::test]
async fn mail_that_leaves_directly_has_a_path_for_as_long_as_its_domain_says_so() {
    let dmz = small_dmz("direct").await;
    let policies = dmz.api::<NetworkPolicy>();
    assert!(policies.get_opt("postern-domain-example").await.unwrap().is_none(), "a smarthost needs no such path");
    let without_via = r#"[{"op": "remove", "path": "/spec/outbound/via"}]"#;
    let patch = ["patch", "rd", "example", "-n", &dmz.namespace, "--type=json", "-p", without_via];
    ApiServer::shared().kubectl(&patch).unwrap();
    let policy = eventually("the path is open", async || Ok(policies.get("postern-domain-example").await?)).await;
    let owner = &policy.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("RelayDomain", "example"));
    let spec = serde_json::to_value(&policy.spec).unwrap();
    assert_eq!(spec["podSelector"], json!({"matchLabels": {"postern.io/relay": "true"}}));
    assert_eq!(spec["egress"][0]["ports"], json!([{"port": 25, "protocol": "TCP"}]));
    let blocks = [&spec["egress"][0]["to"][0]["ipBlock"], &spec["egress"][0]["to"][1]["ipBlock"]];
    assert_eq!([&blocks[0]["cidr"], &blocks[1]["cidr"]], [&json!("0.0.0.0/0"), &json!("::/0")]);
    for (block, own) in [(0, "10.0.0.0/8"), (0, "169.254.0.0/16"), (1, "fc00::/7")] {
        assert!(blocks[block]["except"].as_array().unwrap().contains(&json!(own)), "{spec}");
    }
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;

    let again = r#"[{"op": "add", "path": "/spec/outbound/via", "value": [{"name": "smarthost"}]}]"#;
    let patch = ["patch", "rd", "example", "-n", &dmz.namespace, "--type=json", "-p", again];
    ApiServer::shared().kubectl(&patch).unwrap();
    eventually("the path is closed", async || {
        ensure!(policies.get_opt("postern-domain-example").await?.is_none(), "the policy is still there");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_login_is_published_beside_the_settings_and_told_when_it_is_missing() {
    let dmz = small_dmz("login").await;
    let host = json!({"metadata": {"name": "smarthost"}, "spec": {
        "endpoints": [{"host": {"address": "10.20.0.12", "port": 587}}],
        "tls": {"verification": "Verified", "serverName": "smtp.example.net"},
        "auth": {"secretRef": {"name": "smarthost-login"}},
    }});
    dmz.put::<RelayHost>(host).await.unwrap();
    let message = dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "False", "SecretNotFound").await;
    assert!(message.contains("spec.auth.secretRef: the Secret smarthost-login does not exist"), "{message}");

    let password = "correct horse battery staple";
    let login = json!({"metadata": {"name": "smarthost-login"}, "type": "kubernetes.io/basic-auth",
        "stringData": {"username": "contoso", "password": password, "else": "not asked for"}});
    dmz.put::<Secret>(login).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "True", "ResolvedRefs").await;
    let files = eventually("the login is published", async || {
        let files = dmz.api::<Secret>().get("postern-secrets").await?.data.unwrap_or_default();
        ensure!(files.len() == 2, "{:?}", files.keys());
        Ok(files)
    })
    .await;
    assert!(files.values().any(|content| content.0 == password.as_bytes()));
    let settings = dmz.api::<ConfigMap>().get("postern-settings").await.unwrap().data.unwrap().remove("settings.json");
    let settings = settings.unwrap();
    assert!(files.keys().all(|file| settings.contains(file)), "{settings}");
    assert!(!settings.contains(password) && !settings.contains("contoso"), "{settings}");

    let row = ApiServer::shared().kubectl(&["get", "rh", "smarthost", "-n", &dmz.namespace, "--no-headers"]).unwrap();
    assert_eq!(row.split_whitespace().nth(1), Some("10.20.0.12:587"), "{row}");
}
