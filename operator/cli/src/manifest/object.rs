//! From documents to objects: which kind each is, whether it is valid, and that none is there twice.

use postern_crds::{GROUP, VERSION};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::{self, KindSchema};
use super::node::{self, Content, Node};
use super::structure::{Violation, hint};
use super::{DEFAULT_NAMESPACE, Finding, Manifests, Origin, core};

/// Collects what the files hold.
pub(super) struct Reader {
    kinds: Vec<KindSchema>,
    out: Manifests,
    /// The namespace that some object names, and that object.
    namespace: Option<(String, String)>,
}

/// A document while it is looked at.
struct Document<'a> {
    file: &'a str,
    node: Node,
    api_version: String,
    kind: String,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { kinds: kind::all(), out: Manifests::default(), namespace: None }
    }

    pub(super) fn unreadable(&mut self, file: &str, message: String) {
        let finding = Finding {
            file: file.to_owned(),
            line: None,
            object: None,
            field: String::new(),
            message,
            constraint: None,
        };
        self.out.findings.push(finding);
    }

    /// Reads one file. A text that is no YAML is one finding, and nothing of that file is used.
    pub(super) fn file(&mut self, file: &str, text: &str) {
        match node::parse(text) {
            Ok(documents) => documents.into_iter().for_each(|node| self.document(file, node)),
            Err(malformed) => self.find(file, malformed.line, None, "", malformed.message),
        }
    }

    pub(super) fn finish(mut self) -> Manifests {
        self.out.namespace = self.namespace.map_or_else(|| DEFAULT_NAMESPACE.to_owned(), |(namespace, _)| namespace);
        self.out
    }

    fn find(&mut self, file: &str, line: u64, object: Option<&str>, field: &str, message: impl Into<String>) {
        self.out.findings.push(Finding {
            file: file.to_owned(),
            line: Some(line),
            object: object.map(str::to_owned),
            field: field.to_owned(),
            message: message.into(),
            constraint: None,
        });
    }

    fn document(&mut self, file: &str, node: Node) {
        let mut identity = [("apiVersion", "such as postern.io/v1alpha1"), ("kind", "such as RelayDomain")].into_iter();
        let missing = identity.find(|(field, _)| node.get(field).and_then(Node::text).is_none());
        if let Some((field, example)) = missing {
            return self.find(file, node.line_of(field), None, field, format!("Required value: a text, {example}"));
        }
        let text = |field| node.get(field).and_then(Node::text).unwrap_or_default().to_owned();
        let document = Document { file, api_version: text("apiVersion"), kind: text("kind"), node };
        if document.kind.ends_with("List") && document.node.get("items").is_some() {
            return self.list(document);
        }
        self.object(document);
    }

    fn list(&mut self, document: Document<'_>) {
        let Content::Object(members) = document.node.content else { return };
        let items = members.into_iter().find(|(key, _)| key == "items").map(|(_, node)| node);
        match items.map(|node| (node.line, node.content)) {
            Some((_, Content::List(items))) => items.into_iter().for_each(|item| self.document(document.file, item)),
            Some((line, _)) => self.find(document.file, line, None, "items", "must be a list of objects"),
            None => {}
        }
    }

    fn object(&mut self, document: Document<'_>) {
        let (group, version) = document.api_version.split_once('/').unwrap_or(("", &document.api_version));
        let ours = group == GROUP;
        if ours && version != VERSION {
            let message =
                format!("Unsupported value: \"{}\": supported values: \"{GROUP}/{VERSION}\"", document.api_version);
            return self.find(document.file, document.node.line_of("apiVersion"), None, "apiVersion", message);
        }
        let read_beside = document.api_version == "v1" && matches!(document.kind.as_str(), "ConfigMap" | "Secret");
        if ours && !self.kinds.iter().any(|known| known.kind == document.kind) {
            let known: Vec<String> = self.kinds.iter().map(|known| known.kind.clone()).collect();
            let message =
                format!("no kind \"{}\" in {GROUP}/{VERSION}{}", document.kind, hint(&document.kind, known.iter()));
            return self.find(document.file, document.node.line_of("kind"), None, "kind", message);
        }
        if !ours && !read_beside {
            return self.note_foreign(&document);
        }
        let Some(name) = self.name(&document) else { return };
        let object = format!("{}/{name}", document.kind);
        if self.is_duplicate(&document, &object) || !self.is_of_the_namespace(&document, &object) {
            return;
        }
        self.decode(&document, &object);
        let Document { file, node, .. } = document;
        self.out.origins.insert(object, Origin { file: file.to_owned(), node });
    }

    fn note_foreign(&mut self, document: &Document<'_>) {
        let name = document.node.find("metadata.name").and_then(Node::text).unwrap_or_default();
        self.out.notes.push(Finding {
            file: document.file.to_owned(),
            line: Some(document.node.line),
            object: Some(format!("{}/{name}", document.kind)),
            field: String::new(),
            message: format!("not read: {} {} means nothing to Postern", document.api_version, document.kind),
            constraint: None,
        });
    }

    /// `metadata.name`, once the metadata as a whole is in order.
    fn name(&mut self, document: &Document<'_>) -> Option<String> {
        let name = document.node.find("metadata.name").and_then(Node::text).map(str::to_owned);
        let object = name.as_ref().map(|name| format!("{}/{name}", document.kind));
        let violations = core::check_metadata(&document.node);
        let valid = violations.is_empty();
        self.report(document.file, object.as_deref(), violations);
        name.filter(|_| valid)
    }

    fn report(&mut self, file: &str, object: Option<&str>, mut violations: Vec<Violation>) {
        violations.sort_by_key(|violation| violation.line);
        for Violation { path, line, constraint, message, blocks_rules: _ } in violations {
            self.out.findings.push(Finding {
                file: file.to_owned(),
                line: Some(line),
                object: object.map(str::to_owned),
                field: path,
                message,
                constraint,
            });
        }
    }

    fn is_duplicate(&mut self, document: &Document<'_>, object: &str) -> bool {
        let Some(first) = self.out.origins.get(object) else { return false };
        let message = format!("is written twice, first in {}:{}: remove one of them", first.file, first.node.line);
        self.find(document.file, document.node.line_of("metadata.name"), Some(object), "metadata.name", message);
        true
    }

    /// One namespace is one DMZ; nothing refers across.
    fn is_of_the_namespace(&mut self, document: &Document<'_>, object: &str) -> bool {
        const FIELD: &str = "metadata.namespace";
        let Some(namespace) = document.node.find(FIELD).and_then(Node::text) else { return true };
        let (known, first) = self.namespace.get_or_insert_with(|| (namespace.to_owned(), object.to_owned()));
        if known == namespace {
            return true;
        }
        let message = format!(
            "is in namespace {namespace}, but {first} is in {known}: one namespace is one DMZ, so read one at a time"
        );
        self.find(document.file, document.node.line_of(FIELD), Some(object), FIELD, message);
        false
    }

    fn decode(&mut self, document: &Document<'_>, object: &str) {
        let mut json = document.node.to_json();
        let violations = match self.kinds.iter().find(|known| known.kind == document.kind) {
            Some(known) => known.check(&document.node, &json),
            None => core::check_data(&document.kind, &document.node),
        };
        let valid = violations.is_empty();
        self.report(document.file, Some(object), violations);
        if !valid {
            return;
        }
        core::complete(&mut json, &document.kind);
        let decoded = match document.kind.as_str() {
            "RelayDomain" => push(json, &mut self.out.domains),
            "RelayHost" => push(json, &mut self.out.hosts),
            "FilterPolicy" => push(json, &mut self.out.policies),
            "ConfigMap" => push(json, &mut self.out.config_maps),
            _ => push(json, &mut self.out.secrets),
        };
        if let Err((field, message)) = decoded {
            self.find(document.file, document.node.line_of(&field), Some(object), &field, message);
        }
    }
}

/// Decodes a valid object. A schema that lets through what the types refuse still ends in a finding.
fn push<T: DeserializeOwned>(json: Value, into: &mut Vec<T>) -> Result<(), (String, String)> {
    let decoded = serde_path_to_error::deserialize(json);
    into.push(decoded.map_err(|error| (error.path().to_string(), error.into_inner().to_string()))?);
    Ok(())
}
