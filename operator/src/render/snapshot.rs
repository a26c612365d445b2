//! The Snapshot of a Model, and the ConfigMap that carries it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use postern_wire::{SCHEMA, SETTINGS_FILE, SettingsFile, Snapshot};

use super::{anchor_owner, metadata};
use crate::inputs::{Published, Relay, Report};
use crate::resolve::Model;

/// The name of the ConfigMap.
pub const SETTINGS: &str = "postern-settings";

/// The annotation with the digest of the settings, on the ConfigMap (and on each pod, to wake its kubelet).
pub const DIGEST_ANNOTATION: &str = "postern.io/settings-digest";

/// The schema to write: the lowest that a relay reports, within those that this build writes. Of a ready one that has not
/// answered (yet) it is what was published last, and so it is when none answers: relays that start anew must find what
/// they could read before.
pub fn schema_for(relays: &[Relay], published: Option<&Published>) -> u32 {
    let published = published.map(|published| published.snapshot.schema);
    let read = relays.iter().filter_map(|relay| match &relay.report {
        Report::Answered(status) => Some(status.schema),
        Report::NotReady(schema) => *schema,
        Report::Unreachable(_) => published,
    });
    read.min().or(published).unwrap_or(SCHEMA).clamp(1, SCHEMA)
}

/// The settings, of a Model in whose sections everything can be said in this schema.
pub(super) fn settings(model: &Model, schema: u32) -> SettingsFile {
    let Model { domains, hosts, policies, nodes, .. } = model;
    SettingsFile::new(Snapshot {
        schema: schema.clamp(1, SCHEMA),
        domains: domains.clone(),
        hosts: hosts.clone(),
        policies: policies.clone(),
        nodes: nodes.iter().map(IpNet::to_string).collect(),
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
