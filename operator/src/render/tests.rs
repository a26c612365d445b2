use serde_json::json;

use super::*;
use crate::fixture::{dmz, model, object};
use crate::inputs::{Inputs, Place, Relay, Report};

fn rendered(inputs: &Inputs) -> Rendered {
    render(&model(inputs), postern_wire::SCHEMA)
}

fn names(rendered: &Rendered) -> Vec<&str> {
    let policies = rendered.network_policies.as_ref().expect("policies");
    policies.iter().map(|policy| policy.metadata.name.as_deref().expect("a name")).collect()
}

fn taken(inputs: &mut Inputs, kind: WrittenKind, name: &str) {
    inputs.foreign.insert(Written { kind, name: name.to_owned() });
}

/// More addresses than one object can hold.
fn too_much() -> Inputs {
    let mut inputs = dmz();
    let lines: String = (0..60_000).map(|number| format!("recipient-{number}@contoso.com\n")).collect();
    inputs.config_maps.insert("people".to_owned(), [("all".to_owned(), lines)].into());
    inputs.domains = vec![object(
        "contoso",
        json!({
            "domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}],
            "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "people", "key": "all"}]}}]},
        }),
    )];
    inputs
}

#[test]
fn renders_the_same_bytes_twice() {
    let (one, two) = (rendered(&dmz()), rendered(&dmz()));
    assert_eq!(one.settings.to_json(), two.settings.to_json());
    assert_eq!(json!(one.network_policies), json!(two.network_policies));
}

#[test]
fn the_isolation_comes_first_and_is_owned_by_the_anchor() {
    let rendered = rendered(&dmz());
    assert_eq!(names(&rendered), [DEFAULT_DENY, BASE, "postern-host-exchange"]);
    let owner = |index: usize| {
        let owners = rendered.network_policies.as_ref().expect("policies")[index].metadata.owner_references.as_ref();
        owners.expect("an owner")[0].uid.clone()
    };
    assert_eq!([owner(0), owner(1), owner(2)], ["uid-relay", "uid-relay", "uid-exchange"]);
}

#[test]
fn default_deny_closes_both_directions_and_opens_nothing() {
    let rendered = rendered(&dmz());
    let spec = rendered.network_policies.expect("policies")[0].spec.clone().expect("a spec");
    assert_eq!(spec.policy_types, Some(vec!["Ingress".to_owned(), "Egress".to_owned()]));
    assert_eq!((spec.ingress, spec.egress), (None, None));
    assert_eq!(json!(spec.pod_selector), json!({"matchLabels": {"postern.io/relay": "true"}}));
}

#[test]
fn every_object_has_the_label_by_which_it_is_found_again() {
    let Rendered { network_policies, secret, config_map, .. } = rendered(&dmz());
    let policies = network_policies.expect("policies").into_iter().map(|policy| policy.metadata);
    let others = [secret.expect("a secret").metadata, config_map.expect("a config map").metadata];
    for metadata in policies.chain(others) {
        let labels = metadata.labels.expect("labels");
        assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("postern"));
    }
}

#[test]
fn the_settings_carry_their_own_digest() {
    let Rendered { settings, config_map, .. } = rendered(&dmz());
    let config_map = config_map.expect("a config map");
    assert_eq!(config_map.metadata.annotations.expect("annotations")[DIGEST_ANNOTATION], settings.digest.to_string());
    let read = SettingsFile::from_json(config_map.data.expect("data")["settings.json"].as_bytes());
    assert_eq!(read.expect("settings"), settings);
}

#[test]
fn a_path_closes_when_its_object_is_gone() {
    let mut inputs = dmz();
    inputs.hosts.clear();
    assert_eq!(names(&rendered(&inputs)), [DEFAULT_DENY, BASE]);
}

#[test]
fn long_names_are_cut_and_stay_apart() {
    let hosts = [
        "h".repeat(253),
        format!("{}x", "h".repeat(252)),
        "h".repeat(240),
        format!("{}.{}", "h".repeat(199), "h".repeat(53)),
    ];
    let mut inputs = dmz();
    inputs.hosts.clear();
    for host in &hosts {
        inputs.hosts.push(object(host, json!({"endpoints": [{"host": {"address": "10.20.0.11"}}]})));
    }
    let rendered = rendered(&inputs);
    let names: std::collections::BTreeSet<_> = names(&rendered).into_iter().collect();
    assert_eq!(names.len(), 2 + hosts.len());
    for name in names {
        assert!(name.len() <= 253, "{name}");
        assert!(
            name.split('.')
                .all(|label| label.starts_with(char::is_alphanumeric) && label.ends_with(char::is_alphanumeric)),
            "{name}"
        );
        assert!(is_reserved(WrittenKind::NetworkPolicy, name), "{name}");
    }
}

