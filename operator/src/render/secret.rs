//! The Secret with what the settings refer to, and only that.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{anchor_owner, metadata};
use crate::resolve::Model;

/// The name of the Secret.
pub const SECRETS: &str = "postern-secrets";

/// Also when it is empty: the relays' volume is projected from it.
pub(super) fn secret(model: &Model) -> Secret {
    let files = model.secrets.iter().map(|(file, content)| (file.0.clone(), ByteString(content.0.clone())));
    Secret {
        metadata: metadata(model, SECRETS, anchor_owner(model)),
        type_: Some("Opaque".to_owned()),
        data: Some(files.collect()),
        ..Secret::default()
    }
}

/// Octets of its data.
pub(super) fn data_bytes(model: &Model) -> usize {
    model.secrets.iter().map(|(file, content)| file.0.len() + content.0.len()).sum()
}
