//! Every right that the charts give to anyone, as a golden file that is read when it changes; and which it can never be.

use std::path::Path;

use postern_tests::chart::objects;
use serde_json::{Value, json};

use crate::{namespace, renderings};

/// Kinds that give or bind rights.
const RIGHTS: [&str; 4] = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// What may be reached cluster-wide, and how: the last line of the design of the API, word by word.
const CLUSTER_WIDE: &[(&str, &str, &[&str])] = &[
    ("postern.io", "relaydomains", &["list", "watch"]),
    ("postern.io", "relayhosts", &["list", "watch"]),
    ("postern.io", "filterpolicies", &["list", "watch"]),
    ("postern.io", "relaydomains/status", &["patch"]),
    ("postern.io", "relayhosts/status", &["patch"]),
    ("postern.io", "filterpolicies/status", &["patch"]),
    ("", "namespaces", &["list", "watch"]),
    ("", "nodes", &["list", "watch"]),
    ("", "services", &["list", "watch"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
];

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is wrong with one rule wherever it stands: rights that lead to further rights, or to what runs.
fn dangers(rule: &Value) -> Vec<String> {
    let (groups, resources, verbs) = (texts(&rule["apiGroups"]), texts(&rule["resources"]), texts(&rule["verbs"]));
    let mut dangers = Vec::new();
    if [&groups, &resources, &verbs].iter().any(|words| words.iter().any(|word| word.contains('*'))) {
        dangers.push("a wildcard".to_owned());
    }
    if !rule["nonResourceURLs"].is_null() {
        dangers.push("paths of the API server".to_owned());
    }
    for verb in verbs
        .iter()
        .filter(|verb| ["bind", "escalate", "impersonate", "deletecollection", "approve", "sign"].contains(verb))
    {
        dangers.push(format!("the verb {verb}"));
    }
    let groups_never = [
        "rbac.authorization.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "certificates.k8s.io",
        "authentication.k8s.io",
        "apiregistration.k8s.io",
    ];
    for group in groups.iter().filter(|group| groups_never.contains(group)) {
        dangers.push(format!("the group {group}"));
    }
    let resources_never = [
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "pods/proxy",
        "pods/ephemeralcontainers",
        "nodes/proxy",
        "services/proxy",
        "serviceaccounts",
        "serviceaccounts/token",
        "persistentvolumes",
    ];
    for resource in resources.iter().filter(|resource| resources_never.contains(resource)) {
        dangers.push(format!("the resource {resource}"));
    }
    let writes = verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
    let named = !texts(&rule["resourceNames"]).is_empty();
    let runs = ["pods", "deployments", "statefulsets", "daemonsets", "jobs", "cronjobs", "nodes", "namespaces"];
    for resource in resources.iter().filter(|resource| writes && runs.contains(resource)) {
        dangers.push(format!("writes {resource}"));
    }
    for resource in resources.iter().filter(|resource| writes && !named && ["secrets", "configmaps"].contains(resource))
    {
        dangers.push(format!("writes any of the {resource}"));
    }
    dangers
}

/// What a cluster-wide rule gives beyond the list.
fn beyond(rule: &Value) -> Vec<String> {
    let mut beyond = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            let known = CLUSTER_WIDE.iter().find(|(known, name, _)| *known == group && *name == resource);
            let allowed = known.map(|(_, _, verbs)| *verbs).unwrap_or_default();
            let verbs = texts(&rule["verbs"]).into_iter().filter(|verb| !allowed.contains(verb));
            beyond.extend(verbs.map(|verb| format!("{verb} {group}/{resource}")));
        }
    }
    beyond
}

