//! RelayHost: a mail server that the DMZ talks with.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::host_list::HostListEntry;
use crate::reference::KeyRef;
use crate::status::HostStatus;

/// A mail server that the DMZ talks with: mail is handed to its `endpoints`, and its `sources` may relay.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "postern.io",
    version = "v1alpha1",
    kind = "RelayHost",
    doc = "A mail server that the DMZ talks with.",
    namespaced,
    shortname = "rh",
    status = "HostStatus",
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpoints[0].host.address"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Relays", type_ = "string", json_path = ".status.summary.relays"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "(has(self.endpoints) && size(self.endpoints) > 0) || (has(self.sources) && size(self.sources) > 0)",
    "a host without endpoints and sources is good for nothing: give endpoints if mail is handed to it, \
     sources if it may relay"))]
pub struct RelayHostSpec {
    /// How mail is handed to it, at most 16 ways that share its mail in turn: `[{host: {address: 10.20.0.11, port: 25}}]`.
    /// Absent: it is only a source.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// How connections to it are protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How long mail for it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// True: accept and keep its mail, dial nothing, expire nothing (maintenance). Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// The addresses from which it may relay, at most 64 entries: `[{cidr: {range: 10.20.0.0/28}}]`. Absent: from nowhere.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<HostListEntry>,
}

/// One way to reach the host: exactly one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.host)",
    "exactly one of host must be set, such as host: {address: 10.20.0.11, port: 25}"))]
pub struct Endpoint {
    /// An address and a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPort>,
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPort {
    /// An IP address or a DNS name: `10.20.0.11`, `2001:db8::25`, `mail.corp.example`.
    #[schemars(schema_with = "crate::rule::target")]
    pub address: String,
    /// 1 to 65535. Default: 25.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// How connections to the host are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("!has(self.handshake) || self.handshake != 'None' || \
        !has(self.verification) || self.verification == 'Opportunistic'",
        "handshake None is plain text, which is neither Required nor Verified: remove handshake or verification"),
    validation = ("!has(self.handshake) || self.handshake != 'None' || !has(self.serverName)",
        "handshake None has no certificate with a name: remove handshake or serverName"),
    validation = ("!has(self.caSecretRef) || (has(self.verification) && self.verification == 'Verified')",
        "caSecretRef is only looked at with verification: Verified; say so, or remove caSecretRef")
)]
pub struct Tls {
    /// When TLS begins. `STARTTLS`: after that command. `None`: never, all is plain text. Default: STARTTLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// What TLS must prove before mail is handed over. `Opportunistic`: it is used when offered, else plain text.
    /// `Required`: encrypted, with whatever certificate, else the mail waits. `Verified`: a certificate of a trusted CA for
    /// the right name, else the mail waits. Default: Opportunistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The name that is asked for (SNI) and must be in the certificate: `mail.corp.example`. Default: the endpoint's address.
    #[schemars(schema_with = "crate::rule::server_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The key of a Secret that holds the CAs to trust, in PEM form. Only with `Verified`. Default: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<KeyRef>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Handshake {
    /// After the STARTTLS command.
    #[serde(rename = "STARTTLS")]
    StartTls,
    /// Never.
    None,
}

/// What TLS must prove before mail is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verification {
    /// Used when offered; plain text when not.
    Opportunistic,
    /// Encrypted, with whatever certificate; else the mail waits.
    Required,
    /// A certificate of a trusted CA for the right name; else the mail waits.
    Verified,
}

/// How long mail for the host is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queue {
    /// Mail that could not be delivered for so long is returned to its sender: hours, minutes and seconds, such as `48h` or
    /// `1h30m`. From 1m to 720h. Default: 120h.
    #[schemars(schema_with = "crate::rule::lifetime")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
}
