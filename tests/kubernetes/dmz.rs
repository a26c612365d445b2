//! A DMZ in a namespace of its own: the CRDs, the operator's rights, the relay workload, and objects of our kinds.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Resource};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::{admin, eventually, namespace};
use crate::manifests::{apply, documents, files};
use crate::operator;

/// The three kinds, as the API server names them.
const CRDS: [&str; 3] = ["relaydomains.postern.io", "relayhosts.postern.io", "filterpolicies.postern.io"];

/// A namespace that is looked after.
pub(crate) struct Dmz {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// Our CRDs, established.
pub(crate) async fn crds(client: &Client) -> Result<()> {
    for file in files("crds/yaml")? {
        apply::<CustomResourceDefinition>(client, &documents(&file)?).await?;
    }
    for crd in CRDS {
        let api = Api::<CustomResourceDefinition>::all(client.clone());
        let established = await_condition(api, crd, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.context(crd)??;
    }
    Ok(())
}

impl Dmz {
    /// With the operator running and admitted, and the relay workload there.
    pub(crate) async fn new(hint: &str) -> Result<Self> {
        let dmz = Self::without_rights(hint).await?;
        operator::admit(&dmz.client, &dmz.namespace).await?;
        dmz.anchor("postern-relay").await?;
        Ok(dmz)
    }

    /// With the operator running, but without any right in the namespace; and without a relay workload.
    pub(crate) async fn without_rights(hint: &str) -> Result<Self> {
        let client = admin().await?;
        crds(&client).await?;
        operator::running(&client).await?;
        let namespace = namespace(&client, hint).await?;
        Ok(Self { server: ApiServer::shared(), client, namespace })
    }

    /// On the API server where no operator runs: with the relay workload.
    pub(crate) async fn apart(hint: &str) -> Result<Self> {
        admin().await?;
        let server = tokio::task::spawn_blocking(ApiServer::apart).await?;
        let client = server.ready().await?;
        crds(&client).await?;
        let namespace = namespace(&client, hint).await?;
        let dmz = Self { server, client, namespace };
        dmz.anchor("postern-relay").await?;
        Ok(dmz)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The relay workload, as charts/relay makes it but for what nobody here looks at.
    pub(crate) async fn anchor(&self, name: &str) -> Result<StatefulSet> {
        let labels = json!({"postern.io/relay": "true"});
        let container = json!({"name": "relay", "image": "postern-relay"});
        let (modes, size) = (["ReadWriteOnce"], json!({"requests": {"storage": "1Gi"}}));
        let spool = json!({"metadata": {"name": "spool"}, "spec": {"accessModes": modes, "resources": size}});
        let workload = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "serviceName": name,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                "volumeClaimTemplates": [spool],
            },
        }))?;
        Ok(self.api::<StatefulSet>().create(&PostParams::default(), &workload).await?)
    }

    /// Applies an object as a user would.
    pub(crate) async fn put<K>(&self, object: Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let mut object = object;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let name = object["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
        let params = PatchParams::apply("user").force();
        self.api::<K>().patch(&name, &params, &Patch::Apply(&object)).await.with_context(|| name.clone())
    }

    /// The quickstart, with `mailbox_server` in place of the loopback address that a cluster refuses.
    pub(crate) async fn quickstart(&self, mailbox_server: SocketAddr) -> Result<()> {
        for file in files("crds/examples/quickstart")? {
            for document in documents(&file)? {
                self.put_any(aimed(document, mailbox_server)).await?;
            }
        }
        Ok(())
    }

    async fn put_any(&self, document: Value) -> Result<()> {
        match document["kind"].as_str() {
            Some("RelayDomain") => self.put::<RelayDomain>(document).await.map(drop),
            Some("RelayHost") => self.put::<RelayHost>(document).await.map(drop),
            Some("FilterPolicy") => self.put::<FilterPolicy>(document).await.map(drop),
            Some("ConfigMap") => self.put::<ConfigMap>(document).await.map(drop),
            other => bail!("the quickstart has an object of kind {other:?}"),
        }
    }

    /// A relay pod: there is no kubelet, so the test says what one would.
    pub(crate) async fn relay_pod(&self, name: &str, status_port: SocketAddr) -> Result<()> {
        let port = json!({"name": "http", "containerPort": status_port.port()});
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"postern.io/relay": "true"}},
            "spec": {"nodeName": "none", "containers": [{"name": "relay", "image": "postern-relay", "ports": [port]}]},
        }))?;
        self.api::<Pod>().create(&PostParams::default(), &pod).await?;
        let ip = status_port.ip().to_string();
        let status = json!({"status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.api::<Pod>().patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
        Ok(())
    }

    /// The volume claim of a relay: there is no controller of StatefulSets, so the test does what one would.
    pub(crate) async fn claim(&self, relay: &str) -> Result<()> {
        let claim = json!({"metadata": {"name": format!("spool-{relay}")}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }});
        self.put::<PersistentVolumeClaim>(claim).await.map(drop)
    }

    /// How many relays there are to be.
    pub(crate) async fn scale(&self, replicas: u32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api::<StatefulSet>().patch("postern-relay", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The status of a condition once it is `status` with this reason; its message.
    pub(crate) async fn told<K>(&self, name: &str, condition: &str, status: &str, reason: &str) -> String
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
    {
        let what = format!("{} {name} has {condition}={status}, reason {reason}", K::kind(&()));
        eventually(&what, async || {
            let found = self.condition::<K>(name, condition).await?;
            ensure!(found["status"] == status && found["reason"] == reason, "{found}");
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits until the message of a condition contains this.
    pub(crate) async fn says<K>(&self, name: &str, condition: &str, text: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        eventually(&format!("{} {name} says about {condition}: {text}", K::kind(&())), async || {
            let found = self.condition::<K>(name, condition).await?;
            ensure!(found["message"].as_str().is_some_and(|message| message.contains(text)), "{found}");
            Ok(())
        })
        .await;
    }

    /// A condition as it is, of an object whether or not our types can decode it.
    pub(crate) async fn condition<K>(&self, name: &str, condition: &str) -> Result<Value>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let path = format!("{}/{name}", K::url_path(&(), Some(&self.namespace)));
        let object: Value = self.client.request(http::Request::get(path).body(Vec::new())?).await?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let generation = &object["metadata"]["generation"];
        let found = conditions.into_iter().find(|found| found["type"] == condition);
        let found = found.with_context(|| format!("no condition {condition} in {}", object["status"]))?;
        ensure!(found["observedGeneration"] == *generation, "{found} is not about generation {generation}");
        Ok(found)
    }

    /// The writes that the operator has made here.
    pub(crate) fn writes(&self) -> Result<Vec<String>> {
        self.writes_of(operator::USER)
    }

    /// The writes that this user has made here, but for the events that tell of them.
    pub(crate) fn writes_of(&self, user: &str) -> Result<Vec<String>> {
        let mut requests = self.server.requests(user, &self.namespace)?;
        requests.retain(|request| ["create", "update", "patch", "delete"].iter().any(|verb| request.starts_with(verb)));
        requests.retain(|request| !request.contains(" events"));
        Ok(requests)
    }

    /// The writes that the operator has made here, once it makes no more.
    pub(crate) async fn settled(&self) -> Vec<String> {
        let mut before = Vec::new();
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let writes = self.writes().unwrap();
            if writes == before && !writes.is_empty() {
                return writes;
            }
            before = writes;
        }
        panic!("the operator goes on writing: {} writes, the last: {:?}", before.len(), before.last());
    }

    /// Wakes the namespace by a change without a meaning, and waits until the operator has looked after it.
    pub(crate) async fn wake(&self) {
        let before = operator::reconciles(&self.namespace);
        let unrelated = json!({"metadata": {"name": "unrelated"}, "data": {"before": before.to_string()}});
        self.put::<ConfigMap>(unrelated).await.unwrap();
        eventually("the operator looks after the namespace", async || {
            ensure!(operator::reconciles(&self.namespace) > before, "it has not since");
            Ok(())
        })
        .await;
    }
}

/// A document of the quickstart, with this server instead of the built-in sink on a loopback address.
fn aimed(mut document: Value, server: SocketAddr) -> Value {
    if let Some(endpoints) = document.pointer_mut("/spec/endpoints").and_then(Value::as_array_mut) {
        for endpoint in endpoints {
            endpoint["host"] = json!({"address": server.ip().to_string(), "port": server.port()});
        }
    }
    document
}
