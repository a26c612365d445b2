//! FilterPolicy: what is let through.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::Size;
use crate::host_list::HostListEntry;
use crate::status::PolicyStatus;

/// What is let through.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "postern.io",
    version = "v1alpha1",
    kind = "FilterPolicy",
    plural = "filterpolicies",
    namespaced,
    shortname = "fp",
    status = "PolicyStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterPolicySpec {
    /// What one message may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Who may connect. Only in the policy named `default`: it holds before a domain is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Whose mail is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senders: Option<Senders>,
}

/// What one message may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The largest message, in octets: `35Mi`, `1Gi`. A larger one gets 552 5.3.4. Default: 35Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Size>,
    /// The recipients of one transaction; further ones get 452 4.5.3. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_per_message: Option<u32>,
    /// The Received header fields of a message; more of them are a loop, 554 5.4.6. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connections {
    /// Clients that get 554 when they connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_clients: Vec<HostListEntry>,
}

/// Whose mail is refused: patterns of sender addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Senders {
    /// Refused with 550 5.7.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// Taken although `blocked` says otherwise; it overrides nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}
