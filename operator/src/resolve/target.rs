//! What a RelayHost's mail is handed to: its endpoints, and where they are today for the network path.
//!
//! Only names are in the settings, never their answers. An endpoint with something wrong in it is left out and named; an
//! address that is never a target gets no path, whatever a name resolves to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postern_crds::condition::Reason;
use postern_crds::host;
use postern_crds::host_list::MxOf;
use postern_crds::reference::ServiceRef;
use postern_wire::Section;
use postern_wire::snapshot::{Endpoint, Handshake, Host, HostName};

use super::host_list::name;
use super::service::{Behind, behind, dialled};
use super::{Path, defaults};
use crate::inputs::{Inputs, Place, ServiceName};
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
            host::Endpoint { host: Some(host), service: None, mx: None } => {
                let endpoint = self::endpoint(inputs, &field, host, handshake, problems);
                endpoints.extend(endpoint.filter(|endpoint| !endpoints.contains(endpoint)));
            }
            host::Endpoint { host: None, service: Some(written), mx: None } => {
                let endpoint = service_endpoint(inputs, &format!("{field}.service"), written, handshake, problems);
                endpoints.extend(endpoint.filter(|endpoint| !endpoints.contains(endpoint)));
            }
            host::Endpoint { host: None, service: None, mx: Some(_) } if handshake == Handshake::Implicit => {
                let message = format!("{field}.mx: handshake Implicit is not spoken on port 25; write `host`");
                problems.partial(Reason::Invalid, message);
            }
            host::Endpoint { host: None, service: None, mx: Some(MxOf { domain }) } => {
                domains.extend(name(&format!("{field}.mx.domain"), domain, problems));
            }
            host::Endpoint { host, service, mx } => {
                let none = host.is_none() && service.is_none() && mx.is_none();
                let wrong = if none { "names no way to reach the host" } else { "is several endpoints in one" };
                problems.partial(Reason::Invalid, format!("{field}: {wrong}: write `host`, `service` or `mx`"));
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
    let port = port_of(&format!("{field}.host.port"), *port, handshake, problems)?;
    Some(Endpoint { address: address_of(inputs, &format!("{field}.host.address"), address, problems)?, port })
}

/// By its whole DNS name: like every other name it is looked up by the relay.
fn service_endpoint(
    inputs: &Inputs,
    field: &str,
    written: &ServiceRef,
    handshake: Handshake,
    problems: &mut Problems<'_>,
) -> Option<Endpoint> {
    let port = port_of(&format!("{field}.port"), written.port, handshake, problems)?;
    let service = inputs.service_name(written);
    let address = name(field, &service.dns_name(&inputs.cluster_domain), problems)?;
    match dialled(inputs, &service, port) {
        Ok(port) => Some(Endpoint { address, port }),
        Err((effect, reason, why)) => {
            problems.add(effect, reason, format!("{field}: {why}"));
            None
        }
    }
}

fn port_of(field: &str, written: Option<u16>, handshake: Handshake, problems: &mut Problems<'_>) -> Option<u16> {
    let port = written.unwrap_or(match handshake {
        Handshake::StartTls | Handshake::None => defaults::PORT,
        Handshake::Implicit => defaults::PORT_IMPLICIT,
    });
    if port == 0 {
        problems.partial(Reason::Invalid, format!("{field}: is 0, ports are 1 to 65535"));
        return None;
    }
    Some(port)
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

/// What a host's endpoints are today, without what is never a target.
pub(super) fn path(inputs: &Inputs, section: &Section<Host>, problems: &mut Problems<'_>) -> Option<Path> {
    let mut path =
        Path { host: section.name.clone(), uid: section.uid.clone(), ports: BTreeMap::new(), pods: BTreeMap::new() };
    for Endpoint { address, port } in &section.spec.endpoints {
        let name = HostName::A(address.clone());
        match (address.parse::<IpAddr>(), inputs.service_of(&name)) {
            (Ok(ip), _) => path.open(*port, BTreeSet::from([ip])),
            (Err(_), Some(service)) => open_service(inputs, &service, *port, &mut path, problems),
            (Err(_), None) => path.open(*port, answers(inputs, &name, problems)),
        }
    }
    for domain in &section.spec.mx {
        path.open(defaults::PORT, answers(inputs, &HostName::Mx(domain.clone()), problems));
    }
    let leads_nowhere = path.ports.is_empty() && path.pods.is_empty();
    if leads_nowhere {
        // The settings are the same, and its mail waits: but a host without any way to it is not ready.
        problems.nothing_left(Reason::AddressUnknown);
    }
    (!leads_nowhere).then_some(path)
}

impl Path {
    fn open(&mut self, port: u16, addresses: BTreeSet<IpAddr>) {
        if !addresses.is_empty() {
            self.ports.entry(port).or_default().extend(addresses);
        }
    }
}

fn open_service(inputs: &Inputs, service: &ServiceName, port: u16, path: &mut Path, problems: &mut Problems<'_>) {
    match behind(inputs, service, port) {
        Ok(Behind { pods, addresses }) => {
            for (pods, numbers) in pods {
                path.pods.entry(pods).or_default().extend(numbers);
            }
            for (number, addresses) in addresses {
                let shown = format!("the Service {service}");
                path.open(number, allowed(inputs, &shown, Effect::Partial, &addresses, problems));
            }
        }
        Err((effect, reason, why)) => problems.add(effect, reason, format!("spec.endpoints: {why}")),
    }
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
    allowed(inputs, &shown, effect, answers, problems)
}

/// Those of the addresses that may be a target; the others are told.
fn allowed(
    inputs: &Inputs,
    shown: &str,
    effect: Effect,
    addresses: &BTreeSet<IpAddr>,
    problems: &mut Problems<'_>,
) -> BTreeSet<IpAddr> {
    let mut open = BTreeSet::new();
    for address in addresses.iter().map(IpAddr::to_canonical) {
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
