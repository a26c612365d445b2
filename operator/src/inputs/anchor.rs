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

impl Anchor {
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
