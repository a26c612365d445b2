//! Everything that one reconcile needs, from the caches of one namespace: I/O that decides nothing.
//!
//! Nothing is gathered before every cache is complete: a cold start must never publish an empty DMZ. A cache that the API
//! server refuses is complete in its own way: it makes the DMZ unreadable, which every object's status then says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::object::HasSpec;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_wire::{PLAIN_BYTES_MAX, SETTINGS_FILE, SHARDS_MAX, SettingsFile, shard_file};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::apply::FIELD_MANAGER;
use crate::cache::{Cache, Known};
use crate::custom::Custom;
use crate::going;
use crate::history::{ANNOTATION, History, from_annotation};
use crate::inputs::{self, Anchor, Inputs, Meta, Object, Place, Published, SecretBytes, Written, WrittenKind};
use crate::kept::{claims, told};
use crate::names::{Names, Resolved};
use crate::nodes::Nodes;
use crate::problem::DEFAULT_POLICY;
use crate::programmed::{self, Readiness};
use crate::render::{MANAGED_BY, SECRETS, config_map_of, is_reserved};
use crate::services::Services;
use crate::{RELAY_SELECTOR, Settings};

/// Of these types nothing is ever referred to: what is not read cannot leak.
const SECRET_TYPES_NEVER_READ: &str =
    "type!=kubernetes.io/service-account-token,type!=bootstrap.kubernetes.io/token,type!=helm.sh/release.v1";
/// The container port, by its name, at which a relay answers for its status.
const STATUS_PORT: &str = "http";
/// The annotation that `kubectl apply` writes.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// All that is watched in one namespace.
pub(crate) struct Caches {
    pub(crate) domains: Cache<Custom<RelayDomain>>,
    pub(crate) hosts: Cache<Custom<RelayHost>>,
    pub(crate) policies: Cache<Custom<FilterPolicy>>,
    pub(crate) config_maps: Cache<ConfigMap>,
    pub(crate) secrets: Cache<Secret>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    pub(crate) workloads: Cache<StatefulSet>,
    pub(crate) pods: Cache<Pod>,
    /// All of the namespace: StatefulSets label the claims that they make as their users chose.
    claims: Cache<PersistentVolumeClaim>,
    published: Mutex<LastRead>,
    changed: Arc<Notify>,
}

/// What is published, as it was read last, and the versions of the objects from which it was: reading it costs more than
/// all the rest.
#[derive(Default)]
struct LastRead {
    versions: Vec<Option<String>>,
    published: Option<Arc<Published>>,
}

impl Caches {
    /// Starts to watch a namespace.
    pub(crate) fn start(client: &Client, namespace: &str, changed: &Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        macro_rules! watch {
            ($kind:ty, $config:expr, $slim:expr) => {
                Cache::start(
                    Api::<$kind>::namespaced(client.clone(), namespace),
                    $config,
                    $slim,
                    changed.clone(),
                    tasks,
                )
            };
        }
        let all = watcher::Config::default;
        let relays = || all().labels(RELAY_SELECTOR);
        Self {
            domains: watch!(Custom<RelayDomain>, all(), slim),
            hosts: watch!(Custom<RelayHost>, all(), slim),
            policies: watch!(Custom<FilterPolicy>, all(), slim),
            config_maps: watch!(ConfigMap, all(), |map| slim_unless(
                map,
                is_reserved(WrittenKind::ConfigMap, &map.name_any())
            )),
            secrets: watch!(Secret, all().fields(SECRET_TYPES_NEVER_READ), |secret| {
                slim_unless(secret, is_reserved(WrittenKind::Secret, &secret.name_any()));
            }),
            network_policies: watch!(NetworkPolicy, all(), |_| ()),
            workloads: watch!(StatefulSet, relays(), slim),
            pods: watch!(Pod, relays(), slim),
            claims: watch!(PersistentVolumeClaim, all(), |claim| {
                slim(claim);
                (claim.spec, claim.status) = (None, None);
            }),
            published: Mutex::default(),
            changed: changed.clone(),
        }
    }

    /// Has the namespace looked after again, for something was left undone.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// What is known of our own kinds: without them there is nothing to say, and nobody to say it to.
    fn own(&self) -> [Known; 3] {
        [self.domains.known(), self.hosts.known(), self.policies.known()]
    }

    fn others(&self) -> [Known; 5] {
        [
            self.config_maps.known(),
            self.secrets.known(),
            self.network_policies.known(),
            self.workloads.known(),
            self.pods.known(),
        ]
    }

    /// Whether there is nothing in the namespace that is ours to look after.
    pub(crate) fn is_deserted(&self) -> bool {
        let readable = self.own().iter().all(|known| *known == Known::All);
        let objects = !self.domains.is_empty() || !self.hosts.is_empty() || !self.policies.is_empty();
        readable && !objects && self.workloads.known() != Known::NotYet && self.workloads.is_empty()
    }

