//! What Argo CD and Flux are told about the health of our kinds, held against statuses that the operator really gives: those of
//! the golden files of operator/tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube::core::cel::{Validator, compile_schema};
use postern_crds::condition::Reason;
use serde_json::{Value, json};

/// What Argo CD shows of an object.
const HEALTHS: [&str; 4] = ["Healthy", "Progressing", "Suspended", "Degraded"];
/// Golden file, object, its health in Argo CD, and whether Flux takes it for current or for failed.
const SHOWN: &[(&str, &str, &str, [bool; 2])] = &[
    ("relays", "FilterPolicy/default", "Healthy", [true, false]),
    ("relays", "RelayDomain/fine", "Healthy", [true, false]),
    ("relays", "RelayHost/exchange", "Healthy", [true, false]),
    ("relays", "RelayDomain/missing", "Progressing", [false, false]),
    ("relays", "RelayDomain/outdated", "Progressing", [false, false]),
    ("relays", "RelayDomain/faulty", "Degraded", [false, false]),
    ("no-relay", "RelayDomain/contoso", "Progressing", [false, false]),
    ("relay-unreachable", "RelayHost/exchange", "Progressing", [false, false]),
    ("relay-rejects", "RelayHost/exchange", "Degraded", [false, false]),
    ("relay-too-old", "RelayHost/exchange", "Degraded", [false, false]),
    ("paused", "FilterPolicy/default", "Suspended", [false, false]),
    ("conflict", "RelayDomain/old", "Healthy", [true, false]),
    ("conflict", "RelayDomain/young", "Degraded", [true, false]),
    ("conflict", "RelayDomain/youngest", "Degraded", [false, true]),
    ("name-taken", "RelayHost/exchange", "Degraded", [false, false]),
    ("unreadable", "RelayDomain/contoso", "Degraded", [false, false]),
    ("undecodable", "RelayDomain/contoso", "Degraded", [false, true]),
    ("no-default-policy", "RelayDomain/contoso", "Degraded", [false, false]),
];
/// Every reason for which an object is not enforced, and what Argo CD makes of it.
const NOT_PROGRAMMED: &[(Reason, &str)] = &[
    (Reason::Pending, "Progressing"),
    (Reason::NoRelay, "Progressing"),
    (Reason::RelayUnreachable, "Progressing"),
    (Reason::RelayRejected, "Degraded"),
    (Reason::RelayTooOld, "Degraded"),
    (Reason::Paused, "Suspended"),
    (Reason::SettingsFull, "Degraded"),
    (Reason::NameTaken, "Degraded"),
    (Reason::NotAccepted, "Degraded"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let octets: Vec<String> = text.bytes().map(|octet| format!("\\{octet:03}")).collect();
            format!("\"{}\"", octets.concat())
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("[{}] = {}", lua(&json!(key)), lua(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What Argo CD would show of an object, by a real interpreter.
fn health(object: &Value) -> (String, String) {
    let script =
        format!("obj = {}\nlocal shown = dofile(arg[1])\nio.write(shown.status, '\\n', shown.message)\n", lua(object));
    let mut child = Command::new("lua5.4")
        .arg("-")
        .arg(repository().join("charts/gitops/argocd/health.lua"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("lua5.4, which tests/run installs");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let (status, message) = shown.split_once('\n').unwrap();
    assert!(HEALTHS.contains(&status), "{status}");
    (status.to_owned(), message.to_owned())
}

/// `Ready=True Ready: enforced`, as golden files have it.
fn condition(written: &str) -> Value {
    let (said, message) = written.split_once(": ").unwrap();
    let (kind, rest) = said.split_once('=').unwrap();
    let (status, reason) = rest.split_once(' ').unwrap();
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// An object with its status in a golden file.
fn golden(file: &str, object: &str) -> Value {
    let path = repository().join(format!("operator/tests/golden/{file}.out.yaml"));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let status = &documents[0]["status"][object];
    let conditions = status["conditions"]
        .as_array()
        .unwrap_or_else(|| panic!("no {object} in {file}: {:?}", documents[0]["status"]));
    let conditions: Vec<_> = conditions.iter().map(|written| condition(written.as_str().unwrap())).collect();
    let generation = &status["observedGeneration"];
    json!({
        "kind": object.split('/').next(),
        "metadata": {"generation": generation},
        "spec": {},
        "status": {"observedGeneration": generation, "conditions": conditions},
    })
}

fn not_programmed(reason: Reason) -> Value {
    let unknown = if reason == Reason::RelayUnreachable { "Unknown" } else { "False" };
    let ready = if reason == Reason::NotAccepted { "NotAccepted" } else { "NotProgrammed" };
    json!({
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "conditions": [
            {"type": "Ready", "status": unknown, "reason": ready, "message": "why"},
            {"type": "Programmed", "status": unknown, "reason": reason.as_str(), "message": "why"},
        ]},
    })
}

#[test]
fn argo_cd_shows_what_the_operator_says() {
    for (file, object, expected, _) in SHOWN {
        let (status, message) = health(&golden(file, object));
        assert_eq!(status, *expected, "{file} {object}: {message}");
        assert!(message.len() > 10, "{file} {object}: {message}");
    }
}

#[test]
fn argo_cd_waits_for_the_operator_to_see_a_change() {
    assert_eq!(health(&json!({"metadata": {"generation": 1}})).0, "Progressing");
    assert_eq!(health(&json!({"metadata": {"generation": 1}, "status": {}})).0, "Progressing");
    let mut changed = golden("relays", "RelayHost/exchange");
    changed["metadata"]["generation"] = json!(2);
    assert_eq!(health(&changed).0, "Progressing");
    let mut failed = golden("conflict", "RelayDomain/youngest");
    failed["metadata"]["generation"] = json!(2);
    assert_eq!(health(&failed).0, "Progressing");
}

#[test]
fn argo_cd_shows_a_suspended_host() {
    let mut host = golden("relays", "RelayHost/exchange");
    host["spec"]["suspend"] = json!(true);
    assert_eq!(health(&host).0, "Suspended");
}

#[test]
fn argo_cd_knows_every_reason_for_which_an_object_is_not_enforced() {
    let known: BTreeSet<_> = NOT_PROGRAMMED.iter().map(|(reason, _)| reason).collect();
    let reasons =
        Reason::ALL.iter().filter(|reason| reason.meaning().contains("Programmed, ") && **reason != Reason::Programmed);
    assert_eq!(reasons.collect::<BTreeSet<_>>(), known);
    for (reason, expected) in NOT_PROGRAMMED {
        assert_eq!(health(&not_programmed(*reason)).0, *expected, "{reason}");
    }
}

/// The command that the page tells people to run makes settings of Argo CD that hold the very script.
#[test]
fn the_script_reaches_argo_cd_as_the_page_says() {
    let page = fs::read_to_string(repository().join("charts/gitops/README.md")).unwrap();
    let command = page.split("```sh\n").nth(1).unwrap().split(">health.json").next().unwrap();
    let output = Command::new("sh").args(["-c", command]).current_dir(repository()).output().unwrap();
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let script = fs::read_to_string(repository().join("charts/gitops/argocd/health.lua")).unwrap();
    let keys: Vec<_> = settings["data"].as_object().unwrap().keys().map(String::as_str).collect();
    let key = |kind: &str| format!("resource.customizations.health.postern.io_{kind}");
    assert_eq!(keys, [key("FilterPolicy"), key("RelayDomain"), key("RelayHost")]);
    assert!(settings["data"].as_object().unwrap().values().all(|value| *value == script));
}

/// Whether an expression of Flux holds for an object. Flux calls its parts by their names, a rule of a schema calls it self.
fn holds(expression: &str, object: &Value) -> bool {
    let rule =
        expression.replace("metadata.", "self.metadata.").replace("status.", "self.status.").replace("c.self.", "c.");
    let schema = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": [{"rule": rule, "message": "does not hold"}],
    });
    let compiled = compile_schema(&schema);
    let errors = match Validator::new().validate_compiled(&compiled, object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec(),
    };
    // Not that the expression could not be asked.
    assert!(errors.iter().all(|error| error.message == "does not hold"), "{rule}: {errors:?}");
    errors.is_empty()
}

#[test]
fn flux_waits_for_what_the_operator_says() {
    let text = fs::read_to_string(repository().join("charts/gitops/flux/postern.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let kustomization = documents.iter().find(|document| document["kind"] == "Kustomization").unwrap();
    let checks = kustomization["spec"]["healthCheckExprs"].as_array().unwrap();
    let kinds: BTreeSet<_> = checks.iter().map(|check| check["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["FilterPolicy", "RelayDomain", "RelayHost"].into());
    for (file, object, _, expected) in SHOWN {
        let object_shown = golden(file, object);
        let check = checks.iter().find(|check| check["kind"] == object_shown["kind"]).unwrap();
        let found = ["current", "failed"].map(|when| holds(check[when].as_str().unwrap(), &object_shown));
        assert_eq!(found, *expected, "{file} {object}: current, failed");
        let mut changed = object_shown.clone();
        changed["metadata"]["generation"] = json!(2);
        let found = ["current", "failed"].map(|when| holds(check[when].as_str().unwrap(), &changed));
        assert_eq!(found, [false, false], "{file} {object}, changed");
    }
}
