//! The Snapshot of a Model, and the ConfigMap that carries it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use postern_wire::{SCHEMA, SETTINGS_FILE, SettingsFile, Snapshot};

use super::{anchor_owner, metadata};
use crate::inputs::{Relay, Report};
use crate::resolve::Model;

/// The name of the ConfigMap.
pub const SETTINGS: &str = "postern-settings";

/// The annotation with the digest of the settings, on the ConfigMap (and on each pod, to wake its kubelet).
pub const DIGEST_ANNOTATION: &str = "postern.io/settings-digest";

/// The schema to write: the lowest that a ready relay reads, within those that this build writes.
pub fn schema_for(relays: &[Relay]) -> u32 {
    let read = relays.iter().filter_map(|relay| match &relay.report {
        Report::Answered(status) => Some(status.schema),
        Report::NotReady | Report::Unreachable(_) => None,
    });
    read.min().unwrap_or(SCHEMA).clamp(1, SCHEMA)
}

/// The settings. There is one schema so far, in which everything can be said; the argument is where lower ones will be
/// written for relays that are older than the operator.
pub(super) fn settings(model: &Model, schema: u32) -> SettingsFile {
    let Model { domains, hosts, policies, .. } = model;
    SettingsFile::new(Snapshot {
        schema: schema.clamp(1, SCHEMA),
        domains: domains.clone(),
        hosts: hosts.clone(),
        policies: policies.clone(),
    })
}

pub(super) fn config_map(model: &Model, settings: &SettingsFile) -> ConfigMap {
    let mut metadata = metadata(model, SETTINGS, anchor_owner(model));
    metadata.annotations = Some(BTreeMap::from([(DIGEST_ANNOTATION.to_owned(), settings.digest.to_string())]));
    ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(SETTINGS_FILE.to_owned(), settings.to_json())])),
        ..ConfigMap::default()
    }
}