#[test]
fn who_writes_their_own_policies_gets_none_and_the_settings_all_the_same() {
    let mut inputs = dmz();
    inputs.anchor.as_mut().expect("an anchor").network_policies = false;
    taken(&mut inputs, WrittenKind::NetworkPolicy, DEFAULT_DENY);
    let rendered = rendered(&inputs);
    assert_eq!(names(&rendered), [""; 0]);
    assert!(rendered.config_map.is_some() && rendered.problems.is_empty());
}

#[test]
fn nothing_is_published_until_the_isolation_can_stand() {
    for (kind, name) in [
        (WrittenKind::NetworkPolicy, DEFAULT_DENY),
        (WrittenKind::NetworkPolicy, BASE),
        (WrittenKind::Secret, SECRETS),
        (WrittenKind::ConfigMap, SETTINGS),
    ] {
        let mut inputs = dmz();
        taken(&mut inputs, kind, name);
        let rendered = rendered(&inputs);
        assert_eq!(rendered.hold, Some(Hold::NameTaken), "{name}");
        assert!(rendered.config_map.is_none() && rendered.secret.is_none(), "{name}");
        assert!(!names(&rendered).contains(&name), "{name}");
        assert!(rendered.problems[0].message.contains(name), "{name}");
    }
}

#[test]
fn a_taken_path_costs_one_host() {
    let mut inputs = dmz();
    taken(&mut inputs, WrittenKind::NetworkPolicy, "postern-host-exchange");
    let rendered = rendered(&inputs);
    assert_eq!(names(&rendered), [DEFAULT_DENY, BASE]);
    assert!(rendered.config_map.is_some());
    assert_eq!(rendered.problems[0].object.to_string(), "RelayHost/exchange");
}

#[test]
fn settings_that_are_too_large_leave_the_published_ones_alone() {
    let mut inputs = too_much();
    let rendered = rendered(&inputs);
    assert_eq!(rendered.hold, Some(Hold::Full));
    assert!(rendered.config_map.is_none() && rendered.secret.is_none() && rendered.network_policies.is_some());
    assert_eq!(rendered.problems[0].reason, Reason::SettingsFull);
    assert_eq!(rendered.problems[0].object.to_string(), "FilterPolicy/default");
    inputs.place = Place::Offline;
    inputs.anchor = None;
    let offline = render(&model(&inputs), 1);
    assert!(offline.config_map.is_some());
    assert_eq!(offline.problems[0].effect, Effect::Warning);
}

#[test]
fn while_paused_nothing_is_written_or_deleted() {
    let mut inputs = dmz();
    inputs.anchor.as_mut().expect("an anchor").paused = true;
    let rendered = rendered(&inputs);
    assert!(rendered.network_policies.is_none() && rendered.secret.is_none() && rendered.config_map.is_none());
}

#[test]
fn from_files_nobody_owns_anything() {
    let mut inputs = dmz();
    inputs.place = Place::Offline;
    inputs.anchor = None;
    let Rendered { network_policies, secret, config_map, settings, .. } = rendered(&inputs);
    let policies = network_policies.expect("policies");
    assert!(policies.iter().all(|policy| policy.metadata.owner_references.is_none()));
    assert!(secret.expect("a secret").metadata.owner_references.is_none());
    assert!(config_map.expect("a config map").metadata.owner_references.is_none());
    assert_eq!(settings, rendered(&dmz()).settings, "the settings are those of a cluster");
}

#[test]
fn the_schema_is_the_lowest_that_a_ready_relay_reads() {
    let relay = |schema: u32| {
        let said = json!({"version": "0.1.0", "schema": schema, "objects": []});
        let status = serde_json::from_value(said).expect("a status");
        Relay { pod: "relay-0".to_owned(), report: Report::Answered(status) }
    };
    assert_eq!(schema_for(&[]), postern_wire::SCHEMA);
    assert_eq!(schema_for(&[relay(99)]), postern_wire::SCHEMA);
    assert_eq!(schema_for(&[relay(0), relay(99)]), 1);
}
