//! The schemas of our kinds, ready to check objects against: structure first, then the CEL rules, as the API server does.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;

use super::node::{Content, Node};
use super::structure::{self, Violation};

/// One kind.
pub(crate) struct KindSchema {
    pub(crate) kind: String,
    schema: JSONSchemaProps,
    rules: CompiledSchema,
}

/// All kinds of `postern-crds`.
pub(crate) fn all() -> Vec<KindSchema> {
    postern_crds::all().into_iter().filter_map(KindSchema::new).collect()
}

impl KindSchema {
    fn new(mut definition: CustomResourceDefinition) -> Option<Self> {
        let mut schema = definition.spec.versions.pop()?.schema?.open_api_v3_schema?;
        let rules = compile_schema(&serde_json::to_value(&schema).ok()?);
        // What every object has; `super::object` looks at it.
        let any = JSONSchemaProps::default();
        for field in ["apiVersion", "kind", "metadata"] {
            schema.properties.get_or_insert_default().entry(field.to_owned()).or_insert_with(|| any.clone());
        }
        Some(Self { kind: definition.spec.names.kind, schema, rules })
    }

    /// All that is wrong with an object; `json` is the same object.
    pub(crate) fn check(&self, node: &Node, json: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        structure::check(&self.schema, node, "", &mut found);
        if !found.iter().any(|violation| violation.blocks_rules) {
            self.check_rules(node, json, &mut found);
        }
        found
    }

    fn check_rules(&self, node: &Node, json: &Value, found: &mut Vec<Violation>) {
        let Err(errors) = Validator::new().validate_compiled(&self.rules, json, None) else { return };
        for error in errors.into_vec() {
            let path = error.field_path.trim_start_matches('.').to_owned();
            let value = match node.find(&path).map(|node| &node.content) {
                Some(Content::Object(_) | Content::List(_) | Content::Null) | None => String::new(),
                Some(_) => node.find(&path).map(|node| format!("{}: ", node.to_json())).unwrap_or_default(),
            };
            found.push(Violation {
                line: node.line_of(&path),
                constraint: Some(format!("rule {}", error.rule)),
                message: format!("Invalid value: {value}{}", error.message),
                blocks_rules: false,
                path,
            });
        }
    }
}
