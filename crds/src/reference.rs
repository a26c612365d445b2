//! References to other objects of the same namespace. Nothing refers across namespaces, but to a Service as a target.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A RelayHost and its place among its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NextHop {
    /// The name of a RelayHost of this namespace. It needs `endpoints`.
    #[schemars(schema_with = "crate::rule::object_name")]
    pub name: String,
    /// As in MX records: the lowest is tried first, equal ones share. From 0 to 65535. Default: 10.
    #[schemars(range(min = 0, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<u16>,
}

/// A RelayHost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRef {
    /// The name of a RelayHost of this namespace. It needs `sources`.
    #[schemars(schema_with = "crate::rule::object_name")]
    pub name: String,
}

/// A FilterPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRef {
    /// The name of a FilterPolicy of this namespace.
    #[schemars(schema_with = "crate::rule::object_name")]
    pub name: String,
}

/// One key of a ConfigMap or of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The name of the object in this namespace.
    #[schemars(schema_with = "crate::rule::object_name")]
    pub name: String,
    /// The key in its data: `addresses`, `ca.crt`.
    #[schemars(schema_with = "crate::rule::data_key")]
    pub key: String,
}

/// A Secret whose keys are fixed by its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// The name of a Secret in this namespace.
    #[schemars(schema_with = "crate::rule::object_name")]
    pub name: String,
}

/// A port of a Service of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRef {
    /// The name of the Service: `mail`. One of type ExternalName is refused: name its host instead.
    #[schemars(schema_with = "crate::rule::service_name")]
    pub name: String,
    /// The namespace of the Service: `apps`. Default: that of this object.
    #[schemars(schema_with = "crate::rule::namespace_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The port of the Service, not of its pods. 1 to 65535. Default: 25; with `tls.handshake: Implicit` 465.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
