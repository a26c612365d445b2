//! What the charts render: read, held against what a DMZ must never have, and against the programs that it starts.
//!
//! Helm is the real one, built by tests/kubernetes/assets. What a real API server says of the same manifests is in
//! tests/kubernetes.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod environment;
mod gitops;
mod hostile;
mod rights;
mod same;
mod values;

use serde_json::{Value, json};

/// Values that switch on all that a chart can make.
fn everything(chart: &str) -> Value {
    match chart {
        "operator" => json!({
            "image": {"repository": "registry.example/postern-operator", "digest": format!("sha256:{}", "0".repeat(64))},
            "imagePullSecrets": [{"name": "registry"}],
            "clusterRanges": ["10.244.0.0/16", "fd00:10::/56"],
            "serviceAccount": {"annotations": {"example.com/role": "none"}},
            "metrics": {"serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}}},
            "podLabels": {"team": "mail"},
            "podAnnotations": {"example.com/note": "1"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "dmz", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "system-cluster-critical",
        }),
        _ => json!({
            "replicas": 3,
            "hostname": "$(POD_NAME).example.com",
            "image": {"repository": "registry.example/postern-relay", "digest": format!("sha256:{}", "0".repeat(64))},
            "imagePullSecrets": [{"name": "registry"}],
            "service": {
                "annotations": {"example.com/pool": "dmz"},
                "loadBalancerClass": "example.com/balancer",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
                "nodePorts": {"smtp": 30025, "submissions": 30465},
            },
            "submissions": {"enabled": true},
            "certificates": {"default": "relay-tls", "partner": "partner-tls"},
            "proxyFrom": ["192.0.2.10/32"],
            "neverSource": ["10.0.0.0/24"],
            "mxAllow": ["10.20.0.0/16"],
            "dns": ["192.0.2.53", "[2001:db8::53]:5353"],
            "limits": {"spool-size": "20Gi", "connections": 100_000, "command-time": "2m", "body-memory": 33_554_432},
            "spool": {"storageClassName": "fast"},
            "networkPolicies": false,
            "paused": true,
            "defaultPolicy": {"spec": {"limits": {"messageSize": "50Mi"}}},
            "metrics": {"podMonitor": {"enabled": true, "labels": {"release": "prometheus"}}},
            "podLabels": {"team": "mail"},
            "podAnnotations": {"example.com/note": "1"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "dmz", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "system-cluster-critical",
        }),
    }
}

/// Every way of rendering that the tests here look at: chart, and values.
fn renderings() -> Vec<(&'static str, Value)> {
    vec![
        ("operator", json!({})),
        ("operator", json!({"namespaces": ["dmz", "other"]})),
        ("operator", everything("operator")),
        ("relay", json!({})),
        ("relay", everything("relay")),
    ]
}

/// The namespace of a chart's release in these tests.
fn namespace(chart: &str) -> &'static str {
    if chart == "operator" { "postern-system" } else { "dmz" }
}
