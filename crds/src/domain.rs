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
    namespaced,
    shortname = "rd",
    status = "DomainStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayDomainSpec {
    /// The domain names: `example.com` for exactly that name, `*.example.com` for every subdomain but not the parent.
    pub domains: Vec<String>,
    /// The RelayHosts to which mail for these domains is handed.
    pub deliver_to: Vec<NextHop>,
    /// Which recipients exist. Accepting everything must be said.
    pub recipients: Recipients,
    /// The FilterPolicy for mail to these domains. Default: the one named `default`, which must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_policy_ref: Option<PolicyRef>,
    /// How notifications (DSN) about mail to these domains leave. Default: the way of `outbound`; without one they are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Bounces>,
    /// Mail from these domains. Absent: nothing leaves with them as sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
}

/// Which recipients of the domains exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipients {
    /// Whether recipients are verified.
    pub mode: RecipientMode,
    /// Where recipients are known, asked in order: the first that knows the address decides. Only with mode Verify.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verifier>,
    /// One character after which a local part is detail: with `+`, bob+news@ is looked up as such, then as bob@.
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
pub struct Verifier {
    /// Addresses, here or in ConfigMaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<RecipientList>,
}

/// Addresses, here or in ConfigMaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecipientList {
    /// Addresses that exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Keys of ConfigMaps that hold one address a line; empty lines and what follows a `#` are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_map_refs: Vec<KeyRef>,
}

/// How notifications leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounces {
    /// The RelayHosts that take notifications for the rest of the world.
    pub via: Vec<NextHop>,
}

/// Mail from the domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outbound {
    /// The RelayHosts whose `sources` may send as these domains.
    pub hosts: Vec<HostRef>,
    /// To whom they may send. Default: Any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<OutboundRecipients>,
    /// The smarthosts that take outgoing mail. Required for now: mail cannot leave by the recipients' MX yet.
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
