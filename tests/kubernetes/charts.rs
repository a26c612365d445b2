//! The charts on a real API server: it takes every manifest that they render, a second upgrade changes nothing, and pods pass
//! the strictest of the Pod Security Standards.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use postern_crds::FilterPolicy;
use postern_tests::chart;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::cluster::{admin, eventually, namespace};
use crate::dmz::{Dmz, crds};
use crate::manifests::apply;

/// Values that switch on all that a chart can make.
const EVERYTHING: &str = include_str!("../charts/everything.json");

fn everything(chart: &str) -> Value {
    serde_json::from_str::<Value>(EVERYTHING).unwrap()[chart].take()
}

/// A definition with what we use of a kind of the Prometheus operator, which no test installs.
fn monitor(kind: &str, endpoints: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let text = json!({"type": "string"});
    let endpoint = json!({"type": "object", "properties": {"port": text, "path": text, "interval": text}});
    let selector =
        json!({"type": "object", "properties": {"matchLabels": {"type": "object", "additionalProperties": text}}});
    let mut spec = json!({"type": "object", "properties": {"selector": selector}});
    spec["properties"][endpoints] = json!({"type": "array", "items": endpoint});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    })
}

/// Waits until objects of these kinds can be written.
async fn monitors(client: &Client) {
    let definitions = [monitor("ServiceMonitor", "endpoints"), monitor("PodMonitor", "podMetricsEndpoints")];
    apply::<CustomResourceDefinition>(client, &definitions).await.unwrap();
    eventually("the kinds of the Prometheus operator are there", async || {
        let kinds =
            ApiServer::shared().kubectl(&["api-resources", "--api-group=monitoring.coreos.com", "-o", "name"])?;
        ensure!(kinds.lines().count() == 2, "{kinds}");
        Ok(())
    })
    .await;
}

/// A namespace that takes restricted pods only.
async fn restricted(client: &Client, hint: &str) -> String {
    let name = namespace(client, hint).await.unwrap();
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    name
}

/// What kubectl answers to these manifests, with an argument more.
fn kubectl_apply(name: &str, manifests: &str, argument: &str) -> Result<String> {
    let file = ApiServer::shared().file(name);
    fs::write(&file, manifests)?;
    let file = file.display().to_string();
    ApiServer::shared().kubectl(&[
        "apply",
        "--server-side",
        "--validate=strict",
        "--force-conflicts",
        argument,
        "-f",
        &file,
    ])
}

#[tokio::test]
async fn the_api_server_takes_every_manifest() {
    let client = admin().await.unwrap();
    crds(&client).await.unwrap();
    monitors(&client).await;
    let (home, dmz) = (namespace(&client, "chart").await.unwrap(), namespace(&client, "chart-dmz").await.unwrap());
    for (number, (chart, namespace, values)) in [
        ("operator", &home, json!({})),
        ("operator", &home, json!({"namespaces": [&dmz]})),
        ("operator", &home, everything("operator")),
        ("relay", &dmz, json!({})),
        ("relay", &dmz, everything("relay")),
        ("relay", &dmz, json!({"service": {"type": "ClusterIP"}, "user": null, "defaultPolicy": {"enabled": false}})),
    ]
    .into_iter()
    .enumerate()
    {
        let manifests = chart::rendered(chart, namespace, &values).unwrap();
        let answer = kubectl_apply(&format!("chart-{number}.yaml"), &manifests, "--dry-run=server").unwrap();
        let taken = answer.lines().filter(|line| line.ends_with("(server dry run)")).count();
        let rendered = chart::objects(chart, namespace, &values).unwrap().len();
        assert_eq!(taken, rendered, "charts/{chart} with {values}:\n{answer}");
    }
}

