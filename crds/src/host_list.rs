//! The HostList: one way to name clients and hosts, wherever they are named.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An entry that must be said to be wide. What is no range, and /0, is told so by rules of its own.
const WIDTH: &str = "!has(self.cidr) || !isCIDR(self.cidr.range) || (has(self.allowWide) && self.allowWide) || \
    cidr(self.cidr.range).prefixLength() >= (cidr(self.cidr.range).ip().family() == 4 ? 24 : 64)";

/// What is no range is told so by a rule of its own.
const INSIDE: &str = "!has(self.except) || !isCIDR(self.range) || \
    self.except.all(part, !isCIDR(part) || cidr(self.range).containsCIDR(part))";

/// One entry of a HostList: exactly one way to name addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("has(self.cidr)", "exactly one of cidr must be set, such as cidr: {range: 10.20.0.0/28}"),
    validation = (WIDTH, "is wider than /24 (IPv4) or /64 (IPv6): if that is meant, say allowWide: true beside cidr")
)]
pub struct HostListEntry {
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// True: this entry may be wider than /24 (IPv4) or /64 (IPv6). Everyone, /0, is never taken. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_wide: Option<bool>,
}

/// A range of addresses without some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (INSIDE, "each entry of except must lie inside range"))]
pub struct Cidr {
    /// CIDR notation, host bits zero: `10.20.0.0/28`, `2001:db8::/64`, `192.0.2.1/32` for one address.
    #[schemars(schema_with = "crate::rule::range")]
    pub range: String,
    /// Parts of `range` that do not belong to it, at most 16, in the same notation: `[10.20.0.3/32]`. Default: none.
    #[schemars(schema_with = "crate::rule::exceptions")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}
