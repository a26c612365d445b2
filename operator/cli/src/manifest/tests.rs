use super::object::Reader;
use super::*;

/// Reads texts as if they were files.
pub(super) fn read_texts(files: &[(&str, &str)]) -> Manifests {
    let mut reader = Reader::new();
    for (name, text) in files {
        reader.file(name, text);
    }
    reader.finish()
}

fn lines(manifests: &Manifests) -> Vec<String> {
    manifests.findings.iter().map(Finding::to_string).collect()
}

const HOST: &str = "apiVersion: postern.io/v1alpha1
kind: RelayHost
metadata: {name: mailbox}
spec:
  endpoints:
    - host: {address: 10.0.0.1}
";

#[test]
fn a_valid_object_is_decoded_and_gets_what_an_api_server_would_add() {
    let (once, again) = (read_texts(&[("a.yaml", HOST)]), read_texts(&[("b.yaml", HOST)]));
    assert_eq!(lines(&once), Vec::<String>::new());
    let metadata = &once.hosts[0].metadata;
    assert_eq!(metadata.generation, Some(1));
    assert!(metadata.uid.is_some());
    assert_eq!(metadata.uid, again.hosts[0].metadata.uid);
    assert_eq!(once.inputs().hosts[0].meta.name, "mailbox");
}

#[test]
fn an_unknown_field_is_named_with_the_one_that_was_meant() {
    let text = HOST.replace("endpoints", "endpoint").replace("    - host", "    - hots");
    assert_eq!(
        lines(&read_texts(&[("a.yaml", &text)]))[0],
        "a.yaml:5: RelayHost/mailbox: spec.endpoint: unknown field \"spec.endpoint\", did you mean \"endpoints\"?"
    );
    let text = HOST.replace("spec:", "spec:\n  dkim: x");
    assert_eq!(
        lines(&read_texts(&[("a.yaml", &text)])),
        ["a.yaml:5: RelayHost/mailbox: spec.dkim: unknown field \"spec.dkim\", known here: auth, endpoints, limits, \
          queue, sources, suspend, tls"]
    );
}

#[test]
fn an_object_that_is_wrong_is_not_decoded_and_the_others_are() {
    let wrong = HOST.replace("10.0.0.1", "10.0.0.1:25").replace("mailbox", "wrong");
    let manifests = read_texts(&[("a.yaml", &format!("{wrong}---\n{HOST}"))]);
    assert_eq!(manifests.findings.len(), 1);
    assert_eq!(manifests.findings[0].line, Some(6));
    assert_eq!(manifests.findings[0].field, "spec.endpoints[0].host.address");
    assert_eq!(manifests.hosts.len(), 1);
    assert_eq!(manifests.hosts[0].metadata.name.as_deref(), Some("mailbox"));
}

#[test]
fn rules_are_not_looked_at_while_the_structure_is_wrong() {
    let text = HOST.replace("10.0.0.1", "10.0.0.1:25").replace("spec:", "spec:\n  suspend: 7");
    let found = lines(&read_texts(&[("a.yaml", &text)]));
    assert_eq!(
        found,
        [
            "a.yaml:5: RelayHost/mailbox: spec.suspend: Invalid value: \"integer\": spec.suspend in body must be of type \
          boolean: \"integer\""
        ]
    );
}

#[test]
fn what_is_empty_counts_as_absent() {
    let text = format!("{HOST}  tls:\n  sources:\n");
    let manifests = read_texts(&[("a.yaml", &text)]);
    assert_eq!(lines(&manifests), Vec::<String>::new());
    assert_eq!(manifests.hosts[0].spec.tls, None);
    let text = HOST.replace("{address: 10.0.0.1}", "{address: }");
    assert_eq!(manifests_field(&text), "spec.endpoints[0].host.address");
}

fn manifests_field(text: &str) -> String {
    read_texts(&[("a.yaml", text)]).findings.swap_remove(0).field
}

