//! What the operator answers on each object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The status of a RelayDomain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What `kubectl get` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<DomainSummary>,
    /// One for each type, see `condition`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The status of a RelayHost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What `kubectl get` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<HostSummary>,
    /// One for each type, see `condition`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The status of a FilterPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What `kubectl get` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// One for each type, see `condition`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Of `default`, for the whole DMZ: the volumes that relays left when they were scaled in, by the relays' numbers, at
    /// most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["claim".into()]))]
    pub kept_volumes: Vec<KeptVolume>,
}

/// The volume of a relay that was scaled in: it stays, and what the relay could not deliver is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptVolume {
    /// The PersistentVolumeClaim.
    #[schemars(length(max = 253))]
    pub claim: String,
    /// The pod whose queue it holds, when there is one again.
    #[schemars(length(max = 253))]
    pub relay: String,
    /// Messages that waited there when the relay was last asked, while it was ending. Absent: nobody knows.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
}

impl KeptVolume {
    /// How many are listed.
    pub const LISTED_MAX: usize = 32;

    /// Whether there is mail on it, or may be.
    pub fn may_hold_mail(&self) -> bool {
        self.messages != Some(0)
    }
}

/// What `kubectl get` shows of a RelayDomain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainSummary {
    /// The first RelayHost and how many more there are: `exchange-a +1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to: Option<String>,
    /// How many of the ready relays enforce this object at this generation: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<String>,
}

/// What `kubectl get` shows of a RelayHost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSummary {
    /// The first way to reach it and how many more there are: `10.20.0.11`, `mail.corp.example:587 +1`,
    /// `mx:example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How many of the ready relays enforce this object at this generation: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<String>,
}

/// What `kubectl get` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many of the ready relays enforce this object at this generation: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<String>,
}
