//! The settings as the files that a kubelet makes of them, and recipients to fill them with.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;
use postern_tests::relay::Relay;
use postern_wire::{Digest, PLAIN_BYTES_MAX, SettingsFile};

use crate::dmz::Dmz;

/// The files of the settings, as a kubelet projects them into one folder.
pub(crate) async fn files(dmz: &Dmz) -> Result<Vec<(String, Vec<u8>)>> {
    let maps = dmz.api::<ConfigMap>().list(&ListParams::default()).await?;
    let ours = maps.items.into_iter().filter(|map| map.name_any().starts_with("postern-settings"));
    let files = ours.flat_map(|map| {
        let text = map.data.into_iter().flatten().map(|(name, text)| (name, text.into_bytes()));
        let packed = map.binary_data.into_iter().flatten().map(|(name, content)| (name, content.0));
        text.chain(packed).collect::<Vec<_>>()
    });
    Ok(files.collect())
}

/// What these files say.
pub(crate) fn read(files: &[(String, Vec<u8>)]) -> Result<SettingsFile> {
    let file = |name: &str| Ok(files.iter().find(|(known, _)| known == name).map(|(_, content)| content.clone()));
    Ok(SettingsFile::read(file, PLAIN_BYTES_MAX)?)
}

/// Puts the files where a relay looks for them; answers what they say.
pub(crate) async fn mount(dmz: &Dmz, relay: &Relay) -> Result<SettingsFile> {
    let files = files(dmz).await?;
    let settings = read(&files)?;
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    relay.volume.publish_files(&files, &[])?;
    Ok(settings)
}

/// Names that no compression makes much smaller, one a line.
pub(crate) fn people(seed: &str, number: usize, domain: &str) -> String {
    let person = |index: usize| format!("{}@{domain}\n", &Digest::of(&(seed, index)).as_str()[..24]);
    (0..number).map(person).collect()
}
