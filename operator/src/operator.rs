//! The operator as a whole: everything wired to one client, until it is told to end.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::resolve::name::host_name;
use crate::{admin, controller};

/// The workload and the pods of a relay carry this label.
pub(crate) const RELAY_SELECTOR: &str = "postern.io/relay=true";

/// For the reconciles that run when the end comes.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

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
}

/// Runs until `ends` is ready, and then until what is being written is written.
///
/// # Errors
/// When the HTTP port fails. What the API server refuses is never an error here: it is tried again.
pub async fn run(
    client: kube::Client,
    settings: Settings,
    http: TcpListener,
    ends: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (end, ended) = watch::channel(false);
    info!(namespaces = ?settings.namespaces, http = %http.local_addr()?, "operator started");
    let mut told = ended.clone();
    let admin = admin::serve(http, registry, async move {
        let _ = told.wait_for(|ends| *ends).await;
    });
    let admin = tokio::spawn(admin);
    // The watch ends with this function.
    let mut watches = JoinSet::new();
    let nodes = Nodes::start(&client, !settings.namespaces.is_empty(), &mut watches);
    let context = controller::Context { client, settings: Arc::new(settings), nodes, metrics };
    let controller = tokio::spawn(controller::run(context, ended));
    ends.await;
    info!("ending");
    end.send_replace(true);
    if tokio::time::timeout(ENDS_WITHIN, controller).await.is_err() {
        warn!("a reconcile did not end in time; the next operator takes it up");
    }
    Ok(admin.await??)
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
