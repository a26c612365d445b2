//! RelayDomain: whose mail passes, and where it goes.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{HostRef, KeyRef, NextHop, PolicyRef};
use crate::status::DomainStatus;

/// Whose mail passes, and where it goes.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "postern.io",
    version = "v1alpha1",
    kind = "RelayDomain",
    doc = "Whose mail passes the DMZ, and where it goes.",
    namespaced,
    shortname = "rd",
    status = "DomainStatus",
    printcolumn(name = "Domains", type_ = "string", json_path = ".spec.domains"),
    printcolumn(name = "Deliver to", type_ = "string", json_path = ".status.summary.deliverTo"),
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
pub struct RelayDomainSpec {
    /// The domain names, at most 100: `example.com` for exactly that name, `*.example.com` for every subdomain but not the
    /// parent. An internationalised name is written in either form. Of two objects that claim one name the older has it.
    #[schemars(schema_with = "crate::rule::domain_names")]
    pub domains: Vec<String>,
    /// The RelayHosts to which mail for these domains is handed, at most 32, each once. One that is down is passed over for
    /// the next: `[{name: exchange-a, preference: 10}, {name: exchange-b, preference: 20}]`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub deliver_to: Vec<NextHop>,
    /// Which recipients exist. Accepting everything must be said.
    pub recipients: Recipients,
    /// The FilterPolicy for mail to these domains. Default: the one named `default`, which must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_policy_ref: Option<PolicyRef>,
    /// Whether mail to these domains must come over TLS. `Opportunistic`: it may. `Required`: a recipient that is named over
    /// a plain connection is refused. Default: Opportunistic.
    #[schemars(schema_with = "crate::rule::word::<InboundTls>")]
    #[serde(default, rename = "inboundTLS", skip_serializing_if = "Option::is_none")]
    pub inbound_tls: Option<InboundTls>,
    /// How notifications about mail to these domains (DSN: it could not be delivered) leave to the rest of the world.
    /// Default: the way of `outbound`, which may be directly to the sender's MX; without `outbound` they are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Bounces>,
    /// Mail from these domains. Absent: nothing leaves with them as sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
}

/// Whether mail must come over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InboundTls {
    /// It may: TLS is offered, where the relay has a certificate.
    Opportunistic,
    /// It must.
    Required,
}

/// Which recipients of the domains exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("self.mode != 'Verify' || (has(self.verify) && size(self.verify) > 0)",
        "mode Verify needs to know where recipients are known: \
         verify: [{list: {addresses: [postmaster@example.com]}}]"),
    validation = ("self.mode != 'AcceptAll' || !has(self.verify)",
        "mode AcceptAll asks nobody: remove verify, or say mode: Verify")
)]
pub struct Recipients {
    /// `Verify`: only recipients that `verify` knows; others get 550 5.1.1. `AcceptAll`: every one. Postmaster and abuse
    /// are always taken.
    #[schemars(schema_with = "crate::rule::word::<RecipientMode>")]
    pub mode: RecipientMode,
    /// Where recipients are known, at most 4 places, asked in order: the first that knows the address decides. Needed with
    /// mode `Verify`, and only there.
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verifier>,
    /// The character after which a local part is detail (RFC 5233). With `+`, bob+news@example.com is looked up as it is,
    /// then as bob@example.com; it is delivered unchanged. Default: none.
    #[schemars(schema_with = "crate::rule::delimiter")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subaddress_delimiter: Option<String>,
}

/// Whether recipients are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecipientMode {
    /// Only recipients that one of `verify` knows; others get 550 5.1.1.
    Verify,
    /// Every local part.
    AcceptAll,
}

/// One place that knows recipients: exactly one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.list)",
    "exactly one of list must be set, such as list: {addresses: [postmaster@example.com]}"))]
pub struct Verifier {
    /// Addresses, here or in ConfigMaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<RecipientList>,
}

/// Addresses, here or in ConfigMaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "(has(self.addresses) && size(self.addresses) > 0) || (has(self.configMapRefs) && size(self.configMapRefs) > 0)",
    "an empty list knows nobody: give addresses, configMapRefs or both"))]
pub struct RecipientList {
    /// Addresses that exist, at most 1000: `postmaster@example.com`. Upper and lower case are the same.
    #[schemars(schema_with = "crate::rule::addresses")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Keys of ConfigMaps, at most 16, that hold one address a line; empty lines and what follows a `#` are ignored.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_map_refs: Vec<KeyRef>,
}

/// How notifications leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounces {
    /// The RelayHosts that take notifications, at most 32, each once: `[{name: smarthost}]`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub via: Vec<NextHop>,
}

/// Mail from the domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outbound {
    /// The RelayHosts whose `sources` may send as these domains, at most 64, each once: `[{name: application}]`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub hosts: Vec<HostRef>,
    /// To whom they may send. `Any`: to anyone. `HostedDomains`: only to domains of the RelayDomains of this namespace.
    /// Default: Any.
    #[schemars(schema_with = "crate::rule::word::<OutboundRecipients>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<OutboundRecipients>,
    /// The RelayHosts that take outgoing mail (smarthosts), at most 32, each once: `[{name: smarthost, preference: 10}]`.
    /// Default: none, each recipient domain's MX is handed its mail directly, on port 25 of public addresses.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<NextHop>,
}

/// To whom mail from the domains may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutboundRecipients {
    /// To anyone.
    Any,
    /// Only to domains of the RelayDomains of this namespace.
    HostedDomains,
}
