//! The Snapshot of a Model, and the ConfigMaps that carry it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use postern_wire::settings::{File, Files};
use postern_wire::{Digest, SCHEMA, SETTINGS_FILE, SHARDS_MAX, SettingsFile, Snapshot, shard_file};

use super::{anchor_owner, metadata};
use crate::inputs::{Published, Relay, Report};
use crate::resolve::Model;

/// The name of the ConfigMap; that of each further one has a number behind it.
pub const SETTINGS: &str = "postern-settings";

/// The annotation with the digest of the settings, on the ConfigMap (and on each pod, to wake its kubelet).
pub const DIGEST_ANNOTATION: &str = "postern.io/settings-digest";

/// The annotation with a number that grows whenever the kubelet of a pod is woken again for the same settings.
pub const REMINDER_ANNOTATION: &str = "postern.io/settings-reminder";

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

/// The name of a further ConfigMap, counted from 1.
pub(super) fn shard_name(number: usize) -> String {
    format!("{SETTINGS}-{number}")
}

/// The name of the ConfigMap in which a file of the settings is.
pub fn config_map_of(file: &str) -> String {
    let shard = (1..=SHARDS_MAX).find(|number| shard_file(*number) == file);
    shard.map_or_else(|| SETTINGS.to_owned(), shard_name)
}

/// In the order in which they are written.
pub(super) fn config_maps(model: &Model, digest: &Digest, files: Files) -> Vec<ConfigMap> {
    files.into_all().map(|file| config_map(model, digest, file)).collect()
}

fn config_map(model: &Model, digest: &Digest, file: File) -> ConfigMap {
    let File { name, content } = file;
    let mut metadata = metadata(model, &config_map_of(&name), anchor_owner(model));
    if metadata.name.as_deref() == Some(SETTINGS) {
        metadata.annotations = Some(BTreeMap::from([(DIGEST_ANNOTATION.to_owned(), digest.to_string())]));
    }
    let (mut data, mut binary_data) = (None, None);
    match String::from_utf8(content) {
        Ok(text) if name == SETTINGS_FILE => data = Some(BTreeMap::from([(name, text)])),
        Ok(text) => binary_data = Some(BTreeMap::from([(name, ByteString(text.into_bytes()))])),
        Err(packed) => binary_data = Some(BTreeMap::from([(name, ByteString(packed.into_bytes()))])),
    }
    ConfigMap { metadata, data, binary_data, ..ConfigMap::default() }
}