    /// The names of the claims; or why they may not be listed, which makes nothing else unreadable.
    fn claims(&self) -> Result<BTreeSet<String>, String> {
        match self.claims.known() {
            Known::Refused(sentence) => Err(sentence),
            Known::NotYet | Known::All => Ok(claims(self.claims.all().iter().map(|claim| &**claim))),
        }
    }

    /// The relay pods, with how to ask those that are going away.
    pub(crate) fn going(&self) -> Vec<going::Pod> {
        let pod = |pod: Arc<Pod>| {
            let goes = pod.metadata.deletion_timestamp.is_some();
            let status = goes.then(|| status_port(&pod).ok()).flatten();
            going::Pod { name: pod.name_any(), uid: pod.uid().unwrap_or_default(), status }
        };
        self.pods.all().into_iter().map(pod).collect()
    }

    /// The relay pods that are not going away.
    pub(crate) fn relay_pods(&self) -> Vec<programmed::Pod> {
        let staying = self.pods.all().into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        staying
            .map(|pod| programmed::Pod { name: pod.name_any(), readiness: readiness(&pod), status: status_port(&pod) })
            .collect()
    }
}

/// Leaves out who edited what, which only the objects that the operator writes are asked, and what kubectl keeps of the last
/// apply: the whole object once more.
fn slim<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove(LAST_APPLIED);
    }
}

fn slim_unless<K: Resource>(object: &mut K, keep: bool) {
    if !keep {
        slim(object);
    }
}

/// The Inputs, or why they are not complete.
pub(crate) fn gather(
    settings: &Settings,
    namespace: &str,
    caches: &Caches,
    names: &Names,
    services: &Services,
    nodes: &Nodes,
) -> Result<Inputs, String> {
    for known in caches.own() {
        match known {
            Known::All => {}
            Known::NotYet => return Err("our own kinds are not listed yet".to_owned()),
            Known::Refused(sentence) => return Err(sentence),
        }
    }
    let mut inputs = Inputs::new(Place::Cluster, namespace, &settings.operator_namespace);
    inputs.refused_targets.clone_from(&settings.refused_targets);
    inputs.cluster_ranges.clone_from(&settings.cluster_ranges);
    inputs.cluster_domain.clone_from(&settings.cluster_domain);
    inputs.nodes = nodes.ranges().ok_or("the nodes are not listed yet")?;
    inputs.domains = objects(&caches.domains);
    inputs.hosts = objects(&caches.hosts);
    inputs.policies = objects(&caches.policies);
    let others = caches.others();
    if others.contains(&Known::NotYet) || caches.claims.known() == Known::NotYet {
        return Err("the namespace is not listed yet".to_owned());
    }
    inputs.unreadable = unreadable(namespace, &settings.operator_namespace, &others);
    inputs.anchor = anchor(&caches.workloads.all());
    inputs.pods = caches.pods.all().iter().map(|pod| pod.name_any()).collect();
    inputs.claims = caches.claims();
    inputs.kept = caches.policies.get(DEFAULT_POLICY).map(|policy| told(&policy.status())).unwrap_or_default();
    inputs.config_maps = config_maps(&inputs, caches);
    inputs.secrets = secrets(&inputs, caches);
    inputs.published = published(caches);
    inputs.foreign = foreign(caches);
    inputs.services =
        services.look_up(&inputs.services_named()).ok_or("not every Service that is named is listed yet")?;
    let resolved = names.resolved(&inputs.names_to_resolve(), || history(caches));
    let Resolved { addresses, history } = resolved.ok_or("not every name of an endpoint is looked up yet")?;
    (inputs.names, inputs.history) = (addresses, history);
    Ok(inputs)
}

/// Why a namespace cannot be read, and what to do: in the API server's words what it refused first. `None`: it can.
fn unreadable(namespace: &str, operator_namespace: &str, known: &[Known]) -> Option<String> {
    let refused = |known: &Known| match known {
        Known::Refused(sentence) => Some(sentence.clone()),
        Known::NotYet | Known::All => None,
    };
    let sentences: Vec<String> = known.iter().filter_map(refused).collect();
    let first = sentences.first()?;
    Some(match sentences.len() == known.len() {
        true => format!(
            "no relay chart is installed in namespace {namespace} for this operator (helm install postern-relay charts/relay \
             -n {namespace} --set operator.namespace={operator_namespace} …): {first}"
        ),
        false => format!(
            "the operator's Role in namespace {namespace} is not that of the relay chart of today (helm upgrade it): {first}"
        ),
    })
}

/// What operators before wrote on the policies.
fn history(caches: &Caches) -> History {
    let mut history = History::new();
    for policy in caches.network_policies.all().into_iter().filter(|policy| is_ours(&policy.metadata)) {
        let written = policy.annotations().get(ANNOTATION).map(|text| from_annotation(text));
        for (name, answers) in written.unwrap_or_default() {
            history.entry(name).or_default().extend(answers);
        }
    }
    history
}

