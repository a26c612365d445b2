//! The nodes of the cluster, of which the relays must know the addresses: one watch for all DMZs.
//!
//! Nodes come and go, often many at a time. What has changed is told at once, and what changes in the [`QUIET`] time after
//! it all together: a cluster that grows does not write settings for every node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::warn;

use crate::cache::{Cache, Known};
use crate::inputs::{annotated, node_ranges};

/// After something was told.
const QUIET: Duration = Duration::from_secs(10);

/// What is known of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// They are not listed yet.
    NotYet,
    /// The ranges of all of them, none within another. `None`: nobody may know.
    Ranges(Option<BTreeSet<IpNet>>),
}

/// The addresses of the nodes. Clones are of the same.
#[derive(Clone)]
pub(crate) struct Nodes(watch::Receiver<Told>);

impl Nodes {
    /// Starts to watch; with `narrow` nothing is asked of the cluster.
    pub(crate) fn start(client: &Client, narrow: bool, tasks: &mut JoinSet<()>) -> Self {
        if narrow {
            warn!("nodes are not listed, for only single namespaces are looked after: no address is known as a node's");
            return Self(watch::channel(Told::Ranges(None)).1);
        }
        let (teller, told) = watch::channel(Told::NotYet);
        let changed = Arc::new(Notify::new());
        let mut watches = JoinSet::new();
        let config = watcher::Config::default();
        let cache = Cache::start(Api::<Node>::all(client.clone()), config, slim, changed.clone(), &mut watches);
        tasks.spawn(async move {
            tell(&cache, &changed, &teller).await;
            drop(watches);
        });
        Self(told)
    }

    /// The ranges of all nodes, if they may be known; no answer yet while they are not listed.
    pub(crate) fn ranges(&self) -> Option<Option<BTreeSet<IpNet>>> {
        match &*self.0.borrow() {
            Told::NotYet => None,
            Told::Ranges(ranges) => Some(ranges.clone()),
        }
    }

    /// Wakes `changed` whenever there is another answer.
    pub(crate) fn follow(&self, changed: Arc<Notify>, tasks: &mut JoinSet<()>) {
        let mut told = self.0.clone();
        tasks.spawn(async move {
            while told.changed().await.is_ok() {
                changed.notify_one();
            }
        });
    }
}

async fn tell(cache: &Cache<Node>, changed: &Notify, teller: &watch::Sender<Told>) {
    loop {
        changed.notified().await;
        let now = match cache.known() {
            Known::NotYet => continue,
            Known::All => Told::Ranges(Some(ranges(&cache.all()))),
            Known::Refused(sentence) => {
                warn!(sentence, "nodes cannot be listed: no address is known as a node's");
                Told::Ranges(None)
            }
        };
        let differs = teller.send_if_modified(|told| {
            let differs = *told != now;
            *told = now;
            differs
        });
        if differs {
            tokio::time::sleep(QUIET).await;
        }
    }
}

fn ranges(nodes: &[Arc<Node>]) -> BTreeSet<IpNet> {
    let all: Vec<IpNet> = nodes.iter().flat_map(|node| node_ranges(node)).collect();
    IpNet::aggregate(&all).into_iter().collect()
}

/// Of all that a node says, its addresses.
fn slim(node: &mut Node) {
    let metadata = &mut node.metadata;
    (metadata.managed_fields, metadata.labels) = (None, None);
    metadata.annotations.iter_mut().for_each(|all| all.retain(|_, value| annotated(value).is_some()));
    node.spec = node.spec.take().map(|NodeSpec { pod_cidr, pod_cidrs, .. }| NodeSpec {
        pod_cidr,
        pod_cidrs,
        ..NodeSpec::default()
    });
    node.status =
        node.status.take().map(|NodeStatus { addresses, .. }| NodeStatus { addresses, ..NodeStatus::default() });
}
