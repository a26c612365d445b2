//! Client certificates that make a client a source: who may have issued them, and which name must stand in them.
//!
//! The name is compared exactly: a wildcard certificate proves none. Names in the subject prove nothing.

use std::fmt;
use std::sync::Arc;

use postern_wire::snapshot::ClientCertificate;
use rustls::DistinguishedName;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::Secrets;
use super::tls::Shared;
use crate::address::Domain;

/// Everyone who can prove to be a source. Empty: no client is asked for a certificate.
#[derive(Debug, Default)]
pub struct Authorities {
    /// By the name of the host section, sorted.
    sources: Vec<(Arc<str>, Arc<SourceCertificate>)>,
    subjects: Vec<DistinguishedName>,
}

/// One such certificate, whatever its host.
pub(super) struct SourceCertificate {
    /// A lower-case A-label.
    pub(super) dns_name: String,
    /// Of the CAs that may have issued it.
    pub(super) issuers: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for SourceCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCertificate").field("dns_name", &self.dns_name).finish_non_exhaustive()
    }
}

/// Those that can be used; and why one cannot, which then makes nobody a source.
pub(super) type Usable = (Vec<Arc<SourceCertificate>>, Option<Arc<str>>);

/// Compiles those of one host.
///
/// # Errors
/// One sentence, when a name means nothing.
pub(super) fn sources(wanted: &[ClientCertificate], secrets: &Secrets, shared: &Shared) -> Result<Usable, String> {
    let (mut usable, mut fault) = (Vec::new(), None);
    for certificate in wanted {
        let name = &certificate.dns_name;
        if !name.parse::<Domain>().is_ok_and(|read| read.as_str() == name && !read.is_literal()) {
            return Err(format!("{name:?} is not a lower-case DNS name"));
        }
        match shared.source(certificate, secrets) {
            Ok(source) => usable.push(Arc::new(source)),
            Err(problem) => fault = Some(format!("sources: clientCertificate {name}: {problem}").into()),
        }
    }
    Ok((usable, fault))
}

impl Authorities {
    /// Of these certificates. The same ones as in `old` are `old`, so that whoever depends on them sees no change.
    pub(super) fn new(mut sources: Vec<(Arc<str>, Arc<SourceCertificate>)>, old: Option<&Arc<Self>>) -> Arc<Self> {
        sources.sort_by(|(one, _), (other, _)| one.cmp(other));
        let same = |old: &&Arc<Self>| {
            let pairs = old.sources.iter().zip(&sources);
            old.sources.len() == sources.len() && pairs.into_iter().all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1))
        };
        if let Some(old) = old.filter(same) {
            return old.clone();
        }
        let subjects = sources.iter().flat_map(|(_, source)| source.issuers.root_hint_subjects());
        let mut subjects: Vec<_> = subjects.cloned().collect();
        subjects.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        subjects.dedup_by(|one, other| one.as_ref() == other.as_ref());
        Arc::new(Self { sources, subjects })
    }

    /// Whether no client is to be asked.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The names of all CAs, for the request to the client.
    pub fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    /// The hosts that this chain proves to be, by the names of their sections. The client's own certificate is the first.
    pub fn hosts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<Arc<str>> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Vec::new() };
        let Ok(parsed) = webpki::EndEntityCert::try_from(leaf) else { return Vec::new() };
        let named = |source: &SourceCertificate| {
            parsed.valid_dns_names().any(|name| name.eq_ignore_ascii_case(&source.dns_name))
        };
        let issued = |source: &SourceCertificate| source.issuers.verify_client_cert(leaf, intermediates, now).is_ok();
        let proven = self.sources.iter().filter(|(_, source)| named(source) && issued(source));
        proven.map(|(host, _)| host.clone()).collect()
    }
}