fn objects<K>(cache: &Cache<Custom<K>>) -> Vec<Object<K::Spec>>
where
    K: Resource + HasSpec<Spec: Clone>,
{
    let object = |custom: Arc<Custom<K>>| Object {
        meta: Meta::from(&custom.metadata),
        spec: custom.spec.clone(),
        conditions: custom.conditions(),
    };
    cache.all().into_iter().map(object).collect()
}

fn anchor(workloads: &[Arc<StatefulSet>]) -> Option<Anchor> {
    Anchor::of(Anchor::among(workloads.iter().map(|workload| &**workload))?)
}

fn config_maps(inputs: &Inputs, caches: &Caches) -> BTreeMap<String, BTreeMap<String, String>> {
    let found =
        |name: &&str| Some(((*name).to_owned(), caches.config_maps.get(name)?.data.clone().unwrap_or_default()));
    inputs.config_maps_named().iter().filter_map(found).collect()
}

fn secrets(inputs: &Inputs, caches: &Caches) -> BTreeMap<String, inputs::Secret> {
    let found = |name: &&str| {
        let secret = caches.secrets.get(name)?;
        let version = secret.uid().zip(secret.resource_version());
        Some(((*name).to_owned(), inputs::Secret { version, data: secret_data(&secret) }))
    };
    inputs.secrets_named().iter().filter_map(found).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, SecretBytes> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), SecretBytes(value.0.clone()))).collect()
}

fn published(caches: &Caches) -> Option<Arc<Published>> {
    let map_of = |file: &str| caches.config_maps.get(&config_map_of(file)).filter(|map| is_ours(&map.metadata));
    let secret = caches.secrets.get(SECRETS).filter(|secret| is_ours(&secret.metadata));
    let files = std::iter::once(SETTINGS_FILE.to_owned()).chain((1..=SHARDS_MAX).map(shard_file));
    let versions = files.map(|file| map_of(&file)?.resource_version());
    let versions: Vec<_> = versions.chain([secret.as_ref().and_then(|secret| secret.resource_version())]).collect();
    // Nothing that runs under the lock leaves it half changed.
    let mut last = caches.published.lock().unwrap_or_else(PoisonError::into_inner);
    if last.versions != versions {
        let content = |file: &str| Ok(map_of(file).and_then(|map| content(&map, file)));
        let file = SettingsFile::read(content, PLAIN_BYTES_MAX).ok();
        let secrets = || secret.map(|secret| secret_data(&secret)).unwrap_or_default();
        let published = file.map(|file| Arc::new(Published { snapshot: file.snapshot, secrets: secrets() }));
        *last = LastRead { versions, published };
    }
    last.published.clone()
}

/// A file of the settings; `settings.json` alone is text.
fn content(map: &ConfigMap, file: &str) -> Option<Vec<u8>> {
    match file {
        SETTINGS_FILE => Some(map.data.as_ref()?.get(SETTINGS_FILE)?.clone().into_bytes()),
        _ => Some(map.binary_data.as_ref()?.get(file)?.0.clone()),
    }
}

fn foreign(caches: &Caches) -> BTreeSet<Written> {
    fn among<K: Resource>(kind: WrittenKind, objects: Vec<Arc<K>>) -> impl Iterator<Item = Written> {
        let foreign = move |object: &Arc<K>| is_reserved(kind, &object.name_any()) && !is_ours(object.meta());
        objects.into_iter().filter(foreign).map(move |object| Written { kind, name: object.name_any() })
    }
    among(WrittenKind::ConfigMap, caches.config_maps.all())
        .chain(among(WrittenKind::Secret, caches.secrets.all()))
        .chain(among(WrittenKind::NetworkPolicy, caches.network_policies.all()))
        .collect()
}

/// Whether the operator has made this object: by its label, or, when somebody took the label off, by the fields that the
/// API server knows to be the operator's.
pub(crate) fn is_ours(meta: &ObjectMeta) -> bool {
    let (label, value) = MANAGED_BY;
    let labelled = meta.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value);
    let fields = meta.managed_fields.as_deref().unwrap_or_default();
    labelled || fields.iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

fn readiness(pod: &Pod) -> Readiness {
    let Some(status) = &pod.status else { return Readiness::NotReady };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return Readiness::Ready;
    }
    match status.container_statuses.as_deref() {
        Some(containers @ [_, ..]) if containers.iter().all(|container| container.ready) => Readiness::Doubted,
        _ => Readiness::NotReady,
    }
}

fn status_port(pod: &Pod) -> Result<SocketAddr, String> {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse::<IpAddr>().ok());
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut ports = containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
    let port = ports.find(|port| port.name.as_deref() == Some(STATUS_PORT));
    let port = port.and_then(|port| u16::try_from(port.container_port).ok());
    match (ip, port) {
        (Some(ip), Some(port)) => Ok(SocketAddr::new(ip, port)),
        (None, _) => Err("the pod has no address".to_owned()),
        (_, None) => Err(format!("the pod has no container port named {STATUS_PORT}")),
    }
}

#[cfg(test)]
mod tests;