#[tokio::test]
async fn pods_pass_the_restricted_standard() {
    let client = admin().await.unwrap();
    let namespace = restricted(&client, "restricted").await;
    let dry_run = |name: &str, pod: &Value| {
        let manifest = serde_json::to_string(pod).unwrap();
        kubectl_apply(&format!("{namespace}-{name}.json"), &manifest, "--dry-run=server")
    };
    for (chart, values) in [
        ("operator", json!({})),
        ("operator", everything("operator")),
        ("relay", json!({})),
        ("relay", everything("relay")),
        ("relay", json!({"user": null})),
    ] {
        let objects = chart::objects(chart, &namespace, &values).unwrap();
        let template = objects.iter().map(|object| &object["spec"]["template"]).find(|template| template.is_object());
        let mut pod = template.unwrap().clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(chart);
        pod["metadata"]["namespace"] = json!(namespace);
        // What the StatefulSet's controller would put there.
        let claims = objects.iter().filter(|object| object["kind"] == "StatefulSet");
        for claim in claims.flat_map(|set| set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten()) {
            let claim = json!({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": "any"}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(claim);
        }
        dry_run(chart, &pod).unwrap();
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let refused = dry_run(chart, &pod).unwrap_err().to_string();
        assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    }
}

/// Name and state of everything that our charts have made in a namespace. A status is the operator's, and no state of these.
fn made(namespace: &str) -> BTreeMap<String, String> {
    let kinds = "deployments,statefulsets,services,serviceaccounts,roles,rolebindings,networkpolicies,\
                 poddisruptionbudgets,filterpolicies";
    let selector = "app.kubernetes.io/part-of=postern,app.kubernetes.io/managed-by=Helm";
    let list = ApiServer::shared().kubectl(&["get", kinds, "-n", namespace, "-l", selector, "-o", "json"]).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let objects = list["items"].as_array().unwrap().iter().map(|object| {
        let metadata = &object["metadata"];
        let version = if object["status"]["conditions"].is_array() { "generation" } else { "resourceVersion" };
        (format!("{} {}", object["kind"], metadata["name"]), format!("{} {}", metadata["uid"], metadata[version]))
    });
    objects.collect()
}

/// `helm upgrade --install` of a chart.
async fn upgrade(chart: &'static str, namespace: &str, values: &Value) -> String {
    let (namespace, values) = (namespace.to_owned(), values.clone());
    let run = move || -> Result<String> {
        let kubeconfig =
            ApiServer::shared().kubeconfig("admin", "admin", Some("system:masters"))?.display().to_string();
        let (release, folder) = (format!("postern-{chart}"), chart::folder(chart).display().to_string());
        let arguments =
            ["upgrade", "--install", &release, &folder, "--namespace", &namespace, "--kubeconfig", &kubeconfig];
        let output = chart::helm(&arguments, &values)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_second_upgrade_changes_nothing_and_neither_does_kubectl() {
    let dmz = Dmz::without_rights("released").await.unwrap();
    let home = namespace(&dmz.client, "released-home").await.unwrap();
    // The definitions and the roles of the whole cluster are there already, and are other tests' too.
    let values = json!({"namespaces": [&dmz.namespace], "crds": {"enabled": false}, "aggregateRoles": false});
    for (chart, namespace, values, least) in
        [("operator", &home, values, 7), ("relay", &dmz.namespace, json!({"hostname": "mail.example.com"}), 7)]
    {
        let notes = upgrade(chart, namespace, &values).await;
        assert!(notes.contains("kubectl"), "it does not say what to do next: {notes}");
        if chart == "relay" {
            // The operator has found the DMZ that the chart made, and has its rights there.
            dmz.told::<FilterPolicy>("default", "ResolvedRefs", "True", "ResolvedRefs").await;
            dmz.told::<FilterPolicy>("default", "Programmed", "False", "NoRelay").await;
        }
        let before = made(namespace);
        assert!(before.len() >= least, "{before:?}");
        upgrade(chart, namespace, &values).await;
        assert_eq!(made(namespace), before, "helm upgrade");
        let manifests = chart::rendered(chart, namespace, &values).unwrap();
        let name = format!("{namespace}.yaml");
        // The first takes the fields into its own name; the second has nothing to do.
        kubectl_apply(&name, &manifests, "--field-manager=kubectl").unwrap();
        let taken = made(namespace);
        kubectl_apply(&name, &manifests, "--field-manager=kubectl").unwrap();
        assert_eq!(made(namespace), taken, "kubectl apply");
    }
}
