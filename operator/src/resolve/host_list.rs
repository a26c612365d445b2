//! HostLists → the ranges and the DNS names that they mean. An entry with anything wrong in it is left out whole and named:
//! a source too few is refused its mail, which somebody notices; one too many is an open relay.

use std::collections::BTreeSet;

use postern_crds::HostListEntry;
use postern_crds::condition::Reason;
use postern_crds::host::{ClientCertificate, Source};
use postern_crds::host_list::{AddressesOf, Cidr, MxOf};
use postern_wire::snapshot::{self, HostName, Network};

use super::name::host_name;
use super::network::{Written, networks};
use super::secret::{SecretFiles, certificates};
use crate::inputs::Inputs;
use crate::problem::{Problems, quoted};

/// Whom a HostList means.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Canonical, sorted.
    pub(super) networks: Vec<Network>,
    /// Sorted.
    pub(super) names: Vec<HostName>,
    /// Sorted. Only sources have any.
    pub(super) certificates: Vec<snapshot::ClientCertificate>,
}

/// What both kinds of entries have.
struct Entry<'a> {
    cidr: Option<&'a Cidr>,
    a: Option<&'a AddressesOf>,
    mx: Option<&'a MxOf>,
    client_certificate: Option<&'a ClientCertificate>,
    allow_wide: bool,
}

impl<'a> From<&'a HostListEntry> for Entry<'a> {
    fn from(entry: &'a HostListEntry) -> Self {
        let HostListEntry { cidr, a, mx, allow_wide } = entry;
        let (cidr, a, mx, allow_wide) = (cidr.as_ref(), a.as_ref(), mx.as_ref(), allow_wide.unwrap_or_default());
        Self { cidr, a, mx, client_certificate: None, allow_wide }
    }
}

impl<'a> From<&'a Source> for Entry<'a> {
    fn from(entry: &'a Source) -> Self {
        let Source { cidr, a, mx, client_certificate, allow_wide } = entry;
        let (cidr, a, mx, allow_wide) = (cidr.as_ref(), a.as_ref(), mx.as_ref(), allow_wide.unwrap_or_default());
        Self { cidr, a, mx, client_certificate: client_certificate.as_ref(), allow_wide }
    }
}

/// A list of clients.
pub(super) fn clients(field: &str, entries: &[HostListEntry], problems: &mut Problems<'_>) -> Hosts {
    let no_certificates = |_: &str, _: &ClientCertificate, _: &mut Problems<'_>| None;
    hosts(field, "`cidr`, `a` or `mx`", entries.iter().map(Entry::from), no_certificates, problems)
}

/// The sources of a RelayHost.
pub(super) fn sources(
    inputs: &Inputs,
    entries: &[Source],
    files: &mut SecretFiles,
    problems: &mut Problems<'_>,
) -> Hosts {
    let certificate = |field: &str, written: &ClientCertificate, problems: &mut Problems<'_>| {
        let ClientCertificate { ca_secret_ref, dns_name } = written;
        let dns_name = name(&format!("{field}.clientCertificate.dnsName"), dns_name, problems)?;
        match certificates(inputs, ca_secret_ref, files) {
            Ok(ca) => Some(snapshot::ClientCertificate { ca, dns_name }),
            Err((reason, why)) => {
                let message = format!("{field}.clientCertificate.caSecretRef: {why}; nobody may relay by this entry");
                problems.unresolved(reason, message);
                None
            }
        }
    };
    let ways = "`cidr`, `a`, `mx` or `clientCertificate`";
    hosts("spec.sources", ways, entries.iter().map(Entry::from), certificate, problems)
}

fn hosts<'a>(
    field: &str,
    ways: &str,
    entries: impl Iterator<Item = Entry<'a>>,
    mut certificate: impl FnMut(&str, &ClientCertificate, &mut Problems<'_>) -> Option<snapshot::ClientCertificate>,
    problems: &mut Problems<'_>,
) -> Hosts {
    let (mut ranges, mut names, mut certificates) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (index, entry) in entries.enumerate() {
        let field = format!("{field}[{index}]");
        match entry {
            Entry { cidr: Some(Cidr { range, except }), a: None, mx: None, client_certificate: None, allow_wide } => {
                ranges.push(Written { range, except, allow_wide });
            }
            Entry { cidr: None, a: Some(AddressesOf { name }), mx: None, client_certificate: None, allow_wide: _ } => {
                names.extend(self::name(&format!("{field}.a.name"), name, problems).map(HostName::A));
            }
            Entry { cidr: None, a: None, mx: Some(MxOf { domain }), client_certificate: None, allow_wide: _ } => {
                names.extend(name(&format!("{field}.mx.domain"), domain, problems).map(HostName::Mx));
            }
            Entry { cidr: None, a: None, mx: None, client_certificate: Some(written), allow_wide: _ } => {
                certificates.extend(certificate(&field, written, problems));
            }
            Entry { cidr: None, a: None, mx: None, client_certificate: None, allow_wide: _ } => {
                problems.partial(Reason::Invalid, format!("{field}: names no addresses: write {ways}"));
            }
            Entry { .. } => {
                problems.partial(Reason::Invalid, format!("{field}: is two entries in one: write only one of {ways}"));
            }
        }
    }
    let (networks, refused) = networks(ranges.into_iter());
    for why in refused {
        problems.partial(Reason::Invalid, format!("{field}: {why}"));
    }
    Hosts { networks, names: names.into_iter().collect(), certificates: certificates.into_iter().collect() }
}

/// A DNS name in the Snapshot's form.
pub(super) fn name(field: &str, text: &str, problems: &mut Problems<'_>) -> Option<String> {
    let name = host_name(text);
    name.map_err(|why| problems.partial(Reason::Invalid, format!("{field}: {} {why}", quoted(text)))).ok()
}
