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
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.limits.messageSize"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Relays", type_ = "string", json_path = ".status.summary.relays"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    derive = "PartialEq",
    validation = Rule::new("!has(self.spec.connections) || self.metadata.name == 'default'")
        .message("connections holds before a domain is known, so only the policy named default has it: \
                  move it there, or remove it")
        .field_path(".spec.connections")
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
    #[schemars(schema_with = "crate::rule::message_size")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Size>,
    /// The recipients of one transaction; further ones get 452 4.5.3. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_per_message: Option<u32>,
    /// The Received header fields of a message; more of them are a loop, 554 5.4.6. Default: 50.
    #[schemars(range(min = 5, max = 200))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connections {
    /// Clients that get 554 when they connect.
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_clients: Vec<HostListEntry>,
}

/// Whose mail is refused: patterns of sender addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Senders {
    /// Refused with 550 5.7.1.
    #[schemars(schema_with = "crate::rule::sender_patterns")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// Taken although `blocked` says otherwise; it overrides nothing else.
    #[schemars(schema_with = "crate::rule::sender_patterns")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}
