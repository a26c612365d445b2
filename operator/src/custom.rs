//! A custom resource as it comes from the API server, whether or not the types can decode it.
//!
//! An object of an older or newer schema, or one edited past the validation, must never stop the watch of the others
//! (kube's `DeserializeGuard` serves the same purpose, but keeps of such an object only the metadata: its status could
//! then not be compared before it is written, and would be written again and again).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::HasSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::inputs::Conditions;

/// An object of kind `K`.
pub(crate) struct Custom<K: HasSpec> {
    pub(crate) metadata: ObjectMeta,
    /// What was written, or why it cannot be decoded: the path and the error.
    pub(crate) spec: Result<Arc<K::Spec>, String>,
    /// The status as it is, to compare with: as compact JSON, for of thousands of objects trees take ten times as much.
    status: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K: HasSpec> Custom<K> {
    /// The conditions that its status holds now.
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions::of(Arc::clone(&self.status))
    }

    /// The status as it is.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.status).unwrap_or_default()
    }

    /// Whether the status is this, to the letter.
    pub(crate) fn has_status(&self, status: &Value) -> bool {
        *self.status == *status.to_string()
    }
}

impl<K: HasSpec> Clone for Custom<K> {
    fn clone(&self) -> Self {
        let Self { metadata, spec, status, kind: _ } = self;
        Self { metadata: metadata.clone(), spec: spec.clone(), status: status.clone(), kind: PhantomData }
    }
}

impl<K: HasSpec> fmt::Debug for Custom<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl<'de, K: HasSpec<Spec: DeserializeOwned>> Deserialize<'de> for Custom<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: ObjectMeta,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let spec = serde_path_to_error::deserialize(spec).map(Arc::new).map_err(|error| {
            match error.path().to_string().as_str() {
                "." => format!("spec: {}", error.inner()),
                path => format!("spec.{path}: {}", error.inner()),
            }
        });
        Ok(Self { metadata, spec, status: status.to_string().into(), kind: PhantomData })
    }
}

impl<K: Resource + HasSpec> Resource for Custom<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
