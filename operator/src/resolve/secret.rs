//! References to Secrets → files under the relay's `secrets/`, under names that change with the content.
//!
//! What a file must hold is looked at here, so that the object that names it is told; no error quotes any of it.

use std::collections::BTreeMap;

use postern_crds::condition::Reason;
use postern_crds::reference::{KeyRef, SecretRef};
use postern_wire::Digest;
use postern_wire::snapshot::{Auth, KeyPair, SecretFile};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::inputs::{Inputs, Secret, SecretBytes};

/// The longest readable part of a file name; with the version behind it, it stays within a Secret's key (253 characters).
const STEM_MAX: usize = 200;
/// The keys of a Secret of type `kubernetes.io/tls`.
const TLS_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// The keys of a Secret of type `kubernetes.io/basic-auth`.
const LOGIN_KEYS: [&str; 2] = ["username", "password"];

/// The files that sections refer to, with their content.
pub(super) type SecretFiles = BTreeMap<SecretFile, SecretBytes>;

/// The reason and half a sentence why something is not there.
pub(super) type Missing = (Reason, String);

/// The file of the CA certificates under this key.
pub(super) fn certificates(
    inputs: &Inputs,
    reference: &KeyRef,
    files: &mut SecretFiles,
) -> Result<SecretFile, Missing> {
    let KeyRef { name, key } = reference;
    let (secret, content) = content(inputs, name, key)?;
    chain(name, key, content)?;
    Ok(keep(name, key, secret, content, files))
}

/// The files of a certificate and its key, which fit.
pub(super) fn key_pair(inputs: &Inputs, reference: &SecretRef, files: &mut SecretFiles) -> Result<KeyPair, Missing> {
    let SecretRef { name } = reference;
    let [certificate, key] = TLS_KEYS;
    let (secret, certificate_pem) = content(inputs, name, certificate)?;
    let (_, key_pem) = content(inputs, name, key)?;
    let chain = chain(name, certificate, certificate_pem)?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem.0)
        .map_err(|_| invalid(name, key, "does not hold a private key in PEM form"))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider)
        .map_err(|_| invalid(name, key, &format!("is not the key of the certificate under {certificate}")))?;
    Ok(KeyPair {
        certificate: keep(name, certificate, secret, certificate_pem, files),
        key: keep(name, key, secret, key_pem, files),
    })
}

/// The files of a name and a password.
pub(super) fn login(inputs: &Inputs, reference: &SecretRef, files: &mut SecretFiles) -> Result<Auth, Missing> {
    let SecretRef { name } = reference;
    let [username, password] = LOGIN_KEYS;
    let (secret, username_text) = content(inputs, name, username)?;
    let (_, password_text) = content(inputs, name, password)?;
    printable(name, username, username_text)?;
    printable(name, password, password_text)?;
    Ok(Auth {
        username: keep(name, username, secret, username_text, files),
        password: keep(name, password, secret, password_text, files),
    })
}

fn content<'a>(inputs: &'a Inputs, name: &str, key: &str) -> Result<(&'a Secret, &'a SecretBytes), Missing> {
    let missing = |why| (Reason::SecretNotFound, why);
    let secret = inputs.secrets.get(name).ok_or_else(|| missing(format!("the Secret {name} does not exist")))?;
    let content = secret.data.get(key).ok_or_else(|| missing(format!("the Secret {name} has no key {key}")))?;
    Ok((secret, content))
}

fn invalid(name: &str, key: &str, what: &str) -> Missing {
    (Reason::ContentInvalid, format!("the key {key} of the Secret {name} {what}"))
}

fn chain(name: &str, key: &str, content: &SecretBytes) -> Result<Vec<CertificateDer<'static>>, Missing> {
    // The parser's own error could quote the content.
    let certificates = CertificateDer::pem_slice_iter(&content.0).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    certificates.ok_or_else(|| invalid(name, key, "does not hold certificates in PEM form"))
}

/// One line of text: control characters would mean something else to SASL, or to a log. One line end behind it is the
/// editor's, and no part of it.
fn printable(name: &str, key: &str, content: &SecretBytes) -> Result<(), Missing> {
    let text = std::str::from_utf8(&content.0).map_err(|_| invalid(name, key, "is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    match text.strip_suffix('\r').unwrap_or(text) {
        "" => Err(invalid(name, key, "is empty")),
        text if text.contains(char::is_control) => Err(invalid(name, key, "holds a control character")),
        _ => Ok(()),
    }
}

fn keep(name: &str, key: &str, secret: &Secret, content: &SecretBytes, files: &mut SecretFiles) -> SecretFile {
    let file = file_name(name, key, secret, content);
    files.insert(file.clone(), content.clone());
    file
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
