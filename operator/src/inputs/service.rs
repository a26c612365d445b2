//! A Service of the cluster as a target, and what is behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The label by which an EndpointSlice says whose it is.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A Service, of any namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

/// `apps/mail`, as kubectl writes it.
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ServiceName {
    /// The name by which DNS knows it: the whole one, for a relay uses no search list.
    pub fn dns_name(&self, cluster_domain: &str) -> String {
        format!("{}.{}.svc.{cluster_domain}", self.name, self.namespace)
    }

    /// The Service that a DNS name means; a name of one of its pods has more labels, and means none.
    pub fn of_dns_name(dns_name: &str, cluster_domain: &str) -> Option<Self> {
        let (name, namespace) = dns_name.strip_suffix(cluster_domain)?.strip_suffix(".svc.")?.split_once('.')?;
        let is_one = !name.is_empty() && !namespace.is_empty() && !namespace.contains('.');
        is_one.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// What a Service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The other name that it is, and nothing else: `spec.externalName`.
    pub external_name: Option<String>,
    /// Its name is that of its pods: who dials it dials them, and nothing translates the port.
    pub headless: bool,
    /// Its own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The labels of the pods behind it. Empty: its EndpointSlices say what is.
    pub selector: BTreeMap<String, String>,
    /// Its TCP ports.
    pub ports: Vec<ServicePort>,
    /// Its EndpointSlices, in the order of their names.
    pub backends: Vec<Backend>,
}

/// A TCP port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `spec.ports[].name`; empty when it has none.
    pub name: String,
    /// `spec.ports[].port`
    pub number: u16,
    /// The number of the port of its pods. `None`: each pod has its own, under a name.
    pub target: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The addresses in it, ready or not.
    pub addresses: BTreeSet<IpAddr>,
    /// The numbers of its TCP ports, by the name of the Service's port.
    pub ports: BTreeSet<(String, u16)>,
}

impl Service {
    /// A Service with its EndpointSlices.
    pub fn new<'a>(service: &core::Service, slices: impl Iterator<Item = &'a EndpointSlice>) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let is_external = spec.type_.as_deref() == Some("ExternalName");
        let own = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let ports = spec.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
        Self {
            external_name: is_external.then(|| spec.external_name.clone().unwrap_or_default()),
            headless: spec.cluster_ip.as_deref() == Some("None"),
            addresses: own.filter_map(|address| address.parse().ok()).collect(),
            ports: ports.filter_map(port).collect(),
            selector: spec.selector.clone().unwrap_or_default(),
            backends: slices.map(backend).collect(),
        }
    }

    /// The name of the Service to which an EndpointSlice belongs.
    pub fn of_slice(slice: &EndpointSlice) -> Option<&str> {
        Some(slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?)
    }
}

fn port(port: &core::ServicePort) -> Option<ServicePort> {
    let core::ServicePort { name, port: number, target_port, .. } = port;
    let number = u16::try_from(*number).ok()?;
    let target = match target_port {
        None => Some(number),
        Some(IntOrString::Int(target)) => Some(u16::try_from(*target).ok()?),
        Some(IntOrString::String(_)) => None,
    };
    Some(ServicePort { name: name.clone().unwrap_or_default(), number, target })
}

fn backend(slice: &EndpointSlice) -> Backend {
    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let ports = slice.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
    let port = |port: &EndpointPort| Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?));
    Backend {
        addresses: addresses.filter_map(|address| address.parse().ok()).collect(),
        ports: ports.filter_map(port).collect(),
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dns_name_of_a_service_is_known_again_and_that_of_a_pod_is_none() {
        let name = ServiceName { namespace: "apps".to_owned(), name: "mail".to_owned() };
        assert_eq!(name.dns_name("cluster.local"), "mail.apps.svc.cluster.local");
        assert_eq!(ServiceName::of_dns_name("mail.apps.svc.cluster.local", "cluster.local"), Some(name));
        for other in [
            "pod-0.mail.apps.svc.cluster.local",
            "mail.svc.cluster.local",
            "mail.apps.svc.cluster.example",
            "mail.apps.pod.cluster.local",
            "mail.apps.svc",
            ".apps.svc.cluster.local",
        ] {
            assert_eq!(ServiceName::of_dns_name(other, "cluster.local"), None, "{other}");
        }
    }
}
