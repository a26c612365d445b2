//! A RelayHost → its section, the secret files that it refers to, and the network path that it opens.
//!
//! An endpoint or a source with something wrong in it is left out and named; the others hold. A CA that is missing makes
//! TLS to this host [`Way::Unresolved`]: its mail waits, and is never sent less protected than was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postern_crds::RelayHostSpec;
use postern_crds::condition::Reason;
use postern_crds::host;
use postern_wire::Section;
use postern_wire::snapshot::{Endpoint, Handshake, Host, HostLimits, Queue, SecretFile, Tls, Verification, Way};

use super::name::host_name;
use super::policy::{bounded, host_list};
use super::{Path, defaults, secret};
use crate::inputs::{Inputs, Place, SecretBytes};
use crate::problem::{Effect, Problems, quoted};

/// The files that the section refers to, with their content.
pub(super) type SecretFiles = BTreeMap<SecretFile, SecretBytes>;

pub(super) fn host(
    inputs: &Inputs,
    spec: &RelayHostSpec,
    files: &mut SecretFiles,
    problems: &mut Problems<'_>,
) -> Host {
    let RelayHostSpec { endpoints, tls, queue, suspend, sources } = spec;
    Host {
        endpoints: endpoints_of(inputs, endpoints, problems),
        mx: Vec::new(),
        tls: tls_of(inputs, &tls.clone().unwrap_or_default(), files, problems),
        auth: None,
        limits: HostLimits::default(),
        sources: host_list("spec.sources", sources, problems),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        queue: {
            let lifetime = queue.as_ref().and_then(|queue| queue.lifetime.as_ref()).map(|lifetime| lifetime.as_secs());
            Queue {
                lifetime: bounded(&defaults::QUEUE_LIFETIME, lifetime, problems),
                null_sender_lifetime: None,
                warn_after: None,
            }
        },
        suspend: suspend.unwrap_or_default(),
    }
}

/// The last good section of an object that cannot be decoded any more: with a secret file only if its content is still there.
pub(super) fn revive(inputs: &Inputs, section: &Section<Host>, files: &mut SecretFiles) -> Section<Host> {
    let mut spec = section.spec.clone();
    if let Way::Open(Tls { ca: Some(file), .. }) = &spec.tls {
        match inputs.published.as_ref().and_then(|published| published.secrets.get(&file.0)) {
            Some(content) => {
                files.insert(file.clone(), content.clone());
            }
            None => spec.tls = Way::Unresolved(format!("the file {} of its last good part is gone", file.0)),
        }
    }
    Section::new(&section.name, &section.uid, section.generation, spec)
}

