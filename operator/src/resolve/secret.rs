//! References to keys of Secrets → files under the relay's `secrets/`, under names that change with the content.

use postern_crds::condition::Reason;
use postern_crds::reference::KeyRef;
use postern_wire::Digest;
use postern_wire::snapshot::SecretFile;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::inputs::{Inputs, Secret, SecretBytes};

/// The longest readable part of a file name; with the version behind it, it stays within a Secret's key (253 characters).
const STEM_MAX: usize = 200;

/// The file of the CA certificates under this key; or the reason and half a sentence why there is none.
pub(super) fn certificates(inputs: &Inputs, reference: &KeyRef) -> Result<(SecretFile, SecretBytes), (Reason, String)> {
    let KeyRef { name, key } = reference;
    let secret = inputs
        .secrets
        .get(name)
        .ok_or_else(|| (Reason::SecretNotFound, format!("the Secret {name} does not exist")))?;
    let content =
        secret.data.get(key).ok_or_else(|| (Reason::SecretNotFound, format!("the Secret {name} has no key {key}")))?;
    let certificates = CertificateDer::pem_slice_iter(&content.0).collect::<Result<Vec<_>, _>>();
    if certificates.map_or(0, |certificates| certificates.len()) == 0 {
        // The parser's own error could quote the content.
        let why = format!("the key {key} of the Secret {name} does not hold certificates in PEM form");
        return Err((Reason::ContentInvalid, why));
    }
    Ok((file_name(name, key, secret, content), content.clone()))
}

/// `corp-ca.ca.crt.0123456789abcdef`.
///
/// The version is made of the Secret's uid and resourceVersion: the name is published in a ConfigMap, where a digest of the
/// content would let anyone who may read it try guesses at a short password. A Secret that no API server has seen has no
/// version; its settings are published nowhere, so there the content has to do.
fn file_name(name: &str, key: &str, secret: &Secret, content: &SecretBytes) -> SecretFile {
    let version = match &secret.version {
        Some((uid, resource_version)) => Digest::of(&(name, key, uid, resource_version)),
        None => Digest::of(&(name, key, Digest::of_bytes(&content.0))),
    };
    let stem: String = format!("{name}.{key}").chars().take(STEM_MAX).collect();
    let version: String = version.as_str().chars().take(16).collect();
    SecretFile(format!("{stem}.{version}"))
}
