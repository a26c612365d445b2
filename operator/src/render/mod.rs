//! Model → what is written: the settings as the relays read them, and the Kubernetes objects. A total function.
//!
//! Bytes are deterministic. Only objects under reserved names ([`is_reserved`]) are written, all with the label
//! [`MANAGED_BY`], by which the operator finds its own again. What somebody else holds under such a name is never touched.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use postern_crds::condition::Reason;
use postern_wire::settings::{Files, PACKED_SINCE};
use postern_wire::{PLAIN_BYTES_MAX, SHARDS_MAX, SettingsFile};

use crate::inputs::{Place, Written, WrittenKind};
use crate::problem::{Effect, Problem};
use crate::resolve::{Hold, Model};

mod internet;
mod lower;
mod network_policy;
mod secret;
mod snapshot;

pub use network_policy::{DEFAULT_DENY, EGRESS, INGRESS, ISOLATION, MONITORING_LABEL, OPERATOR_LABEL, RELAY_LABEL};
pub use secret::SECRETS;
pub use snapshot::{DIGEST_ANNOTATION, REMINDER_ANNOTATION, SETTINGS, config_map_of, schema_for};

/// The label, key and value, of every object that the operator writes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "postern");

/// Octets of data in one ConfigMap or Secret: the API server takes 1 MiB, and the rest is room for the names.
pub const DATA_BYTES_MAX: usize = (1 << 20) - (16 << 10);

/// How much the relays can be told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Octets of data in one ConfigMap or Secret.
    pub object_bytes: usize,
    /// ConfigMaps beside the first: the relays' volume has a place for so many.
    pub shards: usize,
    /// Octets of the settings before they are compressed.
    pub plain_bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { object_bytes: DATA_BYTES_MAX, shards: SHARDS_MAX, plain_bytes: PLAIN_BYTES_MAX }
    }
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// What the objects mean, sealed: also when it must not be published now.
    pub settings: SettingsFile,
    /// Why not everything below is there.
    pub hold: Option<Hold>,
    /// All NetworkPolicies that there shall be, the isolation first. `None`: what is there stays, and nothing is deleted.
    pub network_policies: Option<Vec<NetworkPolicy>>,
    /// What the settings refer to. `None`: what is there stays.
    pub secret: Option<Secret>,
    /// The settings, in the order in which they are written: the one that names the others last. `None`: what is there stays.
    pub config_maps: Option<Vec<ConfigMap>>,
    /// What stands in the way of writing it.
    pub problems: Vec<Problem>,
}

/// The settings in this schema ([`schema_for`]), and the objects that carry them.
pub fn render(model: &Model, schema: u32) -> Rendered {
    render_within(&Room::default(), model, schema)
}

/// The same with other bounds.
pub fn render_within(room: &Room, model: &Model, schema: u32) -> Rendered {
    let mut problems = Vec::new();
    let model = &lower::lower(model, schema, &mut problems);
    let settings = snapshot::settings(model, schema);
    let network_policies = match model.hold {
        Some(_) => None,
        None => Some(network_policy::network_policies(model, &mut problems)),
    };
    let mut rendered =
        Rendered { settings, hold: model.hold, network_policies, secret: None, config_maps: None, problems };
    if rendered.hold.is_none() {
        publish(room, model, &mut rendered);
    }
    rendered
}

/// The files of settings as the relays' volume has them; settings for which it has no room lie in one file.
pub fn files(settings: &SettingsFile) -> Files {
    let (room, files) = (Room::default(), settings.files(DATA_BYTES_MAX));
    if files.shards.len() > room.shards { settings.files(usize::MAX) } else { files }
}

/// The Secret and the ConfigMaps, or why there are none.
fn publish(room: &Room, model: &Model, rendered: &mut Rendered) {
    let Rendered { settings, problems, .. } = rendered;
    let files = settings.files(room.object_bytes);
    rendered.hold = obstacle(room, model, settings, &files, problems);
    if rendered.hold.is_none() {
        rendered.secret = Some(secret::secret(model));
        rendered.config_maps = Some(snapshot::config_maps(model, &settings.digest, files));
    }
}

