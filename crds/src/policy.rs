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
    doc = "What is let through. The one named default holds where none is named, and for connections.",
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
    /// The largest message, in octets: `35Mi`, `36700160`. A larger one gets 552 5.3.4. From 64Ki to 1Gi. Default: 35Mi.
    #[schemars(schema_with = "crate::rule::message_size")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Size>,
    /// The recipients of one transaction; further ones get 452 4.5.3, those accepted stay. From 1 to 1000. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_per_message: Option<u32>,
    /// The Received header fields of a message; with more it is looping and gets 554 5.4.6. From 5 to 200. Default: 50.
    #[schemars(range(min = 5, max = 200))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connections {
    /// Clients that get 554 when they connect, at most 256 entries: `[{cidr: {range: 192.0.2.0/24}}]`. Default: nobody.
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_clients: Vec<HostListEntry>,
}

/// Whose mail is refused: patterns of sender addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Senders {
    /// Refused with 550 5.7.1, at most 1000 patterns: local@domain, with `*` for any run of characters, such as
    /// `*@spam.example` or `bounce-*@*`. Default: nobody.
    #[schemars(schema_with = "crate::rule::sender_patterns")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// Taken although `blocked` says otherwise; it overrides nothing else. The same patterns, at most 1000. Default: nobody.
    #[schemars(schema_with = "crate::rule::sender_patterns")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}
