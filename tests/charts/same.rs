//! The same values make the same bytes: a second `helm upgrade` or `kubectl apply` has nothing to change.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use postern_tests::chart::{objects, rendered};
use serde_json::json;

use crate::{namespace, renderings};

#[test]
fn a_second_rendering_is_the_first() {
    for (chart, values) in renderings() {
        let render = || rendered(chart, namespace(chart), &values).unwrap();
        assert!(render() == render(), "charts/{chart} with {values}");
    }
}

#[test]
fn every_object_says_where_it_belongs_and_there_is_one_of_each() {
    const CLUSTER_WIDE: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    for (chart, values) in renderings() {
        let mut seen = BTreeSet::new();
        for object in objects(chart, namespace(chart), &values).unwrap() {
            let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            assert_eq!(metadata["namespace"].is_null(), CLUSTER_WIDE.contains(&kind), "{kind} {metadata}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "postern", "{kind} {metadata}");
            assert!(
                seen.insert(format!("{kind} {} {}", metadata["namespace"], metadata["name"])),
                "{kind} {metadata} twice"
            );
        }
        assert!(seen.len() > 4, "{seen:?}");
    }
}

/// Without it all domains get 451.
#[test]
fn the_default_policy_is_kept_when_it_is_switched_off() {
    let policies = |values| {
        let mut objects = objects("relay", "dmz", &values).unwrap();
        objects.retain(|object| object["kind"] == "FilterPolicy");
        objects
    };
    let made = policies(json!({}));
    assert_eq!((made.len(), &made[0]["metadata"]["name"]), (1, &json!("default")));
    assert_eq!(made[0]["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(policies(json!({"defaultPolicy": {"enabled": false}})).len(), 0);
}

#[test]
fn definitions_are_kept_unless_told_otherwise_and_left_out_when_told() {
    let definitions = |values| {
        let mut objects = objects("operator", "postern-system", &values).unwrap();
        objects.retain(|object| object["kind"] == "CustomResourceDefinition");
        objects
    };
    let kept = definitions(json!({}));
    let policies: Vec<_> = kept.iter().map(|crd| &crd["metadata"]["annotations"]["helm.sh/resource-policy"]).collect();
    assert_eq!(policies, ["keep"; 3]);
    let given_up = definitions(json!({"crds": {"keep": false}}));
    assert!(given_up.len() == 3 && given_up.iter().all(|crd| crd["metadata"]["annotations"].is_null()));
    assert_eq!(definitions(json!({"crds": {"enabled": false}})).len(), 0);
    for rendered in kept {
        // By their type, for there 5 and 5.0 are one number.
        let rendered: CustomResourceDefinition = serde_json::from_value(rendered).unwrap();
        let mut generated = postern_crds::all().into_iter();
        let same = generated.any(|crd| crd.metadata.name == rendered.metadata.name && crd.spec == rendered.spec);
        assert!(same, "{:?} is not what the types make", rendered.metadata.name);
    }
}
