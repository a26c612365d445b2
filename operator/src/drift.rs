//! Whether an object is as it should be, so that nothing is written which is already there. Pure.

use serde_json::Value;

/// Whether `live` is another object than `wanted`.
///
/// What others have added to the metadata or the data is not a difference: server-side apply leaves it to its owners. In
/// the `spec` anything more is one, for a rule that somebody adds to a NetworkPolicy opens a path.
pub(crate) fn differs(wanted: &Value, live: &Value) -> bool {
    let (spec, live_spec) = (&wanted["spec"], &live["spec"]);
    lacks(wanted, live) || lacks(live_spec, spec)
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
    use serde_json::{Value, json};

    use super::differs;

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
    fn what_is_empty_may_be_absent() {
        assert!(!differs(&policy(&json!([])), &policy(&Value::Null)));
    }
}
