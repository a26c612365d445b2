//! Writes what was rendered: I/O that decides nothing.
//!
//! In this order: the isolation of the relays; without it nothing more. The paths through it. What the settings refer to,
//! then the settings: of several parts the one that names the others last, and no part goes before that. Then the relays'
//! kubelets are woken (and later those again whose relays do not follow), and what is no longer wanted goes. Each object is
//! compared with the cache first and sent only when it differs, by server-side apply with the field manager
//! [`FIELD_MANAGER`]. A write that fails becomes a [`Failure`] and stops only what must not happen without it.

mod applied;
mod status;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use postern_wire::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::drift;
use crate::events::{self, Events};
use crate::gather::{Caches, is_ours};
use crate::inputs::{Kind, ObjectRef, WrittenKind};
use crate::metrics::Metrics;
use crate::problem::DEFAULT_POLICY;
pub(crate) use applied::Applied;

use crate::render::{DIGEST_ANNOTATION, ISOLATION, REMINDER_ANNOTATION, Rendered, is_reserved};

/// The owner, to the API server, of the fields that the operator sets.
pub const FIELD_MANAGER: &str = "postern";

/// For one request: a server that is cut off says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A write that the API server did not take.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `NetworkPolicy postern-host-exchange-a`
    pub(crate) object: String,
    pub(crate) loss: Loss,
    pub(crate) error: kube::Error,
}

/// What is lost by a write that fails.
#[derive(Debug)]
pub(crate) enum Loss {
    /// What this object says is not in force.
    Of(ObjectRef),
    /// Something of the whole DMZ is not.
    OfDmz,
    /// Time: it comes into force by itself, in about a minute.
    Time,
}

impl Failure {
    /// Whether only a change (of rights, of the object) can make it succeed, and not time.
    pub(crate) fn is_permanent(&self) -> bool {
        is_permanent(&self.error)
    }

    /// Whether there is nothing to try again: what was to be hastened has come by itself by then.
    pub(crate) fn is_past(&self) -> bool {
        matches!(self.loss, Loss::Time) && self.is_permanent()
    }
}

/// Whether time alone will not heal this.
pub(crate) fn is_permanent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405 | 413 | 415 | 422))
}

/// One namespace to write to.
pub(crate) struct Writer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) caches: &'a Caches,
    pub(crate) applied: &'a Applied,
    pub(crate) metrics: &'a Metrics,
    pub(crate) events: &'a Events,
}

