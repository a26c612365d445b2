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
    serde_json::from_str::<Value>(include_str!("everything.json")).unwrap()[chart].take()
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