#[test]
fn an_object_that_is_there_twice_is_refused_and_the_first_is_named() {
    let found = lines(&read_texts(&[("a.yaml", HOST), ("b.yaml", &format!("\n{HOST}"))]));
    assert_eq!(
        found,
        ["b.yaml:4: RelayHost/mailbox: metadata.name: is written twice, first in a.yaml:1: remove one of them"]
    );
}

#[test]
fn a_broken_file_is_one_finding_with_its_line_and_the_others_are_read() {
    let manifests = read_texts(&[("a.yaml", "spec:\n  a: [1\n  b: 2\n"), ("b.yaml", HOST)]);
    assert_eq!(lines(&manifests), ["a.yaml:3: illegal placement of ':' indicator"]);
    assert_eq!(manifests.hosts.len(), 1);
    let twice = HOST.replace("spec:", "spec:\n  suspend: true\n  suspend: false");
    assert_eq!(lines(&read_texts(&[("a.yaml", &twice)])), ["a.yaml:6: duplicate mapping key: suspend"]);
}

#[test]
fn kinds_and_versions_that_there_are_not_are_refused() {
    let found = |from: &str, to: &str| lines(&read_texts(&[("a.yaml", &HOST.replace(from, to))])).join("\n");
    assert_eq!(
        found("RelayHost", "RelayHosts"),
        "a.yaml:2: kind: no kind \"RelayHosts\" in postern.io/v1alpha1, did you mean \"RelayHost\"?"
    );
    assert_eq!(
        found("v1alpha1", "v1"),
        "a.yaml:1: apiVersion: Unsupported value: \"postern.io/v1\": supported values: \"postern.io/v1alpha1\""
    );
    assert_eq!(found("kind: RelayHost\n", ""), "a.yaml:1: kind: Required value: a text, such as RelayDomain");
    assert!(found("name: mailbox", "name: Mailbox").contains("metadata.name: Invalid value: \"Mailbox\": a lowercase"));
    assert!(found("name: mailbox", "nam: mailbox").contains("unknown field \"metadata.nam\", did you mean \"name\"?"));
}

#[test]
fn objects_of_others_are_noted_and_lists_are_opened() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}\n\
                - {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}\n";
    let manifests = read_texts(&[("a.yaml", text)]);
    assert_eq!(lines(&manifests), Vec::<String>::new());
    assert_eq!(
        manifests.notes[0].to_string(),
        "a.yaml:4: Deployment/x: not read: apps/v1 Deployment means nothing to Postern"
    );
    assert_eq!(manifests.inputs().config_maps["c"]["a"], "b");
}

#[test]
fn a_secret_is_read_from_base64_and_from_text_and_never_shown() {
    let text =
        "{apiVersion: v1, kind: Secret, metadata: {name: s},\n data: {a: aGk=, b: b2xk},\n stringData: {b: new}}";
    let manifests = read_texts(&[("a.json", text)]);
    assert_eq!(lines(&manifests), Vec::<String>::new());
    let data = &manifests.inputs().secrets["s"].data;
    assert_eq!((data["a"].0.as_slice(), data["b"].0.as_slice()), (b"hi".as_slice(), b"new".as_slice()));
    let found = lines(&read_texts(&[("a.yaml", &text.replace("aGk=", "hush!"))]));
    assert_eq!(
        found,
        ["a.yaml:2: Secret/s: data.a: Invalid value: must be base64; plain text goes into stringData of a Secret"]
    );
}

#[test]
fn all_objects_belong_to_one_namespace() {
    let other = HOST.replace("name: mailbox", "name: other, namespace: b");
    let first = HOST.replace("name: mailbox", "name: mailbox, namespace: a");
    let manifests = read_texts(&[("a.yaml", &first), ("b.yaml", &other)]);
    assert_eq!(manifests.namespace, "a");
    assert_eq!(
        lines(&manifests),
        ["b.yaml:3: RelayHost/other: metadata.namespace: is in namespace b, but RelayHost/mailbox is in a: one \
          namespace is one DMZ, so read one at a time"]
    );
}
