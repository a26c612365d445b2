//! The conditions of a status as it stands.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

/// Kept as the JSON of the status that holds them, shared with whoever keeps that: of thousands of objects those of one at a
/// time are decoded, when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Conditions(Option<Arc<str>>);

impl Conditions {
    /// Those of a status, as JSON.
    pub(crate) fn of(status: Arc<str>) -> Self {
        Self(Some(status))
    }

    /// All of them; one that cannot be decoded counts as absent.
    pub(crate) fn decoded(&self) -> Vec<Condition> {
        let Some(status) = &self.0 else { return Vec::new() };
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        let listed = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed.iter().filter_map(|condition| Condition::deserialize(condition).ok()).collect()
    }
}

impl From<&[Condition]> for Conditions {
    fn from(conditions: &[Condition]) -> Self {
        Self::of(json!({"conditions": conditions}).to_string().into())
    }
}
