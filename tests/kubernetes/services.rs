//! A Service as an endpoint: the network path follows what is behind it.

use anyhow::ensure;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use postern_crds::RelayHost;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::{eventually, namespace};
use crate::dmz::Dmz;
use crate::operator::{self, USER};

/// A namespace with a Service `mail` in it.
struct Apps {
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    namespace: String,
}

impl Apps {
    async fn new(dmz: &Dmz) -> Self {
        let namespace = namespace(&dmz.client, "apps").await.unwrap();
        let services = Api::namespaced(dmz.client.clone(), &namespace);
        let slices = Api::namespaced(dmz.client.clone(), &namespace);
        Self { services, slices, namespace }
    }

    async fn service(&self, spec: Value) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mail"}, "spec": spec});
        let params = PatchParams::apply("user").force();
        self.services.patch("mail", &params, &Patch::Apply(&service)).await.unwrap();
    }

    /// As the controller would write it, which does not run here.
    async fn slice(&self, name: &str, service: &str, address: &str, port: u16) {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": false}}],
            "ports": [{"name": "smtp", "port": port, "protocol": "TCP"}],
        }))
        .unwrap();
        self.slices.create(&PostParams::default(), &slice).await.unwrap();
    }
}

/// Waits until the only rules of the host's policy are these.
async fn opens(dmz: &Dmz, rules: &Value) {
    eventually(&format!("the path is {rules}"), async || {
        let policy = dmz.api::<NetworkPolicy>().get("postern-host-mail").await?;
        let found = json!(policy.spec.unwrap_or_default().egress);
        ensure!(found == *rules, "{found}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_path_to_a_service_follows_its_selector_its_ports_and_its_end() {
    let dmz = Dmz::new("services").await.unwrap();
    let apps = Apps::new(&dmz).await;
    let endpoints = json!([{"service": {"name": "mail", "namespace": apps.namespace}}]);
    dmz.put::<RelayHost>(json!({"metadata": {"name": "mail"}, "spec": {"endpoints": endpoints}})).await.unwrap();
    let message = dmz.told::<RelayHost>("mail", "ResolvedRefs", "False", "ServiceNotFound").await;
    assert!(message.contains(&format!("there is no Service {}/mail", apps.namespace)), "{message}");

    let to = |selector: Value, port: u16| {
        let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": apps.namespace}});
        let peer = json!({"namespaceSelector": namespace, "podSelector": {"matchLabels": selector}});
        json!([{"ports": [{"port": port, "protocol": "TCP"}], "to": [peer]}])
    };
    let port = json!({"name": "smtp", "port": 25, "targetPort": 2525});
    apps.service(json!({"selector": {"app": "mail"}, "ports": [port]})).await;
    opens(&dmz, &to(json!({"app": "mail"}), 2525)).await;
    dmz.told::<RelayHost>("mail", "ResolvedRefs", "True", "ResolvedRefs").await;

    apps.service(json!({"selector": {"app": "mail", "version": "2"}, "ports": [port]})).await;
    opens(&dmz, &to(json!({"app": "mail", "version": "2"}), 2525)).await;

    // A port by its name is what the pods say that it is.
    let port = json!({"name": "smtp", "port": 25, "targetPort": "in-the-pod"});
    apps.service(json!({"selector": {"app": "mail", "version": "2"}, "ports": [port]})).await;
    dmz.told::<RelayHost>("mail", "ResolvedRefs", "False", "AddressUnknown").await;
    apps.slice("mail-1", "mail", "10.244.1.5", 1025).await;
    opens(&dmz, &to(json!({"app": "mail", "version": "2"}), 1025)).await;

    // What else happens in that namespace is nothing to this DMZ.
    dmz.settled().await;
    let before = operator::reconciles(&dmz.namespace);
    apps.slice("other-1", "other", "10.244.1.6", 1026).await;
    let also = json!({"metadata": {"name": "other"}, "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]}});
    apps.services.create(&PostParams::default(), &serde_json::from_value(also).unwrap()).await.unwrap();
    dmz.settled().await;
    assert_eq!(operator::reconciles(&dmz.namespace), before, "nobody was woken");
    apps.slice("mail-2", "mail", "10.244.1.7", 1027).await;
    let (first, second) = (to(json!({"app": "mail", "version": "2"}), 1025), json!({"port": 1027, "protocol": "TCP"}));
    let mut both = first;
    both[0]["ports"].as_array_mut().unwrap().push(second);
    opens(&dmz, &both).await;

    apps.services.delete("mail", &DeleteParams::default()).await.unwrap();
    dmz.told::<RelayHost>("mail", "ResolvedRefs", "False", "ServiceNotFound").await;
    eventually("the path is closed", async || {
        let policy = dmz.api::<NetworkPolicy>().get_opt("postern-host-mail").await?;
        ensure!(policy.is_none(), "the policy is still there");
        Ok(())
    })
    .await;
    let refused = ApiServer::shared().requests(USER, &apps.namespace).unwrap();
    assert!(refused.iter().all(|request| !request.ends_with(" 403")), "{refused:?}");
}

#[tokio::test]
async fn a_service_without_a_selector_is_its_addresses_and_another_name_is_no_target() {
    let dmz = Dmz::new("addresses").await.unwrap();
    let apps = Apps::new(&dmz).await;
    apps.service(json!({"ports": [{"name": "smtp", "port": 25}]})).await;
    apps.slice("mail-1", "mail", "192.0.2.9", 2525).await;
    let endpoints = json!([{"service": {"name": "mail", "namespace": apps.namespace}}]);
    dmz.put::<RelayHost>(json!({"metadata": {"name": "mail"}, "spec": {"endpoints": endpoints}})).await.unwrap();
    let to = json!([{"ipBlock": {"cidr": "192.0.2.9/32"}}]);
    opens(&dmz, &json!([{"ports": [{"port": 2525, "protocol": "TCP"}], "to": to}])).await;

    apps.services.delete("mail", &DeleteParams::default()).await.unwrap();
    dmz.told::<RelayHost>("mail", "ResolvedRefs", "False", "ServiceNotFound").await;
    apps.service(json!({"type": "ExternalName", "externalName": "mail.example.com"})).await;
    let message = dmz.told::<RelayHost>("mail", "ResolvedRefs", "False", "ContentInvalid").await;
    assert!(message.contains("ExternalName") && message.contains("mail.example.com"), "{message}");
    let policy = dmz.api::<NetworkPolicy>().get_opt("postern-host-mail").await.unwrap();
    assert!(policy.is_none(), "{policy:?}");
}
