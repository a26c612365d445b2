//! What an input says beside the objects of its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// The rest that a reconcile knows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Situation {
    /// Which documents the output shows beside the status: `policies`, `secret`, `settings`. Absent: all.
    pub(crate) show: Option<BTreeSet<String>>,
    pub(crate) offline: bool,
    pub(crate) unreadable: Option<String>,
    /// The golden input whose outcome the relays were told before.
    pub(crate) published: Option<String>,
    /// `Kind/name`
    pub(crate) foreign: Vec<String>,
    pub(crate) names: BTreeMap<String, BTreeSet<IpAddr>>,
    pub(crate) mx: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Services by `NAMESPACE/NAME` that cannot be read, and why.
    pub(crate) unreadable_services: BTreeMap<String, String>,
    pub(crate) cluster_ranges: BTreeSet<IpNet>,
    pub(crate) nodes: BTreeSet<IpNet>,
    /// The operator may not list them.
    pub(crate) nodes_unknown: bool,
    pub(crate) refused_targets: BTreeSet<IpAddr>,
    /// Octets of one ConfigMap, where there shall be less room than there is.
    pub(crate) room: Option<usize>,
    pub(crate) relays: Vec<Pod>,
    /// Pods that are going away.
    pub(crate) ending: BTreeSet<String>,
    /// What pods said last while they were.
    pub(crate) left: BTreeMap<String, u64>,
    /// Why the claims may not be listed.
    pub(crate) claims_refused: Option<String>,
}

/// A relay that enforces what was published, or else these settings, but for what is said here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) not_ready: bool,
    pub(crate) unreachable: Option<String>,
    pub(crate) schema: Option<u32>,
    pub(crate) rejected: Option<String>,
    /// Whether it reached what it must not, if it tried.
    pub(crate) reached: Option<bool>,
    pub(crate) without: BTreeSet<String>,
    /// It enforces this object from an older ConfigMap or Secret.
    pub(crate) outdated: BTreeSet<String>,
    pub(crate) faults: BTreeMap<String, String>,
}
