//! What is not described by our schemas: metadata, and the ConfigMaps and Secrets that our kinds name.

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::DEFAULT_NAMESPACE;
use super::node::{Content, Node};
use super::structure::{Violation, hint};

/// Users write these; the others are the API server's, and are in what `kubectl get -o yaml` prints.
const METADATA: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("namespace", Shape::Text),
    ("labels", Shape::Texts),
    ("annotations", Shape::Texts),
    ("creationTimestamp", Shape::Any),
    ("deletionGracePeriodSeconds", Shape::Any),
    ("deletionTimestamp", Shape::Any),
    ("finalizers", Shape::Any),
    ("generateName", Shape::Any),
    ("generation", Shape::Any),
    ("managedFields", Shape::Any),
    ("ownerReferences", Shape::Any),
    ("resourceVersion", Shape::Any),
    ("selfLink", Shape::Any),
    ("uid", Shape::Any),
];

const CONFIG_MAP: &[(&str, Shape)] = &[
    ("apiVersion", Shape::Any),
    ("kind", Shape::Any),
    ("metadata", Shape::Any),
    ("data", Shape::Texts),
    ("binaryData", Shape::Base64),
    ("immutable", Shape::Any),
];

const SECRET: &[(&str, Shape)] = &[
    ("apiVersion", Shape::Any),
    ("kind", Shape::Any),
    ("metadata", Shape::Any),
    ("data", Shape::Base64),
    ("stringData", Shape::Texts),
    ("type", Shape::Text),
    ("immutable", Shape::Any),
];

#[derive(Clone, Copy)]
enum Shape {
    Any,
    Text,
    Texts,
    Base64,
}

/// What is wrong with an object's metadata.
pub(super) fn check_metadata(node: &Node) -> Vec<Violation> {
    let mut found = Vec::new();
    let Some(metadata) = node.get("metadata").filter(|metadata| matches!(metadata.content, Content::Object(_))) else {
        found.push(violation(node, "metadata", "Required value: an object with a name".to_owned()));
        return found;
    };
    members(metadata, "metadata", METADATA, &mut found);
    match metadata.get("name").and_then(Node::text) {
        None => found.push(violation(node, "metadata.name", "Required value: the name of the object".to_owned())),
        Some(name) if !is_subdomain(name) => found.push(violation(
            node,
            "metadata.name",
            format!(
                "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                 characters, '-' or '.', and must start and end with an alphanumeric character"
            ),
        )),
        Some(_) => {}
    }
    found
}

/// What is wrong with a ConfigMap or a Secret.
pub(super) fn check_data(kind: &str, node: &Node) -> Vec<Violation> {
    let mut found = Vec::new();
    members(node, "", if kind == "Secret" { SECRET } else { CONFIG_MAP }, &mut found);
    found
}

fn violation(node: &Node, path: &str, message: String) -> Violation {
    let line = node.line_of(path);
    Violation { path: path.to_owned(), line, constraint: None, message, blocks_rules: true }
}

fn members(node: &Node, above: &str, known: &[(&str, Shape)], found: &mut Vec<Violation>) {
    let Content::Object(members) = &node.content else { return };
    for (key, value) in members {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let shape = known.iter().find(|(name, _)| name == key).map(|(_, shape)| *shape);
        let wrong = match shape {
            _ if value.is_null() => None,
            None => {
                let names: Vec<String> = known.iter().map(|(name, _)| (*name).to_owned()).collect();
                Some((path.clone(), value.line, format!("unknown field \"{path}\"{}", hint(key, names.iter()))))
            }
            Some(Shape::Any) => None,
            Some(Shape::Text) => (value.text().is_none())
                .then(|| (path.clone(), value.line, "Invalid value: must be a text: put it in quotes".to_owned())),
            Some(Shape::Texts) => wrong_entry(value, &path, |_| None),
            Some(Shape::Base64) => wrong_entry(value, &path, |text| {
                let decoded = serde_json::from_value::<ByteString>(Value::String(text.to_owned()));
                decoded.is_err().then_some("Invalid value: must be base64; plain text goes into stringData of a Secret")
            }),
        };
        if let Some((path, line, message)) = wrong {
            found.push(Violation { path, line, constraint: None, message, blocks_rules: true });
        }
    }
}

/// The first entry that is no text, or of whose text something is said.
fn wrong_entry(node: &Node, path: &str, wrong: impl Fn(&str) -> Option<&'static str>) -> Option<(String, u64, String)> {
    let Content::Object(entries) = &node.content else {
        return Some((path.to_owned(), node.line, "Invalid value: must be an object of texts".to_owned()));
    };
    entries.iter().find_map(|(key, value)| {
        let message = match value.text() {
            None => "Invalid value: must be a text: put it in quotes",
            Some(text) => wrong(text)?,
        };
        Some((format!("{path}.{key}"), value.line, message.to_owned()))
    })
}

/// RFC 1123, as the API server takes names of objects.
fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| inner(byte) || byte == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().last().is_some_and(inner)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Adds what an API server would: a uid (the same for the same object), a generation; and puts `stringData` into `data`.
pub(super) fn complete(json: &mut Value, kind: &str) {
    if kind == "Secret"
        && let Some(Value::Object(texts)) = json.as_object_mut().and_then(|secret| secret.remove("stringData"))
    {
        for (key, text) in texts {
            let bytes = ByteString(text.as_str().unwrap_or_default().as_bytes().to_vec());
            json["data"][key] = json!(bytes);
        }
    }
    let metadata = &mut json["metadata"];
    if metadata["uid"].is_null() {
        let text = |value: &Value| value.as_str().unwrap_or(DEFAULT_NAMESPACE).to_owned();
        let name = format!("{kind}/{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
        metadata["uid"] = json!(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string());
    }
    if metadata["generation"].is_null() {
        metadata["generation"] = json!(1);
    }
}
