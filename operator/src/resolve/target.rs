//! What a RelayHost's mail is handed to: its endpoints, and where they are today for the network path.
//!
//! Only names are in the settings, never their answers. An endpoint with something wrong in it is left out and named; an
//! address that is never a target gets no path, whatever a name resolves to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postern_crds::condition::Reason;
use postern_crds::host;
use postern_crds::host_list::MxOf;
use postern_wire::Section;
use postern_wire::snapshot::{Endpoint, Handshake, Host, HostName};

use super::host_list::name;
use super::{Path, defaults};
use crate::inputs::{Inputs, Place};
use crate::problem::{Effect, Problems};

/// How mail is handed to a host.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// As written, each once.
    pub(super) endpoints: Vec<Endpoint>,
    /// Sorted.
    pub(super) mx: Vec<String>,
}

pub(super) fn targets(
    inputs: &Inputs,
    written: &[host::Endpoint],
    handshake: Handshake,
    problems: &mut Problems<'_>,
) -> Targets {
    let (mut endpoints, mut domains) = (Vec::with_capacity(written.len()), BTreeSet::new());
    for (index, endpoint) in written.iter().enumerate() {
        let field = format!("spec.endpoints[{index}]");
        match endpoint {
            host::Endpoint { host: Some(host), mx: None } => {
                let endpoint = self::endpoint(inputs, &field, host, handshake, problems);
                endpoints.extend(endpoint.filter(|endpoint| !endpoints.contains(endpoint)));
            }
            host::Endpoint { host: None, mx: Some(_) } if handshake == Handshake::Implicit => {
                let message = format!("{field}.mx: handshake Implicit is not spoken on port 25; write `host`");
                problems.partial(Reason::Invalid, message);
            }
            host::Endpoint { host: None, mx: Some(MxOf { domain }) } => {
                domains.extend(name(&format!("{field}.mx.domain"), domain, problems));
            }
            host::Endpoint { host, mx: _ } => {
                let wrong = if host.is_some() { "is two endpoints in one" } else { "names no way to reach the host" };
                problems.partial(Reason::Invalid, format!("{field}: {wrong}: write `host` or `mx`"));
            }
        }
    }
    Targets { endpoints, mx: domains.into_iter().collect() }
}

fn endpoint(
    inputs: &Inputs,
    field: &str,
    written: &host::HostPort,
    handshake: Handshake,
    problems: &mut Problems<'_>,
) -> Option<Endpoint> {
    let host::HostPort { address, port } = written;
    let port = port.unwrap_or(match handshake {
        Handshake::StartTls | Handshake::None => defaults::PORT,
        Handshake::Implicit => defaults::PORT_IMPLICIT,
    });
    if port == 0 {
        problems.partial(Reason::Invalid, format!("{field}.host.port: is 0, ports are 1 to 65535"));
        return None;
    }
    Some(Endpoint { address: address_of(inputs, &format!("{field}.host.address"), address, problems)?, port })
}

/// The address in the Snapshot's form, unless it may not be dialled.
fn address_of(inputs: &Inputs, field: &str, text: &str, problems: &mut Problems<'_>) -> Option<String> {
    let Ok(address) = text.parse::<IpAddr>() else { return name(field, text, problems) };
    let address = address.to_canonical();
    match refusal(inputs, address) {
        None => Some(address.to_string()),
        Some(Refusal { what, warn: true }) => {
            let message = format!("{field}: {address} is {what}: taken here, refused in a cluster");
            problems.add(Effect::Warning, Reason::Invalid, message);
            Some(address.to_string())
        }
        Some(Refusal { what, warn: false }) => {
            problems.partial(Reason::Invalid, format!("{field}: {address} is {what}, which is never a target"));
            None
        }
    }
}

struct Refusal {
    what: &'static str,
    /// Only a warning, here.
    warn: bool,
}

/// Why an address may not be dialled.
fn refusal(inputs: &Inputs, address: IpAddr) -> Option<Refusal> {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let offline = inputs.place == Place::Offline;
    if address.is_loopback() {
        Some(Refusal { what: "a loopback address", warn: offline })
    } else if link_local {
        Some(Refusal { what: "a link-local address", warn: offline })
    } else if address.is_unspecified() || address.is_multicast() || broadcast {
        Some(Refusal { what: "not the address of one host", warn: false })
    } else if inputs.refused_targets.contains(&address) {
        Some(Refusal { what: "the API server", warn: false })
    } else {
        None
    }
}

/// The DNS names on which the path of a section depends.
pub(crate) fn names(host: &Host) -> impl Iterator<Item = HostName> {
    let endpoints = host.endpoints.iter().map(|endpoint| &endpoint.address);
    let endpoints = endpoints.filter(|address| address.parse::<IpAddr>().is_err()).cloned().map(HostName::A);
    endpoints.chain(host.mx.iter().cloned().map(HostName::Mx))
}

/// The addresses and ports that a host's endpoints are today, without those that are never a target.
pub(super) fn path(inputs: &Inputs, section: &Section<Host>, problems: &mut Problems<'_>) -> Option<Path> {
    let mut ports: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut open = |port: u16, addresses: BTreeSet<IpAddr>| {
        if !addresses.is_empty() {
            ports.entry(port).or_default().extend(addresses);
        }
    };
    for Endpoint { address, port } in &section.spec.endpoints {
        open(
            *port,
            match address.parse::<IpAddr>() {
                Ok(ip) => BTreeSet::from([ip]),
                Err(_) => answers(inputs, &HostName::A(address.clone()), problems),
            },
        );
    }
    for domain in &section.spec.mx {
        open(defaults::PORT, answers(inputs, &HostName::Mx(domain.clone()), problems));
    }
    (!ports.is_empty()).then(|| Path { host: section.name.clone(), uid: section.uid.clone(), ports })
}

fn answers(inputs: &Inputs, name: &HostName, problems: &mut Problems<'_>) -> BTreeSet<IpAddr> {
    let shown = match name {
        HostName::A(name) => name.clone(),
        HostName::Mx(domain) => format!("the MX of {domain}"),
    };
    let (effect, unknown) = match inputs.place {
        Place::Cluster => (Effect::Partial, "has no known address; the network path to it stays closed until it has"),
        Place::Offline => {
            (Effect::Warning, "is not looked up here; in a cluster, its addresses are where a path opens to")
        }
    };
    let Some(answers) = inputs.names.get(name).filter(|answers| !answers.is_empty()) else {
        problems.add(effect, Reason::AddressUnknown, format!("spec.endpoints: {shown} {unknown}"));
        return BTreeSet::new();
    };
    let mut open = BTreeSet::new();
    for address in answers.iter().map(IpAddr::to_canonical) {
        match refusal(inputs, address) {
            Some(Refusal { what, warn: false }) => {
                let message =
                    format!("spec.endpoints: {shown} resolves to {address}, {what}: no network path is opened to it");
                problems.add(effect, Reason::Invalid, message);
            }
            _ => {
                open.insert(address);
            }
        }
    }
    open
}
