//! The HostList: one way to name clients and hosts, wherever they are named.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One entry of a HostList: exactly one way to name addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostListEntry {
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// True: this entry may be wider than /24 (IPv4) or /64 (IPv6). Never /0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_wide: Option<bool>,
}

/// A range of addresses without some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cidr {
    /// CIDR notation, host bits zero: `10.20.0.0/28`, `2001:db8::/64`, `192.0.2.1/32` for one address.
    pub range: String,
    /// Parts of `range` that do not belong to it, in the same notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}
