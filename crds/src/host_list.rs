//! The HostList: one way to name clients and hosts, wherever they are named.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An entry that must be said to be wide. What is no range, and /0, is told so by rules of its own.
pub(crate) const WIDTH: &str = "!has(self.cidr) || !isCIDR(self.cidr.range) || (has(self.allowWide) && self.allowWide) || \
    cidr(self.cidr.range).prefixLength() >= (cidr(self.cidr.range).ip().family() == 4 ? 24 : 64)";

/// What is no range is told so by a rule of its own.
const INSIDE: &str = "!has(self.except) || !isCIDR(self.range) || \
    self.except.all(part, !isCIDR(part) || cidr(self.range).containsCIDR(part))";

/// The width is that of a range; names have none.
pub(crate) const WIDTH_OF: &str = "!has(self.allowWide) || has(self.cidr)";

/// One entry of a HostList: exactly one way to name addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.cidr), has(self.a), has(self.mx)].filter(set, set).size() == 1",
        "exactly one of cidr, a, mx must be set, such as cidr: {range: 10.20.0.0/28}"),
    validation = (WIDTH, "is wider than /24 (IPv4) or /64 (IPv6): if that is meant, say allowWide: true beside cidr"),
    validation = (WIDTH_OF, "allowWide is about the width of cidr: remove it")
)]
pub struct HostListEntry {
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Every address (A and AAAA) of a DNS name, as it is at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<AddressesOf>,
    /// Every address of every MX of a domain, as they are at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<MxOf>,
    /// True: this entry may be wider than /24 (IPv4) or /64 (IPv6). Everyone, /0, is never taken. Only with `cidr`.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_wide: Option<bool>,
}

/// A DNS name that stands for its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressesOf {
    /// The name, which the relays look up again whenever its answer runs out (TTL): `mail.corp.example`.
    #[schemars(schema_with = "crate::rule::dns_name")]
    pub name: String,
}

/// A domain that stands for its mail servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MxOf {
    /// The domain whose MX records are looked up again whenever they run out (TTL): `corp.example`. Without any, the
    /// domain's own addresses are meant (RFC 5321, section 5.1). An internationalised name is written in either form.
    #[schemars(schema_with = "crate::rule::dns_name")]
    pub domain: String,
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
