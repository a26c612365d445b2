//! What the API server checks of an object's structure, with its words: unknown fields, types, bounds, enumerations,
//! list types. Written against the schemas that `postern-crds` makes; a test holds that they say nothing else.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::Value;

use super::nearest::nearest;
use super::node::{Content, Node};

/// One value that is not as its schema says.
#[derive(Debug)]
pub(crate) struct Violation {
    /// `spec.deliverTo[0].name`
    pub(crate) path: String,
    pub(crate) line: u64,
    /// As in [`super::Finding::constraint`].
    pub(crate) constraint: Option<String>,
    /// After the path, as the API server says it.
    pub(crate) message: String,
    /// The API server looks at no rule while there is one of these.
    pub(crate) blocks_rules: bool,
}

/// Checks one value and all below it.
pub(crate) fn check(schema: &JSONSchemaProps, node: &Node, path: &str, found: &mut Vec<Violation>) {
    let mut here = Here { path, node, found };
    if !here.type_fits(schema) {
        return;
    }
    here.enumeration(schema);
    match &node.content {
        Content::Null | Content::Bool(_) => {}
        Content::Number(number) => here.number(schema, number.as_f64().unwrap_or(f64::NAN), number),
        Content::Text(text) => here.text(schema, text),
        Content::List(items) => here.list(schema, items),
        Content::Object(members) => here.object(schema, members),
    }
}

struct Here<'a> {
    path: &'a str,
    node: &'a Node,
    found: &'a mut Vec<Violation>,
}

impl Here<'_> {
    fn say(&mut self, keyword: &str, message: String) {
        self.add(self.path.to_owned(), self.node.line, keyword, message, false);
    }

    fn say_blocking(&mut self, keyword: &str, message: String) {
        self.add(self.path.to_owned(), self.node.line, keyword, message, true);
    }

    fn add(&mut self, path: String, line: u64, keyword: &str, message: String, blocks_rules: bool) {
        self.found.push(Violation { path, line, constraint: Some(keyword.to_owned()), message, blocks_rules });
    }

    fn invalid(&mut self, keyword: &str, value: &str, what: &str) {
        self.say(keyword, format!("Invalid value: {value}: {} in body {what}", self.path));
    }

    fn type_fits(&mut self, schema: &JSONSchemaProps) -> bool {
        let found = type_name(&self.node.content);
        let (expected, fits) = match schema.type_.as_deref() {
            None if schema.x_kubernetes_int_or_string == Some(true) => {
                ("integer or string", matches!(found, "integer" | "string"))
            }
            None => return true,
            Some("number") => ("number", matches!(found, "integer" | "number")),
            Some(expected) => (expected, expected == found),
        };
        if !fits {
            let message =
                format!("Invalid value: \"{found}\": {} in body must be of type {expected}: \"{found}\"", self.path);
            self.say_blocking("type", message);
        }
        fits
    }

    fn enumeration(&mut self, schema: &JSONSchemaProps) {
        let Some(allowed) = &schema.enum_ else { return };
        let value = self.node.to_json();
        if allowed.iter().all(|item| item.0 != value) {
            let allowed: Vec<String> = allowed.iter().map(|item| item.0.to_string()).collect();
            self.say_blocking("enum", format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")));
        }
    }

    fn number(&mut self, schema: &JSONSchemaProps, number: f64, written: &serde_json::Number) {
        let written = written.to_string();
        if let Some(least) = schema.minimum.filter(|least| number < *least) {
            self.invalid("minimum", &written, &format!("should be greater than or equal to {least}"));
        }
        if let Some(most) = schema.maximum.filter(|most| number > *most) {
            self.invalid("maximum", &written, &format!("should be less than or equal to {most}"));
        }
    }

    fn text(&mut self, schema: &JSONSchemaProps, text: &str) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_length.filter(|most| length > *most) {
            let bytes = if most == 1 { "byte" } else { "bytes" };
            self.say_blocking("maxLength", format!("Too long: may not be more than {most} {bytes}"));
        }
    }

    fn list(&mut self, schema: &JSONSchemaProps, items: &[Node]) {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_items.filter(|most| count > *most) {
            self.say_blocking("maxItems", format!("Too many: {count}: must have at most {most} items"));
        }
        if let Some(least) = schema.min_items.filter(|least| count < *least) {
            self.invalid("minItems", &count.to_string(), &format!("should have at least {least} items"));
        }
        if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                check(schema, item, &format!("{}[{index}]", self.path), self.found);
            }
        }
        self.unique(schema, items);
    }

    /// Sets have no value twice, maps no key twice.
    fn unique(&mut self, schema: &JSONSchemaProps, items: &[Node]) {
        let kind = schema.x_kubernetes_list_type.as_deref();
        let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
        let identity = |node: &Node| match kind {
            Some("set") => Some(node.to_json()),
            Some("map") => {
                let member = |key: &String| Some((key.clone(), node.get(key)?.to_json()));
                keys.iter().map(member).collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
            }
            _ => None,
        };
        let mut seen: Vec<Value> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(identity) = identity(item) else { continue };
            if seen.contains(&identity) {
                let message = format!("Duplicate value: {identity}");
                self.add(format!("{}[{index}]", self.path), item.line, "duplicate", message, false);
            } else {
                seen.push(identity);
            }
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, members: &[(String, Node)]) {
        let Some(properties) = &schema.properties else { return };
        for (key, value) in members {
            let path = child(self.path, key);
            match properties.get(key) {
                // As the API server: what is empty counts as absent.
                Some(_) if value.is_null() => {}
                Some(schema) => check(schema, value, &path, self.found),
                None => {
                    let hint = hint(key, properties.keys());
                    // The API server looks no further at such an object.
                    self.add(path.clone(), value.line, "unknown", format!("unknown field \"{path}\"{hint}"), true);
                }
            }
        }
        for key in schema.required.iter().flatten() {
            if self.node.get(key).is_none_or(Node::is_null) {
                let what = properties.get(key).and_then(|schema| schema.description.as_deref()).unwrap_or_default();
                let message = format!("Required value: {what}");
                self.add(child(self.path, key), self.node.line, "required", message, true);
            }
        }
    }
}

/// What may be written instead of a name that is not known.
pub(crate) fn hint<'a>(written: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    match nearest(written, known.clone().map(String::as_str)) {
        Some(near) => format!(", did you mean \"{near}\"?"),
        None => format!(", known here: {}", known.map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The API server's name for a value's type.
fn type_name(content: &Content) -> &'static str {
    match content {
        Content::Null => "null",
        Content::Bool(_) => "boolean",
        Content::Number(number) if number.is_f64() => "number",
        Content::Number(_) => "integer",
        Content::Text(_) => "string",
        Content::List(_) => "array",
        Content::Object(_) => "object",
    }
}
