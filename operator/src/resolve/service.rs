//! A Service as a target: the port at which a relay dials it, and what its network path is opened to.
//!
//! A policy sees traffic behind the Service's translation: so the path leads to the pods that the Service selects, in its
//! namespace, at the number of their port; without a selector to the addresses in its EndpointSlices. A headless Service
//! translates nothing: its name is that of the pods, and they are dialled at the number of their port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postern_crds::condition::Reason;

use super::Pods;
use crate::inputs::{Inputs, Place, Service, ServiceName, ServicePort};
use crate::problem::Effect;

/// Why there is no path, and what that means for the RelayHost.
pub(super) type Closed = (Effect, Reason, String);

/// What is behind a Service.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pub(super) pods: BTreeMap<Pods, BTreeSet<u16>>,
    pub(super) addresses: BTreeMap<u16, BTreeSet<IpAddr>>,
}

/// The port at which a Service is dialled that is named with this port of its own. What is not known of it changes nothing
/// here: its mail waits, and its path stays closed, until it is. An error: it is never dialled.
pub(super) fn dialled(inputs: &Inputs, name: &ServiceName, port: u16) -> Result<u16, Closed> {
    let Some(Ok(service)) = inputs.services.get(name) else { return Ok(port) };
    refuse(inputs, name, service)?;
    if !service.headless {
        return Ok(port);
    }
    let numbers = target_numbers(service, port_of(name, service, port)?);
    match numbers.iter().collect::<Vec<_>>()[..] {
        [] => Ok(port),
        [number] => Ok(*number),
        _ => Err(unresolved(
            Reason::ContentInvalid,
            format!(
                "the pods of the headless Service {name} have several numbers for its port {port} ({}), and only one can be dialled",
                listed(&numbers)
            ),
        )),
    }
}

/// What is behind a Service that is dialled at this port.
pub(super) fn behind(inputs: &Inputs, name: &ServiceName, port: u16) -> Result<Behind, Closed> {
    if inputs.place == Place::Offline {
        let message = format!("the Service {name} is there only in a cluster: here its mail waits");
        return Err((Effect::Warning, Reason::AddressUnknown, message));
    }
    let service = match inputs.services.get(name) {
        Some(Ok(service)) => service,
        Some(Err(why)) => {
            let message = format!("the Service {name} cannot be read: {why}: no network path is opened to it");
            return Err((Effect::Unreadable, Reason::Forbidden, message));
        }
        None => {
            let message = format!("there is no Service {name}: no network path is opened to it");
            return Err(unresolved(Reason::ServiceNotFound, message));
        }
    };
    refuse(inputs, name, service)?;
    let ports = match service.headless {
        true => service.ports.iter().filter(|of| target_numbers(service, of).contains(&port)).collect(),
        false => vec![port_of(name, service, port)?],
    };
    let mut behind = Behind::default();
    for of in ports {
        open(&mut behind, name, service, of, service.headless.then_some(port));
    }
    if behind.pods.is_empty() && behind.addresses.is_empty() {
        let message = format!(
            "nothing behind the Service {name} is known to take port {port}; the network path to it stays closed until \
             something does"
        );
        return Err((Effect::Partial, Reason::AddressUnknown, message));
    }
    Ok(behind)
}

/// Adds what is behind one port; of a headless Service only what has the number that is dialled.
fn open(behind: &mut Behind, name: &ServiceName, service: &Service, port: &ServicePort, only: Option<u16>) {
    let wanted = |number: &u16| only.is_none_or(|only| only == *number);
    if !service.selector.is_empty() {
        let numbers: BTreeSet<u16> = target_numbers(service, port).into_iter().filter(wanted).collect();
        if !numbers.is_empty() {
            let pods = Pods { namespace: name.namespace.clone(), selector: service.selector.clone() };
            behind.pods.entry(pods).or_default().extend(numbers);
        }
        return;
    }
    for backend in service.backends.iter().filter(|backend| !backend.addresses.is_empty()) {
        let numbers = backend.ports.iter().filter(|(of, number)| *of == port.name && wanted(number));
        for (_, number) in numbers {
            behind.addresses.entry(*number).or_default().extend(&backend.addresses);
        }
    }
}

/// What is never a target, whatever is behind it.
fn refuse(inputs: &Inputs, name: &ServiceName, service: &Service) -> Result<(), Closed> {
    let unfit = |why: String| Err(unresolved(Reason::ContentInvalid, format!("the Service {name} {why}")));
    if let Some(other) = &service.external_name {
        return unfit(format!(
            "is of type ExternalName, only another name for {other}: write that as `host`, if it is meant"
        ));
    }
    let is_api = name.namespace == "default" && name.name == "kubernetes";
    if is_api || service.addresses.iter().any(|address| inputs.refused_targets.contains(&address.to_canonical())) {
        return unfit("is the API server, which is never a target".to_owned());
    }
    Ok(())
}

fn port_of<'a>(name: &ServiceName, service: &'a Service, port: u16) -> Result<&'a ServicePort, Closed> {
    let found = service.ports.iter().find(|of| of.number == port);
    found.ok_or_else(|| {
        let numbers = service.ports.iter().map(|of| of.number).collect::<BTreeSet<_>>();
        let has = if numbers.is_empty() { String::new() } else { format!(", but {}", listed(&numbers)) };
        let message = format!("the Service {name} has no TCP port {port}{has}: no network path is opened to it");
        unresolved(Reason::ServiceNotFound, message)
    })
}

/// The numbers of the pods' port behind a port of the Service: as it says, or as its EndpointSlices do.
fn target_numbers(service: &Service, port: &ServicePort) -> BTreeSet<u16> {
    match port.target.filter(|_| !service.selector.is_empty()) {
        Some(number) => BTreeSet::from([number]),
        None => {
            let ports = service.backends.iter().flat_map(|backend| &backend.ports);
            ports.filter(|(of, _)| *of == port.name).map(|(_, number)| *number).collect()
        }
    }
}

fn unresolved(reason: Reason, message: String) -> Closed {
    (Effect::Unresolved, reason, message)
}

fn listed(numbers: &BTreeSet<u16>) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
