//! Which namespaces are a DMZ: those that hold an object of one of our kinds, and those that hold a relay workload.
//!
//! Only names are asked for cluster-wide, never contents. A refused watch is tried again; meanwhile the namespaces that
//! are known stay known.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::cache::Patience;

/// Between attempts to list the namespaces for relay workloads.
const PROBE_RETRY: Duration = Duration::from_secs(10);

/// Tells `found` every namespace of interest, again and again.
pub(crate) fn start(client: &Client, found: &Sender<String>, tasks: &mut JoinSet<()>) {
    tasks.spawn(watch::<RelayDomain>(client.clone(), found.clone()));
    tasks.spawn(watch::<RelayHost>(client.clone(), found.clone()));
    tasks.spawn(watch::<FilterPolicy>(client.clone(), found.clone()));
    tasks.spawn(probe(client.clone(), found.clone()));
}

async fn watch<K>(client: Client, found: Sender<String>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let objects = watcher(Api::<PartialObjectMeta<K>>::all(client), watcher::Config::default());
    let mut events = Box::pin(objects.backoff(Patience::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let _ = found.send(object.namespace().unwrap_or_default()).await;
            }
            Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
            Err(error) => warn!(kind = %K::kind(&()), %error, "cannot watch the cluster for our kinds"),
        }
    }
}

/// The last object of a DMZ may have been deleted while no operator ran: its relays must still learn of it. So each
/// namespace is asked once, at the start, for a relay workload; a refusal means that it is none of ours.
async fn probe(client: Client, found: Sender<String>) {
    let namespaces = loop {
        match Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await {
            Ok(list) => break list,
            Err(error) => warn!(%error, "cannot list the namespaces for relay workloads"),
        }
        tokio::time::sleep(PROBE_RETRY).await;
    };
    let relays = ListParams::default().labels(crate::RELAY_SELECTOR).limit(1);
    for namespace in namespaces {
        let name = namespace.name_any();
        match Api::<StatefulSet>::namespaced(client.clone(), &name).list_metadata(&relays).await {
            Ok(workloads) if !workloads.items.is_empty() => {
                let _ = found.send(name).await;
            }
            Ok(_) => {}
            Err(error) => debug!(namespace = name, %error, "not a DMZ of ours"),
        }
    }
}