impl Writer<'_> {
    /// Writes what differs from what is there.
    pub(crate) async fn apply(&self, rendered: &Rendered) -> Vec<Failure> {
        let mut failures = Vec::new();
        let Rendered { settings, hold: _, network_policies, secret, config_maps, problems: _ } = rendered;
        let policies = network_policies.as_deref().unwrap_or_default();
        let (isolation, paths): (Vec<_>, Vec<_>) = policies.iter().partition(|policy| is_isolation(policy));
        for policy in isolation {
            failures.extend(self.write(&self.caches.network_policies, closed(policy)).await.err());
        }
        if !failures.is_empty() {
            return failures;
        }
        for policy in paths {
            failures.extend(self.write(&self.caches.network_policies, closed(policy)).await.err());
        }
        if let Some(secret) = secret
            && let Err(failure) = self.write(&self.caches.secrets, secret.clone()).await
        {
            failures.push(failure);
            return failures;
        }
        if let Some(config_maps) = config_maps {
            self.publish(config_maps, &settings.digest, &mut failures).await;
        }
        if network_policies.is_some() {
            failures.extend(self.sweep(&self.caches.network_policies, WrittenKind::NetworkPolicy, policies).await);
        }
        failures
    }

    /// Writes the settings. None of them is deleted before the one that names the others is written.
    async fn publish(&self, config_maps: &[ConfigMap], digest: &Digest, failures: &mut Vec<Failure>) {
        for config_map in config_maps {
            if let Err(failure) = self.write(&self.caches.config_maps, config_map.clone()).await {
                failures.push(failure);
                return;
            }
        }
        self.wake_relays(digest, failures).await;
        failures.extend(self.sweep(&self.caches.config_maps, WrittenKind::ConfigMap, config_maps).await);
    }

    async fn write<K>(&self, cache: &Cache<K>, wanted: K) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let (kind, name) = (K::kind(&()), wanted.name_any());
        let mut body = to_value(&wanted);
        let (object, content) = (format!("{kind} {name}"), Digest::of_bytes(body.to_string().as_bytes()));
        let live = cache.get(&name);
        if live.as_ref().is_some_and(|live| !drift::differs(&body, &to_value(&**live))) {
            self.applied.stands(object, content);
            return Ok(());
        }
        let drifted = self.applied.has_drifted(&object, &content).then(|| drift::news(&object, &body, live.as_deref()));
        body["apiVersion"] = json!(K::api_version(&()));
        body["kind"] = json!(kind);
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match answered(api.patch(&name, &params, &Patch::Apply(&body))).await {
            Ok(live) => {
                info!(namespace = self.namespace, object = format!("{kind}/{name}"), "written");
                self.metrics.wrote(&kind, "apply");
                cache.put(live);
                if let Some(news) = drifted
                    && self.applied.is_news(&object)
                {
                    self.events.tell(self.concerned(&wanted), news);
                }
                self.applied.stands(object, content);
                Ok(())
            }
            Err(error) => {
                let loss = owner(&wanted).map_or(Loss::OfDmz, Loss::Of);
                Err(self.failed(object, loss, error))
            }
        }
    }

    /// On which object it is told that this one was put back: its owner, or where all stands that concerns the whole DMZ.
    fn concerned<K: Resource>(&self, object: &K) -> ObjectReference {
        let default = || self.caches.policies.get(DEFAULT_POLICY).map(|policy| events::reference(&*policy));
        let default = owner(object).is_none().then(default).flatten();
        let owners = object.meta().owner_references.as_deref().unwrap_or_default();
        default.or_else(|| Some(events::owner_reference(self.namespace, owners.first()?))).unwrap_or_default()
    }

    /// Deletes the objects of ours that are no longer wanted.
    async fn sweep<K>(&self, cache: &Cache<K>, kind: WrittenKind, wanted: &[K]) -> Vec<Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let wanted: BTreeSet<&str> = wanted.iter().filter_map(|object| object.meta().name.as_deref()).collect();
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let mut failures = Vec::new();
        for object in cache.all() {
            let name = object.name_any();
            let ours = is_reserved(kind, &name) && is_ours(object.meta());
            if !ours || wanted.contains(name.as_str()) || object.meta().deletion_timestamp.is_some() {
                continue;
            }
            let only_this = Preconditions { uid: object.uid(), resource_version: None };
            match answered(api.delete(&name, &DeleteParams::default().preconditions(only_this))).await {
                Ok(_) => {
                    info!(namespace = self.namespace, object = format!("{kind}/{name}"), "deleted");
                    self.metrics.wrote(&kind.to_string(), "delete");
                    cache.forget(&name);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => cache.forget(&name),
                Err(error) => failures.push(self.failed(format!("{kind} {name}"), Loss::OfDmz, error)),
            }
        }
        failures
    }

    /// A kubelet refreshes a pod's volumes at once when the pod changes, and else within a minute or so. A pod that
    /// may not be marked gets its settings all the same, later.
    async fn wake_relays(&self, digest: &Digest, failures: &mut Vec<Failure>) {
        for pod in self.caches.pods.all() {
            if !is_marked(&pod, digest) && pod.metadata.deletion_timestamp.is_none() {
                failures.extend(self.mark(&pod, json!({DIGEST_ANNOTATION: digest})).await.err());
            }
        }
    }

    /// Changes these pods once more, for their relays have not followed the settings with this digest. Not one that could
    /// not be marked with it: that is told already.
    pub(crate) async fn remind_relays(&self, pods: &[String], digest: &Digest) -> Vec<Failure> {
        let mut failures = Vec::new();
        for pod in pods.iter().filter_map(|name| self.caches.pods.get(name)).filter(|pod| is_marked(pod, digest)) {
            let reminders = pod.annotations().get(REMINDER_ANNOTATION).and_then(|number| number.parse::<u32>().ok());
            let next = reminders.unwrap_or_default().wrapping_add(1).to_string();
            failures.extend(self.mark(&pod, json!({REMINDER_ANNOTATION: next})).await.err());
        }
        failures
    }

    async fn mark(&self, pod: &Pod, annotations: Value) -> Result<(), Failure> {
        let (name, mark) = (pod.name_any(), json!({"metadata": {"annotations": annotations}}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<Pod>::namespaced(self.client.clone(), self.namespace);
        match answered(api.patch_status(&name, &params, &Patch::Merge(&mark))).await {
            Ok(live) => {
                self.metrics.wrote("Pod", "mark");
                self.caches.pods.put(live);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(self.failed(format!("Pod {name}"), Loss::Time, error)),
        }
    }

    fn failed(&self, object: String, loss: Loss, error: kube::Error) -> Failure {
        warn!(namespace = self.namespace, object, %error, "cannot be written");
        Failure { object, loss, error }
    }
}

/// What the API server answers, or that it did not in time.
async fn answered<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let answer = timeout(ANSWER_WITHIN, request).await;
    answer.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))))
}

fn is_marked(pod: &Pod, digest: &Digest) -> bool {
    pod.annotations().get(DIGEST_ANNOTATION).is_some_and(|marked| marked == digest.as_str())
}

fn is_isolation(policy: &NetworkPolicy) -> bool {
    policy.metadata.name.as_deref().is_some_and(|name| ISOLATION.contains(&name))
}

/// The policy with both lists of rules there, if empty: server-side apply takes away what somebody added only from a field
/// that we set.
fn closed(policy: &NetworkPolicy) -> NetworkPolicy {
    let mut policy = policy.clone();
    if let Some(spec) = &mut policy.spec {
        spec.ingress.get_or_insert_default();
        spec.egress.get_or_insert_default();
    }
    policy
}

/// The object of one of our kinds that owns this one.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    let kinds = [Kind::RelayDomain, Kind::RelayHost, Kind::FilterPolicy];
    owners.iter().find_map(|owner| {
        let kind = kinds.into_iter().find(|kind| kind.as_str() == owner.kind)?;
        Some(ObjectRef::new(kind, &owner.name))
    })
}

#[expect(clippy::expect_used, reason = "serialising a Kubernetes object into memory has no way to fail")]
fn to_value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("an object serialises")
}
