//! A DMZ in a cluster, as a person sees it: through the API server, with their own kubeconfig and their own rights.

mod exec;
mod kept;
mod settings;
mod workload;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt as _};
use tokio::runtime::Runtime;

pub(crate) use exec::{Link, Trouble};
pub(crate) use kept::Kept;
pub(crate) use workload::Workload;

/// What the relay pods of a DMZ have in common.
pub(crate) const RELAYS: &str = "postern.io/relay=true";
/// Under this name the program is a plugin of kubectl, and means a cluster where it is not told otherwise.
const PLUGIN: &str = "kubectl-postern";
/// The container that kubectl enters when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Target cluster, and which namespace of it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Target {
    /// The namespace of the DMZ; without it that of the kubeconfig's context
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "In a cluster")]
    namespace: Option<String>,
    /// The context of the kubeconfig, instead of its current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "In a cluster")]
    context: Option<String>,
    /// The kubeconfig, instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", help_heading = "In a cluster")]
    kubeconfig: Option<PathBuf>,
}

/// Whether the program was called as kubectl's plugin.
pub(crate) fn is_plugin() -> bool {
    let name = env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_stem).is_some_and(|name| name == PLUGIN)
}

impl Target {
    /// Whether the command line says so.
    pub(crate) fn is_said(&self) -> bool {
        let Self { namespace, context, kubeconfig } = self;
        namespace.is_some() || context.is_some() || kubeconfig.is_some()
    }

    /// Reads the kubeconfig. Nothing is connected to yet.
    pub(crate) fn connect(&self) -> Result<Cluster> {
        let Self { namespace, context, kubeconfig } = self;
        if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
            bail!("the TLS library already has another provider");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(async {
            let file = match kubeconfig {
                Some(path) => Kubeconfig::read_from(path).map_err(|error| unread_at(path, error))?,
                None => Kubeconfig::read()
                    .map_err(unread)
                    .context("no kubeconfig: say --kubeconfig FILE, or set KUBECONFIG")?,
            };
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let config =
                Config::from_custom_kubeconfig(file, &options).await.map_err(unread).context("the kubeconfig")?;
            let namespace = namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            Ok::<_, anyhow::Error>((Client::try_from(config)?, namespace))
        });
        let (client, namespace) = client?;
        Ok(Cluster { client, namespace, runtime })
    }
}

/// An error as a person reads it: what was done, then the API server's own sentence and nothing of its form.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<kube::Error>() {
            Some(error) => {
                parts.push(api_sentence(error));
                break;
            }
            None => parts.push(cause.to_string()),
        }
    }
    parts.join(": ")
}

/// The same of the error alone.
pub(crate) fn api_sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.trim().is_empty() => status.message.trim().to_owned(),
        kube::Error::Api(status) => format!("the API server answers {} {}", status.code, status.reason),
        other => other.to_string(),
    }
}

/// Whether the API server denies the right.
pub(crate) fn is_forbidden(error: &anyhow::Error) -> bool {
    let api = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    error.chain().any(|cause| cause.downcast_ref().is_some_and(api))
}

/// Its sentences hold their causes, and quote a path twice.
fn unread(error: KubeconfigError) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(error, path) => anyhow!("{}: {error}", path.display()),
        other => anyhow!("{other}"),
    }
}

/// The same, of this file.
fn unread_at(path: &Path, error: KubeconfigError) -> anyhow::Error {
    let names_it = matches!(error, KubeconfigError::ReadConfig(..));
    let error = unread(error);
    if names_it { error } else { error.context(path.display().to_string()) }
}

/// A DMZ.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) runtime: Runtime,
}

/// One relay pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayPod {
    pub(crate) name: String,
    /// The container that the relay is in.
    pub(crate) container: String,
    pub(crate) ready: bool,
    /// Its phase, or why its container waits.
    pub(crate) phase: String,
    pub(crate) restarts: i32,
    pub(crate) node: String,
}

impl Cluster {
    /// The relay pods, by name.
    pub(crate) fn relays(&self) -> Result<Vec<RelayPod>> {
        let namespace = &self.namespace;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = self.runtime.block_on(api.list(&ListParams::default().labels(RELAYS)));
        let pods = pods.with_context(|| format!("the pods of namespace {namespace}"))?;
        let mut pods: Vec<RelayPod> = pods.iter().map(RelayPod::of).collect();
        pods.sort_by(|one, other| natural(&one.name).cmp(&natural(&other.name)));
        if pods.is_empty() {
            self.exists()?;
        }
        Ok(pods)
    }

    /// Whoever may not look is believed.
    ///
    /// # Errors
    /// When there is no such namespace.
    pub(crate) fn exists(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match self.runtime.block_on(api.get_opt(&self.namespace)) {
            Ok(None) => bail!("there is no namespace {}", self.namespace),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// Why there is no relay pod, and what to do.
    pub(crate) fn nobody(&self) -> anyhow::Error {
        let namespace = &self.namespace;
        match self.workload().ok().flatten().as_ref().map(Workload::of) {
            Some(workload) if workload.replicas == 0 => anyhow!(
                "no relay pod in namespace {namespace}: the StatefulSet {} has 0 replicas; to have some: {}",
                workload.name,
                workload.scale(namespace, "N")
            ),
            _ => anyhow!("no relay pod in namespace {namespace}: none has the label {RELAYS}"),
        }
    }

    /// A way to the control socket of a relay.
    pub(crate) fn link(&self, pod: &RelayPod) -> Result<Link> {
        Link::open(&self.runtime, Api::namespaced(self.client.clone(), &self.namespace), pod)
    }
}

impl RelayPod {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let named = pod.annotations().get(DEFAULT_CONTAINER).cloned();
        let container = named.or_else(|| containers.first().map(|first| first.name.clone())).unwrap_or_default();
        let states = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let state = states.iter().find(|state| state.name == container);
        let waits = state.and_then(|state| state.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let phase = match &pod.metadata.deletion_timestamp {
            Some(_) => Some("Terminating".to_owned()),
            None => waits.or_else(|| status.and_then(|status| status.phase.clone())),
        };
        Self {
            name: pod.name_any(),
            container,
            ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            phase: phase.unwrap_or_default(),
            restarts: state.map_or(0, |state| state.restart_count),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        }
    }
}

/// So that `relay-10` comes after `relay-9`.
fn natural(name: &str) -> (&str, u64) {
    let (stem, number) = name.rsplit_once('-').unwrap_or((name, ""));
    number.parse().map_or((name, 0), |number| (stem, number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_in_the_order_of_their_numbers() {
        let mut names = vec!["relay-10", "relay-9", "other", "relay-1"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["other", "relay-1", "relay-9", "relay-10"]);
    }

    #[test]
    fn a_pod_is_told_by_what_keeps_it_from_running() {
        let pod = |status, metadata| {
            let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "proxy"}, {"name": "relay"}]}, "status": status});
            RelayPod::of(&serde_json::from_value(pod).unwrap())
        };
        let named = json!({"name": "r-0", "annotations": {DEFAULT_CONTAINER: "relay"}});
        let crashing = json!({"phase": "Running", "containerStatuses": [
            {"name": "relay", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "ready": false, "image": "", "imageID": ""}]});
        let told = pod(crashing, named);
        assert_eq!(
            (&*told.container, &*told.phase, told.restarts, told.ready),
            ("relay", "CrashLoopBackOff", 3, false)
        );
        let told = pod(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            json!({"name": "r-0"}),
        );
        assert_eq!((&*told.container, &*told.phase, told.ready), ("proxy", "Running", true));
    }
}
