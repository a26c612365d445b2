//! What a pod of ours must never be able to do, however the values are set: L7 of the catalogue of hostile inputs.

use std::collections::BTreeSet;

use postern_tests::chart::objects;
use serde_json::{Value, json};

use crate::{namespace, renderings};

/// Where a relay may write: its queue, and the socket for those who may enter the pod.
const RELAY_WRITES: [&str; 2] = ["/run/postern", "/spool"];

/// What is wrong with a pod by the Pod Security Standard *restricted*, and by what we ask beyond it.
fn faults(pod: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod[shared].is_null(), shared);
    }
    must(pod["securityContext"]["runAsNonRoot"] == true, "may be root");
    must(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "any system call");
    must(pod["enableServiceLinks"] == false, "variables of every Service");
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        must(kinds == ["projected"] || kinds == ["emptyDir"], &format!("the volume {volume}"));
        let tokens = volume["projected"]["sources"].as_array().into_iter().flatten();
        must(tokens.clone().all(|source| source["serviceAccountToken"].is_null()), "a token in a volume");
    }
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    for container in containers.iter().flat_map(|kind| pod[*kind].as_array().into_iter().flatten()) {
        let context = &container["securityContext"];
        must(context["readOnlyRootFilesystem"] == true, "writes where its program is");
        must(context["allowPrivilegeEscalation"] == false, "may become more than it is");
        must(context["capabilities"] == json!({"drop": ["ALL"]}), "has capabilities");
        must(context["privileged"].is_null(), "privileged");
        must(!container["resources"]["limits"]["memory"].is_null(), "takes all memory");
        for port in container["ports"].as_array().into_iter().flatten() {
            must(port["hostPort"].is_null(), "a port of the node");
            must(port["containerPort"].as_u64() > Some(1023), "a port for which it would have to be root");
        }
    }
    faults
}

fn pods(chart: &str, values: &Value) -> Vec<Value> {
    let objects = objects(chart, namespace(chart), values).unwrap();
    let pods = objects.into_iter().map(|mut object| object["spec"]["template"]["spec"].take());
    pods.filter(|pod| !pod.is_null()).collect()
}

#[test]
fn pods_are_restricted_whatever_the_values_say() {
    for (chart, values) in renderings() {
        let pods = pods(chart, &values);
        assert_eq!(pods.len(), 1, "charts/{chart}");
        assert_eq!(faults(&pods[0]), [""; 0], "charts/{chart} with {values}");
    }
    // Where the platform chooses the user, no more than that is left to it.
    for chart in ["operator", "relay"] {
        let pods = pods(chart, &json!({"user": null}));
        assert_eq!(faults(&pods[0]), [""; 0], "charts/{chart}");
        assert!(pods[0]["securityContext"]["runAsUser"].is_null());
    }
}

#[test]
fn a_relay_holds_no_token_and_writes_nothing_but_its_queue() {
    for (_, values) in renderings().into_iter().filter(|(chart, _)| *chart == "relay") {
        for pod in pods("relay", &values) {
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert!(pod["serviceAccountName"].is_null());
            let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
            let written = mounts
                .iter()
                .filter(|mount| mount["readOnly"] != true)
                .map(|mount| mount["mountPath"].as_str().unwrap());
            assert_eq!(written.collect::<BTreeSet<_>>(), RELAY_WRITES.into());
        }
    }
}

#[test]
fn a_pod_that_can_more_is_found() {
    let good = pods("relay", &json!({})).remove(0);
    let change = |path: &str, value: Value| {
        let mut pod = good.clone();
        *pod.pointer_mut(path).unwrap() = value;
        faults(&pod)
    };
    for (path, value, said) in [
        ("/securityContext/runAsNonRoot", json!(false), "may be root"),
        ("/containers/0/securityContext/readOnlyRootFilesystem", json!(false), "writes where its program is"),
        (
            "/containers/0/securityContext/capabilities",
            json!({"drop": ["ALL"], "add": ["NET_RAW"]}),
            "has capabilities",
        ),
        ("/containers/0/ports/0", json!({"containerPort": 25}), "a port for which it would have to be root"),
        (
            "/volumes/1",
            json!({"name": "x", "hostPath": {"path": "/"}}),
            "the volume {\"hostPath\":{\"path\":\"/\"},\"name\":\"x\"}",
        ),
    ] {
        assert_eq!(change(path, value), [said]);
    }
}
