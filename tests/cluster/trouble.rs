//! What a failed test shows, so that its reason can be found without the machine.

use crate::cluster::{Cluster, tail};

/// The state of a namespace: its pods, its events, its objects of our kinds, and the last words of every container.
pub(crate) fn of(namespace: &str) -> String {
    let cluster = Cluster::shared();
    let ask = |args: &[&str]| {
        let answer = cluster.kubectl(&[&["-n", namespace], args].concat());
        answer.unwrap_or_else(|error| format!("{error:#}"))
    };
    let mut text = format!("--- nodes\n{}", ask(&["get", "nodes", "-o", "wide"]));
    text += &format!("--- pods of {namespace}\n{}", ask(&["get", "pods", "-o", "wide", "--show-labels"]));
    text += &format!("--- events of {namespace}\n{}", tail(&ask(&["get", "events", "--sort-by=.lastTimestamp"]), 30));
    let ours = "relaydomains,relayhosts,filterpolicies,networkpolicies,services,persistentvolumeclaims";
    text += &format!("\n--- objects of {namespace}\n{}", ask(&["get", ours]));
    for pod in ask(&["get", "pods", "-o", "name"]).lines() {
        text += &format!("--- {namespace} {pod}\n{}", ask(&["logs", pod, "--tail=25", "--all-containers"]));
    }
    text
}

/// The same of a test's namespace, and the operator's part in it.
pub(crate) fn of_test(namespace: &str) -> String {
    let cluster = Cluster::shared();
    let mut text = of(namespace);
    for component in ["kube-apiserver", "kubelet-a", "kubelet-b", "kube-router-a", "kube-router-b"] {
        text += &format!("--- {component}\n{}\n", cluster.last_words(component, 5));
    }
    text += &of("postern-system");
    text
}
