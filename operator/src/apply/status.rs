//! Writes what each object is told about itself, where that differs from what stands there.
//!
//! By a merge patch, not by server-side apply: that needs an object of the CRD's present schema, and an object that is not
//! (an old one, one edited past the validation) is the very one that must be told. Conditions of types that are not ours
//! stay. Several are written at a time, and for a limited time.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasSpec;
use postern_crds::condition::ConditionType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{FIELD_MANAGER, Failure, Loss, Writer, answered, to_value};
use crate::cache::Cache;
use crate::custom::Custom;
use crate::events::{reference, transitions};
use crate::status::{KindStatus, ObjectStatus};

/// Statuses that are being written at the same time.
const AT_ONCE: usize = 16;
/// After so long no further status is begun: what has changed meanwhile must not wait until thousands of objects are told.
/// The rest has its turn in the next reconcile, which follows at once.
const TELLING_MAX: Duration = Duration::from_secs(2);

impl Writer<'_> {
    /// Writes the statuses that differ, as many as there is time for.
    pub(crate) async fn write_status(&self, statuses: &[ObjectStatus]) -> Vec<Failure> {
        let ends = Instant::now() + TELLING_MAX;
        let left = AtomicBool::new(false);
        let mut failures = Vec::new();
        let mut writing = FuturesUnordered::new();
        for status in statuses {
            if writing.len() == AT_ONCE {
                failures.extend(writing.next().await.and_then(Result::err));
            }
            writing.push(self.write_one(status, ends, &left));
        }
        while let Some(written) = writing.next().await {
            failures.extend(written.err());
        }
        drop(writing);
        if left.into_inner() {
            self.caches.wake();
        }
        failures
    }

    async fn write_one(&self, told: &ObjectStatus, ends: Instant, left: &AtomicBool) -> Result<(), Failure> {
        let ObjectStatus { object, uid, status } = told;
        let (name, caches) = (&object.name, self.caches);
        let turn = Turn { ends, left };
        match status {
            KindStatus::Domain(status) => self.tell(&caches.domains, name, uid, status, turn).await,
            KindStatus::Host(status) => self.tell(&caches.hosts, name, uid, status, turn).await,
            KindStatus::Policy(status) => self.tell(&caches.policies, name, uid, status, turn).await,
        }
    }

    async fn tell<K, S>(
        &self,
        cache: &Cache<Custom<K>>,
        name: &str,
        uid: &str,
        status: &S,
        turn: Turn<'_>,
    ) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + HasSpec + Clone + 'static,
        K::Spec: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        S: Serialize,
    {
        let Some(live) = cache.get(name).filter(|live| live.metadata.uid.as_deref() == Some(uid)) else {
            return Ok(());
        };
        let wanted = to_value(status);
        if live.has_status(&wanted) {
            return Ok(());
        }
        let Some(patch) = patch(&wanted, &live.status()) else { return Ok(()) };
        if turn.is_over() {
            return Ok(());
        }
        let kind = K::kind(&());
        // With the uid: the object of this name may be another one by now, and is then refused as a conflict.
        let body = json!({"metadata": {"uid": uid}, "status": patch});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<Custom<K>>::namespaced(self.client.clone(), self.namespace);
        match answered(api.patch_status(name, &params, &Patch::Merge(&body))).await {
            Ok(told) => {
                info!(
                    namespace = self.namespace,
                    object = format!("{kind}/{name}"),
                    ready = ready(&told.status()),
                    "told"
                );
                self.metrics.wrote(&kind, "status");
                for news in transitions(&live.conditions().decoded(), &told.conditions().decoded()) {
                    self.events.tell(reference(&told), news);
                }
                cache.put(told);
                Ok(())
            }
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => {
                debug!(namespace = self.namespace, object = format!("{kind}/{name}"), %refusal, "gone meanwhile");
                Ok(())
            }
            Err(error) => Err(self.failed(format!("status of {kind} {name}"), Loss::OfDmz, error)),
        }
    }
}

/// How long statuses are written, and whether some are left.
struct Turn<'a> {
    ends: Instant,
    left: &'a AtomicBool,
}

impl Turn<'_> {
    fn is_over(&self) -> bool {
        let over = Instant::now() >= self.ends;
        self.left.fetch_or(over, Ordering::Relaxed);
        over
    }
}

fn ready(status: &Value) -> String {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == ConditionType::Ready.as_str());
    ready.map(|ready| format!("{} {}", ready["status"], ready["reason"]).replace('"', "")).unwrap_or_default()
}

/// The merge patch (RFC 7396) that makes `wanted` of `live`; `None` when there is nothing to change.
fn patch(wanted: &Value, live: &Value) -> Option<Value> {
    let mut wanted = wanted.clone();
    let ours = wanted.get_mut("conditions").and_then(Value::as_array_mut);
    if let (Some(ours), Some(found)) = (ours, live["conditions"].as_array()) {
        ours.extend(found.iter().filter(|condition| !is_ours(condition)).cloned());
        ours.sort_by_key(|condition| place(found, condition));
    }
    difference(&wanted, live)
}

fn is_ours(condition: &Value) -> bool {
    ConditionType::ALL.iter().any(|ours| condition["type"] == ours.as_str())
}

/// Where a condition stands now, so that their order alone is no reason to write.
fn place(found: &[Value], condition: &Value) -> usize {
    found.iter().position(|live| live["type"] == condition["type"]).unwrap_or(usize::MAX)
}

fn difference(wanted: &Value, live: &Value) -> Option<Value> {
    let (Some(fields), Some(found)) = (wanted.as_object(), live.as_object()) else {
        return (wanted != live).then(|| wanted.clone());
    };
    let changed = fields.iter().filter_map(|(key, value)| {
        let live = found.get(key).unwrap_or(&Value::Null);
        Some((key.clone(), difference(value, live)?))
    });
    let gone = found.keys().filter(|key| !fields.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let patch: Map<String, Value> = changed.chain(gone).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::patch;

    fn condition(of: &str, status: &str) -> Value {
        json!({"type": of, "status": status})
    }

    #[test]
    fn nothing_is_written_that_stands_there() {
        let wanted =
            json!({"observedGeneration": 1, "conditions": [condition("Ready", "True"), condition("Accepted", "True")]});
        let live =
            json!({"conditions": [condition("Accepted", "True"), condition("Ready", "True")], "observedGeneration": 1});
        assert_eq!(patch(&wanted, &live), None);
    }

    #[test]
    fn what_is_no_longer_said_is_taken_away() {
        let wanted = json!({"summary": {"deliverTo": "a"}, "conditions": [condition("Ready", "True")]});
        let live = json!({
            "summary": {"deliverTo": "a", "relays": "1/1"},
            "conditions": [condition("Ready", "True"), condition("PartiallyInvalid", "True")],
        });
        let expected = json!({"summary": {"relays": null}, "conditions": [condition("Ready", "True")]});
        assert_eq!(patch(&wanted, &live), Some(expected));
    }

    #[test]
    fn conditions_of_others_stay() {
        let wanted = json!({"conditions": [condition("Ready", "False")]});
        let live = json!({"conditions": [condition("Audited", "True"), condition("Ready", "True")]});
        let expected = json!({"conditions": [condition("Audited", "True"), condition("Ready", "False")]});
        assert_eq!(patch(&wanted, &live), Some(expected));
    }

    #[test]
    fn a_first_status_is_written_whole() {
        let wanted = json!({"observedGeneration": 1, "conditions": [condition("Ready", "True")]});
        assert_eq!(patch(&wanted, &Value::Null), Some(wanted.clone()));
    }
}