/// Whether a role is for people: Kubernetes adds it to its own, and the operator gets nothing by it.
fn is_of_people(object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.into_iter().any(|(label, _)| label.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
}

fn is_right(object: &Value) -> bool {
    RIGHTS.iter().any(|kind| object["kind"] == *kind)
}

/// A role or a binding as people read it: who, and a line for each rule.
fn said(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = text(&object["metadata"]["namespace"]);
    let place = if place.is_empty() { "the whole cluster".to_owned() } else { format!("namespace {place}") };
    let mut said = format!("{} {} in {place}", text(&object["kind"]), text(&object["metadata"]["name"]));
    for rule in object["rules"].as_array().into_iter().flatten() {
        let groups = texts(&rule["apiGroups"]).join(" ");
        let group = if groups.is_empty() { "core" } else { groups.as_str() };
        let (resources, verbs) = (texts(&rule["resources"]).join(", "), texts(&rule["verbs"]).join(" "));
        let names = match texts(&rule["resourceNames"]).join(", ") {
            names if names.is_empty() => String::new(),
            names => format!(", only {names}"),
        };
        said += &format!("\n  {verbs}: {group} {resources}{names}");
    }
    for subject in object["subjects"].as_array().into_iter().flatten() {
        let [kind, namespace, name] = ["kind", "namespace", "name"].map(|key| text(&subject[key]));
        let role = &object["roleRef"];
        said += &format!("\n  gives {} {} to {kind} {namespace}/{name}", text(&role["kind"]), text(&role["name"]));
    }
    said + "\n"
}

/// `POSTERN_BLESS=1` writes the file anew: read the difference.
#[test]
fn the_rights_are_those_that_were_read() {
    let mut found =
        String::from("# Every right that the charts give. Made from what they render: see tests/charts/rights.rs.\n");
    for (title, chart, values) in [
        ("charts/operator", "operator", json!({})),
        ("charts/operator, with namespaces: [dmz]", "operator", json!({"namespaces": ["dmz"]})),
        ("charts/relay", "relay", json!({})),
    ] {
        let rights = objects(chart, namespace(chart), &values).unwrap();
        let rights: Vec<String> = rights.iter().filter(|object| is_right(object)).map(said).collect();
        found += &format!("\n## {title}\n\n{}", rights.concat());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/golden/rights.txt");
    if std::env::var_os("POSTERN_BLESS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{} is another now:\n{found}", file.display());
}

#[test]
fn no_right_leads_to_further_rights_or_to_what_runs() {
    let mut rules = 0;
    for (chart, values) in renderings() {
        for object in objects(chart, namespace(chart), &values).unwrap() {
            if is_of_people(&object) {
                continue;
            }
            for rule in object["rules"].as_array().into_iter().flatten().filter(|_| is_right(&object)) {
                rules += 1;
                assert_eq!(dangers(rule), [""; 0], "charts/{chart}: {} {rule}", object["metadata"]["name"]);
                if object["kind"] == "ClusterRole" {
                    assert_eq!(beyond(rule), [""; 0], "charts/{chart}: {} {rule}", object["metadata"]["name"]);
                }
            }
        }
    }
    assert!(rules > 30, "only {rules} rules");
}

#[test]
fn told_which_namespaces_it_has_no_right_in_the_whole_cluster() {
    let objects = objects("operator", "postern-system", &json!({"namespaces": ["dmz", "other"]})).unwrap();
    let cluster_wide = objects.iter().filter(|object| object["kind"].as_str().unwrap().starts_with("ClusterRole"));
    assert_eq!(cluster_wide.filter(|object| !is_of_people(object)).count(), 0);
    let named =
        |namespace: &str| objects.iter().filter(|o| is_right(o) && o["metadata"]["namespace"] == *namespace).count();
    assert_eq!((named("dmz"), named("other"), named("postern-system")), (2, 2, 2));
}

#[test]
fn people_get_our_kinds_where_kubernetes_lets_them_in_and_nobody_is_given_more() {
    const KINDS: [&str; 3] = ["relaydomains", "relayhosts", "filterpolicies"];
    const READ: &[&str] = &["get", "list", "watch"];
    const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    for values in [json!({}), json!({"namespaces": ["dmz"]})] {
        let objects = objects("operator", "postern-system", &values).unwrap();
        let roles: Vec<_> = objects.iter().filter(|object| is_of_people(object)).collect();
        let found: Vec<_> =
            roles.iter().map(|role| (role["metadata"]["name"].as_str().unwrap(), said_to(role))).collect();
        assert_eq!(found, [("postern-view", vec!["view"]), ("postern-edit", vec!["admin", "edit"])]);
        for (role, verbs) in roles.iter().zip([READ, WRITE]) {
            let rules = role["rules"].as_array().unwrap();
            assert!(rules.len() == 2 && rules.iter().all(|rule| texts(&rule["apiGroups"]) == ["postern.io"]), "{role}");
            assert_eq!((texts(&rules[0]["resources"]), texts(&rules[0]["verbs"])), (KINDS.to_vec(), verbs.to_vec()));
            let status = KINDS.map(|kind| format!("{kind}/status"));
            assert!(texts(&rules[1]["resources"]) == status && texts(&rules[1]["verbs"]) == ["get"], "{role}");
        }
        let bound = objects.iter().filter_map(|object| object["roleRef"]["name"].as_str());
        assert_eq!(bound.filter(|name| found.iter().any(|(role, _)| role == name)).collect::<Vec<_>>(), [""; 0]);
    }
    let none = objects("operator", "postern-system", &json!({"aggregateRoles": false})).unwrap();
    assert_eq!(none.iter().filter(|object| is_of_people(object)).count(), 0);
}

/// To which ClusterRoles of Kubernetes a role is added, sorted.
fn said_to(role: &Value) -> Vec<&str> {
    let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
    let to = labels.filter(|(_, value)| **value == "true");
    to.filter_map(|(label, _)| label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-")).collect()
}

#[test]
fn the_relays_themselves_have_no_right_at_all() {
    for (_, values) in renderings().into_iter().filter(|(chart, _)| *chart == "relay") {
        for object in objects("relay", "dmz", &values).unwrap() {
            assert_ne!(object["kind"], "ServiceAccount");
            for subject in object["subjects"].as_array().into_iter().flatten() {
                assert_eq!(subject["namespace"], "postern-system", "{object}");
            }
        }
    }
}

#[test]
fn dangers_are_found() {
    let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
    for (dangerous, said) in [
        (rule("*", "secrets", "list"), "a wildcard"),
        (rule("", "secrets", "patch"), "writes any of the secrets"),
        (rule("rbac.authorization.k8s.io", "rolebindings", "create"), "the group rbac.authorization.k8s.io"),
        (rule("", "pods/exec", "create"), "the resource pods/exec"),
        (rule("", "users", "impersonate"), "the verb impersonate"),
        (rule("apps", "statefulsets", "patch"), "writes statefulsets"),
    ] {
        assert_eq!(dangers(&dangerous), [said]);
    }
    assert_eq!(beyond(&rule("", "secrets", "list")), ["list /secrets"]);
    assert_eq!(beyond(&rule("", "services", "list")), [""; 0]);
}
