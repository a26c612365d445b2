//! The three CRDs as they are published: what the derives make, without what only the derives need.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use crate::{FilterPolicy, RelayDomain, RelayHost};

/// The CRDs of all kinds, in the order in which one reads about them.
pub fn all() -> Vec<CustomResourceDefinition> {
    [RelayDomain::crd(), RelayHost::crd(), FilterPolicy::crd()].map(published).into()
}

fn published(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            clean(schema);
        }
    }
    definition
}

/// An `Option` in Rust is a field that may be left out, not one that may be `null`: a forgotten value is an error. The
/// API server does not know Rust's widths of integers; their bounds are said with `minimum` and `maximum`.
fn clean(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        clean(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        clean(items);
    }
}