fn endpoints_of(inputs: &Inputs, written: &[host::Endpoint], problems: &mut Problems<'_>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(written.len());
    for (index, endpoint) in written.iter().enumerate() {
        let field = format!("spec.endpoints[{index}]");
        let host::Endpoint { host } = endpoint;
        let Some(host::HostPort { address, port }) = host else {
            problems.partial(Reason::Invalid, format!("{field}: names no way to reach the host: write `host`"));
            continue;
        };
        let port = port.unwrap_or(defaults::PORT);
        if port == 0 {
            problems.partial(Reason::Invalid, format!("{field}.host.port: is 0, ports are 1 to 65535"));
            continue;
        }
        if let Some(address) = address_of(inputs, &field, address, problems) {
            let endpoint = Endpoint { address, port };
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
    }
    endpoints
}

/// The address in the Snapshot's form, unless it may not be dialled.
fn address_of(inputs: &Inputs, field: &str, text: &str, problems: &mut Problems<'_>) -> Option<String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return host_name(text)
            .map_err(|why| problems.partial(Reason::Invalid, format!("{field}.host.address: {} {why}", quoted(text))))
            .ok();
    };
    let address = address.to_canonical();
    match refusal(inputs, address) {
        None => Some(address.to_string()),
        Some(Refusal { what, warn: true }) => {
            let message = format!("{field}.host.address: {address} is {what}: taken here, refused in a cluster");
            problems.add(Effect::Warning, Reason::Invalid, message);
            Some(address.to_string())
        }
        Some(Refusal { what, warn: false }) => {
            let message = format!("{field}.host.address: {address} is {what}, which is never a target");
            problems.partial(Reason::Invalid, message);
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

fn tls_of(inputs: &Inputs, written: &host::Tls, files: &mut SecretFiles, problems: &mut Problems<'_>) -> Way<Tls> {
    let host::Tls { handshake, verification, server_name, ca_secret_ref } = written;
    let handshake = handshake.map_or(defaults::HANDSHAKE, |handshake| match handshake {
        host::Handshake::StartTls => Handshake::StartTls,
        host::Handshake::None => Handshake::None,
    });
    let verification = verification.map_or(defaults::VERIFICATION, |verification| match verification {
        host::Verification::Opportunistic => Verification::Opportunistic,
        host::Verification::Required => Verification::Required,
        host::Verification::Verified => Verification::Verified,
    });
    if handshake == Handshake::None && verification != Verification::Opportunistic {
        let message = "spec.tls: verification needs TLS, but handshake is None";
        problems.invalid(format!("{message}; mail for this host waits"));
        return Way::Unresolved(message.to_owned());
    }
    let server_name = match server_name.as_deref().map(host_name).transpose() {
        Ok(name) => name,
        Err(why) => {
            let text = quoted(written.server_name.as_deref().unwrap_or_default());
            let message = format!("spec.tls.serverName: {text} {why}");
            problems.invalid(format!("{message}; mail for this host waits"));
            return Way::Unresolved(message);
        }
    };
    let ca = match ca_secret_ref.as_ref().map(|reference| secret::certificates(inputs, reference)).transpose() {
        Ok(ca) => ca,
        Err((reason, why)) => {
            let message = format!("spec.tls.caSecretRef: {why}");
            problems.unresolved(reason, format!("{message}; mail for this host waits"));
            return Way::Unresolved(message);
        }
    };
    let ca = ca.map(|(file, content)| {
        files.insert(file.clone(), content);
        file
    });
    Way::Open(Tls { handshake, verification, server_name, ca, client_certificate: None })
}

/// The addresses and ports that a host's endpoints are today, without those that are never a target.
pub(super) fn path(inputs: &Inputs, section: &Section<Host>, problems: &mut Problems<'_>) -> Option<Path> {
    let mut ports: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    for Endpoint { address, port } in &section.spec.endpoints {
        let addresses = match address.parse::<IpAddr>() {
            Ok(ip) => BTreeSet::from([ip]),
            Err(_) => answers(inputs, address, problems),
        };
        if !addresses.is_empty() {
            ports.entry(*port).or_default().extend(addresses);
        }
    }
    (!ports.is_empty()).then(|| Path { host: section.name.clone(), uid: section.uid.clone(), ports })
}

fn answers(inputs: &Inputs, name: &str, problems: &mut Problems<'_>) -> BTreeSet<IpAddr> {
    let effect = match inputs.place {
        Place::Cluster => Effect::Partial,
        Place::Offline => Effect::Warning,
    };
    let Some(answers) = inputs.names.get(name).filter(|answers| !answers.is_empty()) else {
        let message =
            format!("spec.endpoints: {name} has no known address; the network path to it stays closed until it has");
        problems.add(effect, Reason::AddressUnknown, message);
        return BTreeSet::new();
    };
    let mut open = BTreeSet::new();
    for address in answers.iter().map(IpAddr::to_canonical) {
        match refusal(inputs, address) {
            Some(Refusal { what, warn: false }) => {
                let message =
                    format!("spec.endpoints: {name} resolves to {address}, {what}: no network path is opened to it");
                problems.add(effect, Reason::Invalid, message);
            }
            _ => {
                open.insert(address);
            }
        }
    }
    open
}
