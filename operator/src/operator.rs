//! The operator as a whole: everything wired to one client, until it is told to end.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::events::Events;
use crate::lease::{Election, LeaseSettings};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::resolve::name::host_name;
use crate::{admin, controller};

/// The workload and the pods of a relay carry this label.
pub(crate) const RELAY_SELECTOR: &str = "postern.io/relay=true";

/// For the reconciles that run when the end comes: what they do not get done, the next operator does.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// For the events that are queued then.
const TELLS_WITHIN: Duration = Duration::from_secs(1);
/// For whoever is still asking at the HTTP port then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What an operator is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to look after. Empty: all that hold an object of our kinds or a relay workload.
    pub namespaces: Vec<String>,
    /// The namespace of the operator's own pods.
    pub operator_namespace: String,
    /// Addresses that are never a target: the API server's.
    pub refused_targets: BTreeSet<IpAddr>,
    /// The ranges of the cluster's pods, Services and nodes: mail that goes out directly never reaches them.
    pub cluster_ranges: BTreeSet<IpNet>,
    /// What the names of the cluster's Services end in.
    pub cluster_domain: String,
    /// The name servers that are asked for the addresses of endpoints. Empty: those of the system.
    pub dns: Vec<SocketAddr>,
    /// By which of several operators one leads. `None`: this is the only one.
    pub lease: Option<LeaseSettings>,
}

/// Runs until `ends` is ready, and then until what is being written is written and the lease is given back.
///
/// # Errors
/// When the HTTP port fails, and when this operator led and its lease could not be renewed: then another one may lead soon,
/// and the process must end at once. What the API server refuses else is never an error here: it is tried again.
pub async fn run(
    client: kube::Client,
    settings: Settings,
    http: TcpListener,
    ends: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (end, ended) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    info!(namespaces = ?settings.namespaces, http = %http.local_addr()?, "operator started");
    let mut told = ended.clone();
    let admin = tokio::spawn(admin::serve(http, registry, is_ready, async move {
        let _ = told.wait_for(|ends| *ends).await;
    }));
    let lease = settings.lease.clone();
    let mut election = lease.map(|lease| Election::new(&client, &settings.operator_namespace, lease));
    let mut ends = pin!(ends);
    let leads = tokio::select! {
        () = win(election.as_mut(), &ready) => true,
        () = &mut ends => false,
    };
    if leads {
        metrics.leader.set(1);
        // The watch ends with this block.
        let mut watches = JoinSet::new();
        let nodes = Nodes::start(&client, !settings.namespaces.is_empty(), &mut watches);
        let (events, mut teller) = Events::start(&client, &metrics);
        let context = controller::Context { client, settings: Arc::new(settings), nodes, metrics, events };
        let controller = tokio::spawn(controller::run(context, ended));
        tokio::select! {
            () = &mut ends => {}
            why = hold(election.as_mut()) => bail!("the lease is lost, and another operator may lead soon: {why}"),
        }
        info!("ending");
        end.send_replace(true);
        finish(controller).await;
        // What was news is told, unless there is too much of it.
        let _ = tokio::time::timeout(TELLS_WITHIN, &mut teller).await;
    }
    end.send_replace(true);
    if let Some(election) = election {
        election.release().await;
    }
    match tokio::time::timeout(ANSWERS_WITHIN, admin).await {
        Ok(served) => Ok(served??),
        Err(_) => Ok(()),
    }
}

/// Until this operator leads. It is ready before: from its first look at the lease on, for then it can follow the leader.
async fn win(election: Option<&mut Election>, ready: &watch::Sender<bool>) {
    let looked = || {
        ready.send_replace(true);
    };
    match election {
        Some(election) => election.win(looked).await,
        None => looked(),
    }
}

/// Until this operator leads no more, and why.
async fn hold(election: Option<&mut Election>) -> String {
    match election {
        Some(election) => election.hold().await,
        None => std::future::pending().await,
    }
}

async fn finish(mut controller: JoinHandle<()>) {
    if tokio::time::timeout(ENDS_WITHIN, &mut controller).await.is_err() {
        warn!("a reconcile did not end in time; the next operator takes it up");
        controller.abort();
        let _ = controller.await;
    }
}

/// A DNS name in the form in which the settings hold names.
pub fn domain_name(text: &str) -> Option<String> {
    host_name(text).ok()
}

/// The addresses at which this cluster's API server is reached: no mail goes there.
pub async fn addresses_of(config: &kube::Config) -> BTreeSet<IpAddr> {
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match tokio::net::lookup_host((host.as_str(), 443)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            warn!(host, %error, "the API server's address is not known; it is not refused as a target");
            BTreeSet::new()
        }
    }
}
