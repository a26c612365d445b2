//! All that one reconcile of one namespace knows: plain data, gathered beforehand. No client, no clock.
//!
//! Whoever fills it in (the operator from its caches, the cli from files) decides nothing. The same objects give the same
//! Inputs in both; the cli makes up what only an API server knows (uid, generation, age) and has no anchor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use postern_crds::host::Endpoint;
use postern_crds::reference::ServiceRef;
use postern_crds::status::KeptVolume;
use postern_crds::{FilterPolicySpec, RelayDomainSpec, RelayHostSpec};
use postern_wire::snapshot::HostName;
use postern_wire::{Snapshot, Status};

use crate::history::History;
use crate::resolve::name::host_name;
use crate::resolve::target;

mod anchor;
mod conditions;
mod node;
mod service;

pub use anchor::Anchor;
pub use conditions::Conditions;
pub(crate) use node::annotated;
pub use node::node_ranges;
pub use service::{Backend, SERVICE_NAME_LABEL, Service, ServiceName, ServicePort};

/// The domain of most clusters.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// One DMZ as it is.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Where the settings will be in force.
    pub place: Place,
    /// The namespace: one DMZ.
    pub namespace: String,
    /// The namespace of the operator's own pods, which alone may ask the relays' status port.
    pub operator_namespace: String,
    /// Every RelayDomain, in any order.
    pub domains: Vec<Object<RelayDomainSpec>>,
    /// Every RelayHost, in any order.
    pub hosts: Vec<Object<RelayHostSpec>>,
    /// Every FilterPolicy, in any order.
    pub policies: Vec<Object<FilterPolicySpec>>,
    /// The data of ConfigMaps by name: at least those that [`Inputs::config_maps_named`] gives.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets by name: at least those that [`Inputs::secrets_named`] gives.
    pub secrets: BTreeMap<String, Secret>,
    /// Why the namespace could not be read (403): one sentence. Then nothing is written, and each object's status says so.
    pub unreadable: Option<String>,
    /// The relay pods that there are, in whatever state, by name.
    pub pods: BTreeSet<String>,
    /// The PersistentVolumeClaims of the namespace that are to stay, by name; or why they may not be listed: one sentence.
    pub claims: Result<BTreeSet<String>, String>,
    /// Messages that waited in a relay when it was last asked while it was ending, by its pod. Most such pods are gone.
    pub left: BTreeMap<String, u64>,
    /// What the status of the FilterPolicy `default` says now of kept volumes: for those whose relays this operator has not
    /// seen go it is all that is known.
    pub kept: Vec<KeptVolume>,
    /// The relay workload. In a cluster nothing but status is written without it.
    pub anchor: Option<Anchor>,
    /// What the relays were last told. `None`: nothing yet, or it cannot be read.
    pub published: Option<Arc<Published>>,
    /// Objects that exist under a name that the operator writes ([`crate::render::is_reserved`]) without its label.
    pub foreign: BTreeSet<Written>,
    /// The addresses of the DNS names that [`Inputs::names_to_resolve`] gives: every answer that is still to be believed.
    pub names: BTreeMap<HostName, BTreeSet<IpAddr>>,
    /// The Services that [`Inputs::services_named`] gives: those that exist, or why one cannot be read.
    pub services: BTreeMap<ServiceName, Result<Service, String>>,
    /// What the names of the cluster's Services end in: `cluster.local`.
    pub cluster_domain: String,
    /// What is to be written down of that, for the next operator.
    pub history: History,
    /// Addresses that are never a target: the API server's.
    pub refused_targets: BTreeSet<IpAddr>,
    /// The ranges of the nodes' addresses, none within another; by such an address nobody is a source. `None`: not known.
    pub nodes: Option<BTreeSet<IpNet>>,
    /// The ranges of the cluster's pods, Services and nodes, which are not the Internet even where their addresses are
    /// public ones: no mail that goes out directly reaches them.
    pub cluster_ranges: BTreeSet<IpNet>,
}

