//! Whether an object is as it should be, so that nothing is written which is already there; and if it is not, what of it
//! is not, and who has changed it. Pure.

use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use crate::apply::FIELD_MANAGER;
use crate::events::News;
use crate::problem::quoted;

/// The reason of the event that tells that something was put back.
const REASON: &str = "DriftCorrected";
/// Fields that are named; the rest is counted.
const FIELDS_SHOWN_MAX: usize = 5;

/// Whether `live` is another object than `wanted`.
///
/// What others have added to the metadata or the data is not a difference: server-side apply leaves it to its owners. In
/// the `spec` anything more is one, for a rule that somebody adds to a NetworkPolicy opens a path.
pub(crate) fn differs(wanted: &Value, live: &Value) -> bool {
    let (spec, live_spec) = (&wanted["spec"], &live["spec"]);
    lacks(wanted, live) || lacks(live_spec, spec)
}

/// What is told when an object that was as it should be is not any more, and was put back. Names of fields, never values.
pub(crate) fn news<K: Resource + Serialize>(object: &str, wanted: &Value, live: Option<&K>) -> News {
    let message = match live {
        None => format!("{object} was deleted, and is made again"),
        Some(live) => {
            let fields = fields(wanted, &serde_json::to_value(live).unwrap_or_default());
            let by = changed_by(live).map(|manager| format!(" by {}", quoted(manager))).unwrap_or_default();
            format!("{object} was changed{by}, and is put back: {fields}")
        }
    };
    News { warning: true, reason: REASON.to_owned(), message }
}

/// The fields that differ, two levels deep: `metadata.labels, spec.egress`.
fn fields(wanted: &Value, live: &Value) -> String {
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (section, wanted) in object(wanted) {
        let live = &live[&section];
        // What only others have counts in the spec alone.
        let more = object(live).into_iter().filter(|_| section == "spec").map(|(key, _)| key);
        let keys: std::collections::BTreeSet<String> =
            object(&wanted).into_iter().map(|(key, _)| key).chain(more).collect();
        for key in keys {
            let (wanted, live) = (&wanted[&key], &live[&key]);
            if lacks(wanted, live) || (section == "spec" && lacks(live, wanted)) {
                found.push(format!("{section}.{key}"));
            }
        }
    }
    let more = found.len().saturating_sub(FIELDS_SHOWN_MAX);
    found.truncate(FIELDS_SHOWN_MAX);
    match more {
        0 => found.join(", "),
        more => format!("{} and {more} more", found.join(", ")),
    }
}

/// Who but us was the last to write it, as the API server has it.
fn changed_by<K: Resource>(live: &K) -> Option<&str> {
    let entries = live.meta().managed_fields.as_deref().unwrap_or_default();
    let others = entries.iter().filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.as_deref()
}

/// Whether `live` lacks something of `wanted`, or has another value for it. Lists are compared whole: those of what we
/// write are atomic.
fn lacks(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (wanted, Value::Null) => !is_empty(wanted),
        (Value::Null, _) => false,
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().any(|(key, value)| lacks(value, live.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() != live.len() || wanted.iter().zip(live).any(|(wanted, live)| lacks(wanted, live))
        }
        (wanted, live) => wanted != live,
    }
}

/// The API server drops what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use serde_json::{Value, json};

    use super::{differs, fields, news};

    #[test]
    fn what_others_added_to_metadata_and_data_is_no_difference() {
        let wanted = json!({"metadata": {"labels": {"ours": "1"}}, "data": {"a": "x"}});
        let live =
            json!({"metadata": {"labels": {"ours": "1", "theirs": "2"}, "uid": "u"}, "data": {"a": "x", "b": "y"}});
        assert!(!differs(&wanted, &live));
    }

    #[test]
    fn a_label_or_a_key_that_is_gone_or_changed_is_one() {
        let wanted = json!({"metadata": {"labels": {"ours": "1"}}, "data": {"a": "x"}});
        for live in [
            json!({"metadata": {}, "data": {"a": "x"}}),
            json!({"metadata": {"labels": {"ours": "2"}}, "data": {"a": "x"}}),
            json!({"metadata": {"labels": {"ours": "1"}}, "data": {"a": "y"}}),
            json!({"metadata": {"labels": {"ours": "1"}}}),
        ] {
            assert!(differs(&wanted, &live), "{live}");
        }
    }

    fn policy(egress: &Value) -> Value {
        json!({"spec": {"policyTypes": ["Egress"], "egress": egress}})
    }

    #[test]
    fn any_other_rule_of_a_policy_is_one() {
        let wanted = policy(&json!([{"ports": [{"port": 25}]}]));
        for live in [
            policy(&json!([{"ports": [{"port": 26}]}])),
            policy(&json!([])),
            policy(&json!([{"ports": [{"port": 25}]}, {}])),
            policy(&json!([{}])),
            json!({"spec": {"policyTypes": ["Egress"]}}),
        ] {
            assert!(differs(&wanted, &live), "{live}");
        }
    }

    #[test]
    fn a_rule_added_to_a_policy_without_rules_is_one() {
        for wanted in [policy(&json!([])), policy(&Value::Null)] {
            assert!(differs(&wanted, &policy(&json!([{}]))), "{wanted}");
        }
    }

    #[test]
    fn what_was_put_back_is_named_field_by_field_and_never_with_its_value() {
        let wanted =
            json!({"metadata": {"labels": {"ours": "1"}}, "spec": {"a": 1, "b": [1]}, "data": {"key": "secret"}});
        let live =
            json!({"metadata": {"labels": {}, "uid": "u"}, "spec": {"b": [1], "c": 1}, "data": {"key": "x", "y": ""}});
        assert_eq!(fields(&wanted, &live), "data.key, metadata.labels, spec.a, spec.c");
        let many = json!({"data": {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}});
        assert_eq!(fields(&many, &json!({})), "data.a, data.b, data.c, data.d, data.e and 2 more");
    }

    #[test]
    fn whoever_else_wrote_last_is_named() {
        let wanted = policy(&json!([]));
        let mut live = policy(&json!([{}]));
        live["metadata"] = json!({"managedFields": [
            {"manager": "postern", "time": "2026-01-03T00:00:00Z"},
            {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z"},
            {"manager": "helm", "time": "2026-01-01T00:00:00Z"},
        ]});
        let live: NetworkPolicy = serde_json::from_value(live).expect("a policy");
        let told = news("NetworkPolicy postern-egress", &wanted, Some(&live)).message;
        assert_eq!(told, "NetworkPolicy postern-egress was changed by \"kubectl-edit\", and is put back: spec.egress");
        let told = news::<NetworkPolicy>("NetworkPolicy postern-egress", &wanted, None).message;
        assert_eq!(told, "NetworkPolicy postern-egress was deleted, and is made again");
    }

    #[test]
    fn what_is_empty_may_be_absent() {
        assert!(!differs(&policy(&json!([])), &policy(&Value::Null)));
    }
}
