//! The relay workload.

use k8s_openapi::api::apps::v1::StatefulSet;

/// The relay workload, which owns what concerns the whole namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The name of the StatefulSet labelled `postern.io/relay: "true"`.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its annotation `postern.io/network-policies` is not `off`.
    pub network_policies: bool,
    /// Its annotation `postern.io/paused` is `true`: the last good settings stay, nothing is written but status.
    pub paused: bool,
    /// The names of its templates for volume claims, which the claims' names begin with.
    pub claim_templates: Vec<String>,
    /// The number of its first pod.
    pub first: u64,
    /// How many pods it is to have.
    pub replicas: u64,
}

/// The name that charts/relay gives to the workload.
const USUAL: &str = "postern-relay";

impl Anchor {
    /// Which of several workloads with the label it is, of those that are not going away: the one with the usual name, or
    /// else the oldest.
    pub fn among<'a>(workloads: impl IntoIterator<Item = &'a StatefulSet>) -> Option<&'a StatefulSet> {
        let staying = workloads.into_iter().filter(|workload| workload.metadata.deletion_timestamp.is_none());
        staying.min_by_key(|workload| {
            let name = workload.metadata.name.clone().unwrap_or_default();
            (name != USUAL, workload.metadata.creation_timestamp.clone(), name)
        })
    }

    /// `None`: the object is none that an API server has given.
    pub fn of(workload: &StatefulSet) -> Option<Self> {
        let annotations = workload.metadata.annotations.as_ref();
        let says = |annotation: &str, value: &str| {
            annotations.and_then(|all| all.get(annotation)).is_some_and(|said| said == value)
        };
        let spec = workload.spec.as_ref();
        let number = |number: i32| u64::try_from(number).unwrap_or_default();
        let templates = spec.and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default();
        Some(Self {
            name: workload.metadata.name.clone()?,
            uid: workload.metadata.uid.clone()?,
            network_policies: !says("postern.io/network-policies", "off"),
            paused: says("postern.io/paused", "true"),
            claim_templates: templates.iter().filter_map(|template| template.metadata.name.clone()).collect(),
            first: spec.and_then(|spec| spec.ordinals.as_ref()?.start).map_or(0, number),
            replicas: spec.and_then(|spec| spec.replicas).map_or(1, number),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(name: &str, created: &str, going: Option<&str>) -> StatefulSet {
        let metadata = json!({"name": name, "uid": name, "creationTimestamp": created, "deletionTimestamp": going});
        serde_json::from_value(json!({"metadata": metadata})).expect("a StatefulSet")
    }

    #[test]
    fn of_several_workloads_it_is_the_usual_one_or_the_oldest() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut all = vec![
            workload("a", late, None),
            workload("old", early, None),
            workload("older", early, Some(late)),
            workload("postern-relay", late, None),
        ];
        let chosen = |all: &[StatefulSet]| Anchor::among(all).and_then(Anchor::of).map(|anchor| anchor.name);
        assert_eq!(chosen(&all).as_deref(), Some("postern-relay"));
        all.pop();
        assert_eq!(chosen(&all).as_deref(), Some("old"));
        assert_eq!(chosen(&all[2..]), None);
    }
}