/// What stands in the way of publishing the settings, although policies may be written.
fn obstacle(
    room: &Room,
    model: &Model,
    settings: &SettingsFile,
    files: &Files,
    problems: &mut Vec<Problem>,
) -> Option<Hold> {
    let isolated = model.anchor.as_ref().is_none_or(|anchor| anchor.network_policies);
    let isolation = ISOLATION.map(|name| (WrittenKind::NetworkPolicy, name));
    let parts = (1..=files.shards.len().min(SHARDS_MAX)).map(snapshot::shard_name);
    let parts: Vec<_> = std::iter::once(SETTINGS.to_owned()).chain(parts).collect();
    let mut needed: Vec<_> = parts.iter().map(|name| (WrittenKind::ConfigMap, name.as_str())).collect();
    needed.push((WrittenKind::Secret, SECRETS));
    needed.extend(isolation.iter().filter(|_| isolated));
    let mut taken = false;
    for (kind, name) in needed {
        if is_foreign(model, kind, name) {
            problems.push(Problem::of_dmz(Effect::NotProgrammed, Reason::NameTaken, taken_message(kind, name)));
            taken = true;
        }
    }
    if taken {
        return Some(Hold::NameTaken);
    }
    let message = too_large(room, model, settings.schema, files)?;
    match model.place {
        Place::Cluster => {
            let message = format!("{message}; those published last stay in force for all");
            problems.push(Problem::of_dmz(Effect::NotProgrammed, Reason::SettingsFull, message));
            Some(Hold::Full)
        }
        Place::Offline => {
            let message = format!("{message}: taken here, held back in a cluster");
            problems.push(Problem::of_dmz(Effect::Warning, Reason::SettingsFull, message));
            None
        }
    }
}

/// What does not fit, in a sentence.
fn too_large(room: &Room, model: &Model, schema: u32, files: &Files) -> Option<String> {
    let Room { object_bytes, shards, plain_bytes } = *room;
    let (main, plain, secrets) = (files.main.content.len(), files.plain_bytes, secret::data_bytes(model));
    let packed: usize = files.shards.iter().map(|shard| shard.content.len()).sum();
    let upgrade =
        if schema < PACKED_SINCE { "; relays that read them compressed take more: upgrade the relays" } else { "" };
    Some(if secrets > object_bytes {
        format!("the secrets of this DMZ are {secrets} octets, more than the {object_bytes} that one object holds")
    } else if main > object_bytes {
        format!(
            "the settings of this DMZ are {main} octets, more than the {object_bytes} that one object holds{upgrade}"
        )
    } else if files.shards.len() > shards {
        let most = shards * object_bytes;
        format!(
            "the settings of this DMZ are {packed} octets when compressed, more than the {most} that {shards} objects hold"
        )
    } else if plain as u64 > plain_bytes {
        format!("the settings of this DMZ are {plain} octets, more than the {plain_bytes} that a relay takes")
    } else {
        return None;
    })
}

fn is_foreign(model: &Model, kind: WrittenKind, name: &str) -> bool {
    model.foreign.contains(&Written { kind, name: name.to_owned() })
}

fn taken_message(kind: WrittenKind, name: &str) -> String {
    let (label, value) = MANAGED_BY;
    format!("a {kind} {name} exists that is not the operator's (it has no label {label}: {value}): rename or delete it")
}

/// Whether an object of this kind and name is the operator's to write. One without its label is then [`Inputs::foreign`].
///
/// [`Inputs::foreign`]: crate::inputs::Inputs::foreign
pub fn is_reserved(kind: WrittenKind, name: &str) -> bool {
    match kind {
        WrittenKind::ConfigMap => {
            name == SETTINGS || (1..=SHARDS_MAX).any(|number| name == snapshot::shard_name(number))
        }
        WrittenKind::Secret => name == SECRETS,
        WrittenKind::NetworkPolicy => name.starts_with("postern-"),
    }
}

/// The metadata of an object that is owned by `owner`.
fn metadata(model: &Model, name: &str, owner: Option<OwnerReference>) -> ObjectMeta {
    let (label, value) = MANAGED_BY;
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(model.namespace.clone()),
        labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The relay workload as an owner: what concerns the whole namespace goes with it, and with nothing else.
fn anchor_owner(model: &Model) -> Option<OwnerReference> {
    let anchor = model.anchor.as_ref()?;
    Some(OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: anchor.name.clone(),
        uid: anchor.uid.clone(),
        ..OwnerReference::default()
    })
}

#[cfg(test)]
mod tests;