impl Inputs {
    /// An empty DMZ.
    pub fn new(place: Place, namespace: impl Into<String>, operator_namespace: impl Into<String>) -> Self {
        Self {
            place,
            namespace: namespace.into(),
            operator_namespace: operator_namespace.into(),
            domains: Vec::new(),
            hosts: Vec::new(),
            policies: Vec::new(),
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            unreadable: None,
            pods: BTreeSet::new(),
            claims: Ok(BTreeSet::new()),
            left: BTreeMap::new(),
            kept: Vec::new(),
            anchor: None,
            published: None,
            foreign: BTreeSet::new(),
            names: BTreeMap::new(),
            services: BTreeMap::new(),
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            history: History::new(),
            refused_targets: BTreeSet::new(),
            nodes: None,
            cluster_ranges: BTreeSet::new(),
        }
    }

    /// The ConfigMaps that some object refers to.
    pub fn config_maps_named(&self) -> BTreeSet<&str> {
        let specs = self.domains.iter().filter_map(|object| object.spec.as_deref().ok());
        let lists = specs.flat_map(|spec| &spec.recipients.verify).filter_map(|verifier| verifier.list.as_ref());
        lists.flat_map(|list| &list.config_map_refs).map(|reference| reference.name.as_str()).collect()
    }

    /// The Secrets that some object refers to.
    pub fn secrets_named(&self) -> BTreeSet<&str> {
        let specs = self.hosts.iter().filter_map(|object| object.spec.as_deref().ok());
        let mut names = BTreeSet::new();
        for RelayHostSpec { endpoints: _, tls, auth, limits: _, queue: _, suspend: _, sources } in specs {
            if let Some(tls) = tls {
                names.extend(tls.ca_secret_ref.iter().map(|reference| reference.name.as_str()));
                names.extend(tls.client_certificate_secret_ref.iter().map(|reference| reference.name.as_str()));
            }
            let login = auth.iter().filter_map(|auth| auth.secret_ref.as_ref());
            names.extend(login.map(|reference| reference.name.as_str()));
            let certificates = sources.iter().filter_map(|source| source.client_certificate.as_ref());
            names.extend(certificates.map(|certificate| certificate.ca_secret_ref.name.as_str()));
        }
        names
    }

    /// The DNS names that stand as endpoints, as keys of [`Inputs::names`]: A-labels, also those of last good parts. Without
    /// those of Services, of which more is to be known than an address.
    pub fn names_to_resolve(&self) -> BTreeSet<HostName> {
        let names = self.endpoint_names();
        names.filter(|name| self.service_of(name).is_none()).collect()
    }

    /// The Services that are endpoints, as keys of [`Inputs::services`]: by reference, and by their DNS names.
    pub fn services_named(&self) -> BTreeSet<ServiceName> {
        let specs = self.hosts.iter().filter_map(|object| object.spec.as_deref().ok());
        let referred = specs.flat_map(|spec| &spec.endpoints).filter_map(|endpoint| endpoint.service.as_ref());
        let referred = referred.map(|reference| self.service_name(reference));
        referred.chain(self.endpoint_names().filter_map(|name| self.service_of(&name))).collect()
    }

    /// The Service that a reference means.
    pub(crate) fn service_name(&self, reference: &ServiceRef) -> ServiceName {
        let ServiceRef { name, namespace, port: _ } = reference;
        let namespace = namespace.as_ref().unwrap_or(&self.namespace).clone();
        ServiceName { namespace, name: name.clone() }
    }

    /// The Service whose name this is.
    pub(crate) fn service_of(&self, name: &HostName) -> Option<ServiceName> {
        match name {
            HostName::A(name) => ServiceName::of_dns_name(name, &self.cluster_domain),
            HostName::Mx(_) => None,
        }
    }

