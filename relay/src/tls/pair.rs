//! A certificate chain with its key, read and held against each other.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::validity::not_after;

/// The files of a pair.
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

/// What one handshake shows.
#[derive(Debug)]
pub(super) struct Pair {
    /// Its folder.
    pub(super) name: Arc<str>,
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names in the certificate, lower-case.
    pub(super) names: Vec<String>,
    /// When the certificate itself expires, whatever its issuers do.
    pub(super) expires: Timestamp,
}

impl Pair {
    /// From the content of its files.
    ///
    /// # Errors
    /// One sentence that begins with the file. Nothing of a key is ever in it.
    pub(super) fn read(name: &str, certificate: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, String> {
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| format!("{CERTIFICATE} is not PEM: {error}"))?;
        let first = chain.first().ok_or_else(|| format!("{CERTIFICATE} holds no certificate in PEM form"))?;
        let unreadable =
            |error: &dyn std::fmt::Display| format!("{CERTIFICATE}: the first certificate cannot be used: {error}");
        let leaf = webpki::EndEntityCert::try_from(first).map_err(|error| unreadable(&error))?;
        let names = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let expires = not_after(first).ok_or_else(|| unreadable(&"it does not say how long it is valid"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| format!("{KEY} holds no private key in PEM form"))?;
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| format!("{KEY} does not fit {CERTIFICATE}: {error}"))?;
        Ok(Self { name: name.into(), key: Arc::new(key), names, expires })
    }
}
