//! RelayHost: a mail server that the DMZ talks with.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::host_list::{AddressesOf, Cidr, MxOf, WIDTH, WIDTH_OF};
use crate::reference::{KeyRef, SecretRef, ServiceRef};
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
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.summary.endpoint"),
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
#[x_kube(
    validation = (
        "(has(self.endpoints) && size(self.endpoints) > 0) || (has(self.sources) && size(self.sources) > 0)",
        "a host without endpoints and sources is good for nothing: give endpoints if mail is handed to it, \
         sources if it may relay"),
    validation = ("!has(self.auth) || (has(self.tls) && has(self.tls.verification) && self.tls.verification == 'Verified')",
        "a password is only given to a server that has proved who it is: say tls: {verification: Verified}, or remove auth"),
    validation = ("!has(self.endpoints) || !self.endpoints.exists(endpoint, has(endpoint.mx)) || \
        !has(self.tls) || !has(self.tls.handshake) || self.tls.handshake != 'Implicit'",
        "handshake Implicit is not spoken on port 25, where the mail servers of a domain listen: \
         name the server with host, or say handshake: STARTTLS")
)]
pub struct RelayHostSpec {
    /// How mail is handed to it, at most 16 ways that share its mail in turn: `[{host: {address: 10.20.0.11, port: 25}}]`,
    /// `[{service: {name: mail, namespace: apps, port: 25}}]`, `[{mx: {domain: example.com}}]`. Absent: it is only a source.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// How connections to it are protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How the relay logs in to it. Only with `tls.verification: Verified`. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How much it is given at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HostLimits>,
    /// How long mail for it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// True: accept and keep its mail, dial nothing, expire nothing (maintenance). Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// From where it may relay, at most 64 entries: `[{cidr: {range: 10.20.0.0/28}}, {a: {name: app.corp.example}}]`.
    /// Absent: from nowhere.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// One way to reach the host: exactly one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("[has(self.host), has(self.service), has(self.mx)].filter(set, set).size() == 1",
    "exactly one of host, service, mx must be set, such as host: {address: 10.20.0.11, port: 25}"))]
pub struct Endpoint {
    /// An address and a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPort>,
    /// A Service of this cluster, in any namespace: the network path is open to exactly its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// The mail servers of a domain, on port 25: in the order of their preference, as DNS says at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<MxOf>,
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPort {
    /// An IP address or a DNS name: `10.20.0.11`, `2001:db8::25`, `mail.corp.example`.
    #[schemars(schema_with = "crate::rule::target")]
    pub address: String,
    /// 1 to 65535. Default: 25; with `tls.handshake: Implicit` 465.
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
    validation = ("!has(self.handshake) || self.handshake != 'None' || !has(self.clientCertificateSecretRef)",
        "handshake None shows no certificate: remove handshake or clientCertificateSecretRef"),
    validation = ("!has(self.caSecretRef) || (has(self.verification) && self.verification == 'Verified')",
        "caSecretRef is only looked at with verification: Verified; say so, or remove caSecretRef")
)]
pub struct Tls {
    /// When TLS begins. `STARTTLS`: after that command. `Implicit`: at once, before anything is said (port 465). `None`:
    /// never, all is plain text. Default: STARTTLS.
    #[schemars(schema_with = "crate::rule::word::<Handshake>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// What TLS must prove before mail is handed over. `Opportunistic`: it is used when offered, else plain text (never
    /// with `Implicit`).
    /// `Required`: encrypted, with whatever certificate, else the mail waits. `Verified`: a certificate of a trusted CA for
    /// the right name, else the mail waits. Default: Opportunistic.
    #[schemars(schema_with = "crate::rule::word::<Verification>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The name that is asked for (SNI) and must be in the certificate: `mail.corp.example`. Default: the endpoint's address,
    /// or the name of the MX, which only DNS vouches for.
    #[schemars(schema_with = "crate::rule::server_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The key of a Secret that holds the CAs to trust, in PEM form. Only with `Verified`. Default: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<KeyRef>,
    /// A Secret of type `kubernetes.io/tls` (keys `tls.crt` with the intermediates, `tls.key`): what the relay shows when
    /// the server asks who it is. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<SecretRef>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Handshake {
    /// After the STARTTLS command.
    #[serde(rename = "STARTTLS")]
    StartTls,
    /// Before anything is said (RFC 8314).
    Implicit,
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

/// How the relay logs in: SASL PLAIN or LOGIN, by what the server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.secretRef)", "exactly one of secretRef must be set, such as secretRef: {name: smarthost-login}"))]
pub struct Auth {
    /// A Secret of type `kubernetes.io/basic-auth`, or any with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// How much the host is given at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostLimits {
    /// Connections at the same time, of each relay; further messages wait for one. Without it the relay's
    /// `--host-connections` holds. From 1 to 1000. Default: 20.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Messages on one connection; then a new one is made. Without it the relay's `--connection-messages` holds.
    /// From 1 to 100000. Default: 1000.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
    /// Messages in a minute, of each relay; further ones wait. The default is as good as none.
    /// From 1 to 1000000. Default: 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
}

/// One entry of `sources`: exactly one way to name who may relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.cidr), has(self.a), has(self.mx), has(self.clientCertificate)].filter(set, set).size() == 1",
        "exactly one of cidr, a, mx, clientCertificate must be set, such as cidr: {range: 10.20.0.0/28}"),
    validation = (WIDTH, "is wider than /24 (IPv4) or /64 (IPv6): if that is meant, say allowWide: true beside cidr"),
    validation = (WIDTH_OF, "allowWide is about the width of cidr: remove it")
)]
pub struct Source {
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Every address (A and AAAA) of a DNS name, as it is at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<AddressesOf>,
    /// Every address of every MX of a domain, as they are at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<MxOf>,
    /// Whoever proves with a certificate, from any address, to be this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// True: this entry may be wider than /24 (IPv4) or /64 (IPv6). Everyone, /0, is never taken. Only with `cidr`.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_wide: Option<bool>,
}

/// Whom a client's certificate must prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// The key of a Secret that holds the CAs which may have issued it, in PEM form.
    pub ca_secret_ref: KeyRef,
    /// The DNS name in its subjectAltName: `app.corp.example`.
    #[schemars(schema_with = "crate::rule::client_name")]
    pub dns_name: String,
}

/// How long mail for the host is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (crate::rule::NULL_SENDER_NOT_LONGER,
    "nullSenderLifetime is longer than lifetime, which holds for all mail: write less, or a longer lifetime"))]
pub struct Queue {
    /// Mail that could not be delivered for so long is returned to its sender: hours, minutes and seconds, such as `48h` or
    /// `1h30m`. From 1m to 720h. Default: 120h.
    #[schemars(schema_with = "crate::rule::lifetime")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// Mail with the null sender (notifications of other servers) that could not be delivered for so long is given up. It is
    /// never kept longer than other mail. From 1m to 720h. Default: 48h.
    #[schemars(schema_with = "crate::rule::lifetime")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_sender_lifetime: Option<Duration>,
    /// After so long a sender of ours is told, once, that the message waits; `0s`: never. From 0s to 720h. Default: 4h.
    #[schemars(schema_with = "crate::rule::warn_after")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<Duration>,
}