    fn endpoint_names(&self) -> impl Iterator<Item = HostName> {
        let specs = self.hosts.iter().filter_map(|object| object.spec.as_deref().ok());
        let written = specs.flat_map(|spec| &spec.endpoints).flat_map(|Endpoint { host, service: _, mx }| {
            let host = host.as_ref().map(|host| host.address.as_str());
            let host = host.filter(|address| address.parse::<IpAddr>().is_err());
            let host = host.and_then(|name| host_name(name).ok()).map(HostName::A);
            host.into_iter().chain(mx.as_ref().and_then(|mx| host_name(&mx.domain).ok()).map(HostName::Mx))
        });
        let kept = self.published.iter().flat_map(|published| &published.snapshot.hosts);
        written.chain(kept.flat_map(|section| target::names(&section.spec)))
    }
}

/// Where the settings will be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In relay pods of a cluster: loopback, link-local and the API server are refused as targets.
    Cluster,
    /// In a relay beside the one who started it: such targets are taken, with a warning.
    Offline,
}

/// The three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whose mail passes, and where it goes.
    RelayDomain,
    /// A mail server that the DMZ talks with.
    RelayHost,
    /// What is let through.
    FilterPolicy,
}

impl Kind {
    /// The `kind` of its manifests, and of [`postern_wire::status::Object`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RelayDomain => "RelayDomain",
            Self::RelayHost => "RelayHost",
            Self::FilterPolicy => "FilterPolicy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its `metadata.name`.
    pub name: String,
}

impl ObjectRef {
    /// A reference.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// `RelayDomain/contoso`, as logs and the relay's decisions write it.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A custom resource.
#[derive(Clone, Debug)]
pub struct Object<S> {
    /// What every object has.
    pub meta: Meta,
    /// What was written, shared with whoever keeps it, or why the types cannot decode it.
    pub spec: Result<Arc<S>, String>,
    /// The conditions of its status now, also of an object that cannot be decoded: without them each status would carry a
    /// new `lastTransitionTime`, and so be written again and again.
    pub conditions: Conditions,
}

/// What every object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.generation`
    pub generation: i64,
    /// `metadata.creationTimestamp`: of two objects that claim one name, the older has it.
    pub created: Timestamp,
}

impl From<&ObjectMeta> for Meta {
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        }
    }
}

/// A Secret that users wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// `metadata.uid` and `metadata.resourceVersion`, if an API server gave them.
    pub version: Option<(String, String)>,
    /// Its decoded data.
    pub data: BTreeMap<String, SecretBytes>,
}

/// Bytes that are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} secret bytes)", self.0.len())
    }
}

/// The ConfigMaps and the Secret that the relays read now, as they are and whoever edited them.
#[derive(Clone, Debug)]
pub struct Published {
    /// From [`postern_wire::SettingsFile::read`].
    pub snapshot: Snapshot,
    /// The data of the Secret, by file name.
    pub secrets: BTreeMap<String, SecretBytes>,
}

/// An object that the operator writes, or would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Written {
    /// Its kind.
    pub kind: WrittenKind,
    /// Its `metadata.name`.
    pub name: String,
}

/// The kinds that the operator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WrittenKind {
    /// `v1`
    ConfigMap,
    /// `v1`
    Secret,
    /// `networking.k8s.io/v1`
    NetworkPolicy,
}

impl fmt::Display for WrittenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::NetworkPolicy => "NetworkPolicy",
        })
    }
}

/// A relay pod and what it said. Asked after the settings were written, so not a part of [`Inputs`].
#[derive(Clone, Debug)]
pub struct Relay {
    /// The pod's name.
    pub pod: String,
    /// What it said.
    pub report: Report,
}

/// What came of asking a relay.
#[derive(Clone, Debug)]
pub enum Report {
    /// The pod is not ready: it takes no mail, and counts for nothing. The highest schema that it reads, if it says so: it
    /// may be waiting for settings that it can read.
    NotReady(Option<u32>),
    /// The pod is ready, and its status port does not answer: one sentence.
    Unreachable(String),
    /// Its answer, with all its objects.
    Answered(Arc<Status>),
}
