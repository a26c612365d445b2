//! What the other tests stand on: a cluster that does what they will ask of it, before anything of ours is in it.

use std::net::TcpListener;
use std::process;

use serde_json::json;

use crate::cluster::{Cluster, alone, eventually, undisturbed};
use crate::peer::Peer;

/// A namespace that goes with the test.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(hint: &str) -> Self {
        let name = format!("{hint}-{}", process::id());
        Cluster::shared().kubectl(&["create", "namespace", &name]).unwrap();
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Cluster::shared().kubectl(&["delete", "namespace", &self.0, "--wait=false"]));
    }
}

#[test]
fn pods_on_two_nodes_reach_each_other_by_address_and_by_name() {
    let _undisturbed = undisturbed();
    let cluster = Cluster::shared();
    let namespace = Namespace::new("standing");
    let name = namespace.0.as_str();
    let server = Peer::start(name, "a", "server", &["listen", "2525"]).unwrap();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": name},
        "spec": {"selector": {"peer": "server"}, "ports": [{"port": 25, "targetPort": 2525}]},
    });
    cluster.kubectl_with(&["apply", "-f", "-"], &service.to_string()).unwrap();
    for node in ["a", "b"] {
        let client = Peer::start(name, node, &format!("client-{node}"), &["idle"]).unwrap();
        let greeting = client.sees_open(&format!("{}:2525", server.ip())).unwrap();
        assert_eq!(greeting, format!("open 220 {}", client.ip()), "pods see each other's own addresses");
        let greeting = client.sees_open(&format!("server.{name}.svc.cluster.local:25")).unwrap();
        assert_eq!(greeting, format!("open 220 {}", client.ip()));
    }
}

#[test]
fn a_pod_reaches_a_server_outside_of_the_cluster_by_its_own_address() {
    let _undisturbed = undisturbed();
    let cluster = Cluster::shared();
    let namespace = Namespace::new("outside");
    let server = TcpListener::bind((cluster.outside(), 0)).unwrap();
    let client = Peer::start(&namespace.0, "b", "client", &["idle"]).unwrap();
    client.sees_open(&server.local_addr().unwrap().to_string()).unwrap();
    let (_, from) = server.accept().unwrap();
    assert_eq!(from.ip(), client.ip());
}

#[test]
fn a_program_of_the_cluster_ends_and_starts_as_a_test_says() {
    let _alone = alone();
    let cluster = Cluster::shared();
    cluster.kill("kube-apiserver").unwrap();
    assert!(cluster.kubectl(&["get", "nodes", "--request-timeout=5s"]).is_err());
    cluster.start("kube-apiserver").unwrap();
    eventually("the API server answers again", || cluster.kubectl(&["get", "nodes"])).unwrap();
}

#[test]
fn a_network_policy_closes_and_opens_a_path_between_nodes() {
    let _undisturbed = undisturbed();
    let cluster = Cluster::shared();
    let namespace = Namespace::new("policies");
    let name = namespace.0.as_str();
    let server = Peer::start(name, "a", "server", &["listen", "2525"]).unwrap();
    let client = Peer::start(name, "b", "client", &["idle"]).unwrap();
    let there = format!("{}:2525", server.ip());
    client.sees_open(&there).unwrap();

    let policy = |ingress: serde_json::Value| {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "server", "namespace": name},
            "spec": {"podSelector": {"matchLabels": {"peer": "server"}}, "policyTypes": ["Ingress"], "ingress": ingress},
        });
        cluster.kubectl_with(&["apply", "-f", "-"], &policy.to_string()).unwrap();
    };
    policy(json!([]));
    client.sees_closed(&there).unwrap();
    policy(json!([{"from": [{"podSelector": {"matchLabels": {"peer": "client"}}}], "ports": [{"port": 2525}]}]));
    client.sees_open(&there).unwrap();
    cluster.kubectl(&["-n", name, "label", "pod", "client", "--overwrite", "peer=other"]).unwrap();
    client.sees_closed(&there).unwrap();
}
