//! The Services that stand in one namespace as endpoints, and their EndpointSlices, for its NetworkPolicies.
//!
//! They are anybody's, in any namespace: so only namespaces in which one is named are watched, and no more than
//! [`NAMESPACES_MAX`] of them; of what is read only what a path needs is kept. What else happens there wakes nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cache::{Cache, Known};
use crate::inputs::{self, SERVICE_NAME_LABEL, ServiceName};

/// Namespaces that one DMZ may make the operator watch, in the order of their names.
const NAMESPACES_MAX: usize = 64;

/// What is known of the Services that are named: those that exist, or why one cannot be read.
type Found = BTreeMap<ServiceName, Result<inputs::Service, String>>;

/// Every Service of interest.
pub(crate) struct Services {
    client: Client,
    /// Something has changed in a namespace that is watched.
    stirred: Arc<Notify>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<String, Watched>,
    named: BTreeSet<ServiceName>,
    /// What was said last. `None`: that not everything is listed yet.
    said: Option<Found>,
}

/// One namespace. Its watches end with it.
struct Watched {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    _tasks: JoinSet<()>,
}

impl Services {
    /// `changed` is woken when there is something else to say of those that were asked for last.
    pub(crate) fn start(client: &Client, changed: Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        let (stirred, state) = (Arc::new(Notify::new()), Arc::<Mutex<State>>::default());
        tasks.spawn(tell(stirred.clone(), state.clone(), changed));
        Self { client: client.clone(), stirred, state }
    }

    /// These Services as they are; `None` until each namespace is listed. Watches no others from now on.
    pub(crate) fn look_up(&self, named: &BTreeSet<ServiceName>) -> Option<Found> {
        let mut state = lock(&self.state);
        let namespaces: BTreeSet<&String> = named.iter().map(|name| &name.namespace).collect();
        let namespaces: BTreeSet<&String> = namespaces.into_iter().take(NAMESPACES_MAX).collect();
        state.watched.retain(|namespace, _| namespaces.contains(namespace));
        for namespace in namespaces {
            let watch = || Watched::start(&self.client, namespace, &self.stirred);
            state.watched.entry(namespace.clone()).or_insert_with(watch);
        }
        state.named.clone_from(named);
        state.said = state.found();
        state.said.clone()
    }
}

async fn tell(stirred: Arc<Notify>, state: Arc<Mutex<State>>, changed: Arc<Notify>) {
    loop {
        stirred.notified().await;
        let differs = {
            let state = lock(&state);
            state.found() != state.said
        };
        if differs {
            changed.notify_one();
        }
    }
}

impl State {
    fn found(&self) -> Option<Found> {
        let mut found = Found::new();
        for name in &self.named {
            let known = match self.watched.get(&name.namespace) {
                Some(watched) => watched.service(&name.name)?,
                None => Some(Err(format!("more than {NAMESPACES_MAX} namespaces are named in this DMZ"))),
            };
            found.extend(known.map(|known| (name.clone(), known)));
        }
        Some(found)
    }
}

impl Watched {
    fn start(client: &Client, namespace: &str, stirred: &Arc<Notify>) -> Self {
        let mut tasks = JoinSet::new();
        let services = Api::namespaced(client.clone(), namespace);
        let slices = Api::namespaced(client.clone(), namespace);
        Self {
            services: Cache::start(services, watcher::Config::default(), slim_service, stirred.clone(), &mut tasks),
            slices: Cache::start(slices, watcher::Config::default(), slim_slice, stirred.clone(), &mut tasks),
            _tasks: tasks,
        }
    }

    /// The outer `None`: it is not listed yet. The inner one: there is no such Service.
    fn service(&self, name: &str) -> Option<Option<Result<inputs::Service, String>>> {
        for known in [self.services.known(), self.slices.known()] {
            match known {
                Known::NotYet => return None,
                Known::Refused(sentence) => return Some(Some(Err(sentence))),
                Known::All => {}
            }
        }
        let Some(service) = self.services.get(name) else { return Some(None) };
        let slices = self.slices.all();
        let of_it = slices.iter().filter(|slice| inputs::Service::of_slice(slice) == Some(name));
        Some(Some(Ok(inputs::Service::new(&service, of_it.map(|slice| &**slice)))))
    }
}

fn slim_service(service: &mut Service) {
    let (metadata, spec) = (&mut service.metadata, service.spec.take().unwrap_or_default());
    (metadata.managed_fields, metadata.annotations, metadata.labels) = (None, None, None);
    let ServiceSpec { type_, cluster_ip, cluster_ips, external_name, ports, selector, .. } = spec;
    service.spec =
        Some(ServiceSpec { type_, cluster_ip, cluster_ips, external_name, ports, selector, ..ServiceSpec::default() });
    service.status = None;
}

fn slim_slice(slice: &mut EndpointSlice) {
    let metadata = &mut slice.metadata;
    (metadata.managed_fields, metadata.annotations, metadata.owner_references) = (None, None, None);
    metadata.labels.iter_mut().for_each(|labels| labels.retain(|label, _| label == SERVICE_NAME_LABEL));
    for endpoint in &mut slice.endpoints {
        let addresses = std::mem::take(&mut endpoint.addresses);
        *endpoint = Endpoint { addresses, ..Endpoint::default() };
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing that runs under the lock leaves the state half changed.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
