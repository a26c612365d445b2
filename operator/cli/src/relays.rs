//! Which relays a command is about: those at control sockets on this machine, or all of a DMZ in a cluster.
//!
//! `--control` always means this machine, and `--namespace`, `--context`, `--kubeconfig` always a cluster. When nothing is
//! said `kubectl postern` means a cluster, and `postern` this machine: the relay of `$POSTERN_CONTROL`, else that of
//! `postern up` in this folder. So nobody reaches a cluster by accident.

use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use clap::Args;
use postern_operator::kept::said;
use postern_relay::control::{Client, ClientError};

use crate::cluster::{self, Cluster, Kept, Link, RELAYS, RelayPod};
use crate::text::printable;

/// That of `postern up`.
pub(crate) const SOCKET: &str = ".postern/control.sock";
/// What tells a command of a relay's own pod where the socket is.
const SOCKET_VARIABLE: &str = "POSTERN_CONTROL";

/// Tells the rule, for the help of each command that follows it.
pub(crate) const RULE: &str = "Which relays: `kubectl postern` means all relay pods of the namespace, through the API server \
and with the rights of your kubeconfig (`get` and `create` on `pods/exec`); so does `postern` with --namespace, --context or \
--kubeconfig. Else `postern` means the relay on this machine: that of --control, of $POSTERN_CONTROL, or of `postern up` in \
this folder.";

/// What the command line says.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// The control socket of a relay on this machine; again for each further one
    #[arg(long, global = true, value_name = "SOCKET", conflicts_with_all = ["namespace", "context", "kubeconfig", "pod"])]
    control: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: cluster::Target,
    /// Only this relay pod; again for each further one
    #[arg(long, global = true, value_name = "NAME", help_heading = "In a cluster")]
    pub(crate) pod: Vec<String>,
}

/// One relay.
pub(crate) struct Relay {
    /// Its pod, or its socket.
    pub(crate) name: String,
    /// Or why there is none, which is told once.
    client: Result<Client>,
    /// Knows why the client lost its relay.
    trouble: Option<cluster::Trouble>,
}

/// Those that are meant.
pub(crate) struct Relays {
    pub(crate) all: Vec<Relay>,
    /// Whether it must be said which of them is which.
    pub(crate) are_named: bool,
    /// What relays have left that are not there any more; empty unless it is asked for.
    pub(crate) kept: Kept,
    /// Without it no link carries anything.
    _cluster: Option<Cluster>,
}

/// What came of asking each relay. Those that failed were named on standard error.
pub(crate) struct Asked<T> {
    pub(crate) answers: Vec<(String, T)>,
    pub(crate) failed: usize,
}

impl Which {
    /// Whether it is a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.control.is_empty() && (self.cluster.is_said() || !self.pod.is_empty() || cluster::is_plugin())
    }

    /// Finds them, and connects to those on this machine. Pods are connected to meanwhile.
    pub(crate) fn find(&self) -> Result<Relays> {
        if self.is_cluster() {
            return Relays::of(self.cluster.connect()?, &self.pod, false);
        }
        self.find_here()
    }

    /// The same, and what relays have left that are not there any more, unless single ones are named.
    pub(crate) fn find_with_kept(&self) -> Result<Relays> {
        if self.is_cluster() {
            return Relays::of(self.cluster.connect()?, &self.pod, true);
        }
        self.find_here()
    }

    fn find_here(&self) -> Result<Relays> {
        let variable = env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
        let sockets = match (self.control.as_slice(), &variable) {
            ([], Some(socket)) => std::slice::from_ref(socket),
            ([], None) => return Ok(Relays::here(vec![default_socket()?])),
            (sockets, _) => sockets,
        };
        Ok(Relays::here(sockets.iter().map(|path| Relay::here(path)).collect()))
    }
}

fn default_socket() -> Result<Relay> {
    let path = Path::new(SOCKET);
    if !path.exists() {
        bail!(
            "no relay runs in this folder (there is no {SOCKET}): start one with `postern up`, name its socket with \
             --control, or say --namespace for one in a cluster"
        );
    }
    Ok(Relay::here(path))
}

/// Why a pod that the command line names is none of these: it may have left its volume.
fn missing(name: &str, namespace: &str, pods: &[RelayPod], kept: &Kept) -> Error {
    let volume = kept.volumes.iter().find(|volume| volume.relay == name);
    if let Some((volume, back)) = volume.and_then(|volume| Some((volume, kept.back([volume])?))) {
        return anyhow!("{name} was scaled in, and left {}: to have it back, {back}", said(volume));
    }
    let there: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
    match there.as_slice() {
        [] => anyhow!("no relay pod {name} in namespace {namespace}, and no other: none has the label {RELAYS}"),
        there => anyhow!("no relay pod {name} in namespace {namespace}: there are {}", there.join(", ")),
    }
}

/// Who may not read it learns of the relays all the same.
fn read_kept(cluster: &Cluster, pods: &[RelayPod]) -> Kept {
    cluster.kept(cluster.workload().ok().flatten().as_ref(), pods).unwrap_or_default()
}

/// # Errors
/// When one of these names is none of these pods.
pub(crate) fn known(cluster: &Cluster, pods: &[RelayPod], only: &[String]) -> Result<()> {
    match only.iter().find(|name| pods.iter().all(|pod| pod.name != **name)) {
        Some(unknown) => Err(missing(unknown, &cluster.namespace, pods, &read_kept(cluster, pods))),
        None => Ok(()),
    }
}

impl Relays {
    fn here(all: Vec<Relay>) -> Self {
        Self { are_named: all.len() > 1, all, kept: Kept::default(), _cluster: None }
    }

    fn of(cluster: Cluster, only: &[String], with_kept: bool) -> Result<Self> {
        let pods = cluster.relays()?;
        known(&cluster, &pods, only)?;
        let kept = if with_kept && only.is_empty() { read_kept(&cluster, &pods) } else { Kept::default() };
        if pods.is_empty() && kept.volumes.is_empty() {
            return Err(cluster.nobody());
        }
        let meant = pods.iter().filter(|pod| only.is_empty() || only.contains(&pod.name));
        let relays = Self::linked(&cluster, meant)?;
        Ok(Self { kept, _cluster: Some(cluster), ..relays })
    }

    /// Those in these pods, for as long as the cluster is kept.
    pub(crate) fn linked<'a>(cluster: &Cluster, pods: impl Iterator<Item = &'a RelayPod>) -> Result<Self> {
        let open = |pod: &RelayPod| {
            let Link { stream, trouble } = cluster.link(pod)?;
            Ok(Relay {
                name: pod.name.clone(),
                client: Client::over(stream, &pod.name).map_err(Error::from),
                trouble: Some(trouble),
            })
        };
        Ok(Self { all: pods.map(open).collect::<Result<_>>()?, are_named: true, kept: Kept::default(), _cluster: None })
    }

    /// The only one; else the command line must say which.
    pub(crate) fn only(&mut self) -> Result<&mut Relay> {
        match self.all.as_mut_slice() {
            [relay] => Ok(relay),
            all => {
                let names: Vec<&str> = all.iter().map(|relay| &*relay.name).collect();
                bail!("say into which relay, with --pod: {}", names.join(", "))
            }
        }
    }

    /// Asks all of them at the same time.
    pub(crate) fn ask_each<T: Send>(
        &mut self,
        ask: impl Fn(&mut Client) -> Result<T> + Sync,
    ) -> Vec<(String, Result<T>)> {
        let ask = &ask;
        thread::scope(|scope| {
            let asked = self.all.iter_mut().map(|relay| {
                scope.spawn(move || {
                    let answer = relay.with(ask);
                    (relay.name.clone(), answer)
                })
            });
            // All are asked before the first is waited for.
            let asked: Vec<_> = asked.collect();
            asked.into_iter().filter_map(|asked| asked.join().ok()).collect()
        })
    }

    /// The same, where those that fail are named on standard error.
    ///
    /// # Errors
    /// When none of them answers.
    pub(crate) fn ask<T: Send>(&mut self, ask: impl Fn(&mut Client) -> Result<T> + Sync) -> Result<Asked<T>> {
        let named = self.are_named;
        Asked::of(self.ask_each(ask), named)
    }
}

impl Relay {
    /// The one at this control socket.
    fn here(path: &Path) -> Self {
        let client = Client::connect(path).map_err(Error::from);
        Self { name: path.display().to_string(), client, trouble: None }
    }

    /// Asks it something. What the link knows of a failure goes before what the client saw.
    pub(crate) fn with<T>(&mut self, ask: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
        let error = match &mut self.client {
            Ok(client) => match ask(client) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            },
            Err(error) => return Err(std::mem::replace(error, anyhow!("no connection"))),
        };
        let lost = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(ClientError::Broken { .. })));
        match self.trouble.as_ref().filter(|_| lost).and_then(cluster::Trouble::get) {
            Some(reason) => Err(anyhow!(reason)),
            None => Err(error),
        }
    }
}

/// On standard error, beside the answers of the others.
pub(crate) fn complain(name: &str, reason: impl Display) {
    eprintln!("{name}: {}", printable(&reason.to_string()));
}

impl<T> Asked<T> {
    fn of(all: Vec<(String, Result<T>)>, named: bool) -> Result<Self> {
        let (mut answers, mut failed, count) = (Vec::new(), Vec::new(), all.len());
        for (name, answer) in all {
            match answer {
                Ok(answer) => answers.push((name, answer)),
                Err(error) => failed.push((name, error)),
            }
        }
        if let ([], [_]) = (answers.as_slice(), failed.as_slice())
            && let Some((name, error)) = failed.pop()
        {
            return Err(if named { error.context(name) } else { error });
        }
        failed.iter().for_each(|(name, error)| complain(name, cluster::sentence(error)));
        if answers.is_empty() && count > 0 {
            return Err(anyhow!("no relay answered"));
        }
        Ok(Self { answers, failed: failed.len() })
    }

    /// Adds all answers up.
    pub(crate) fn fold<S>(self, start: S, add: impl FnMut(S, (String, T)) -> S) -> (S, usize) {
        (self.answers.into_iter().fold(start, add), self.failed)
    }
}

/// An unexpected answer.
pub(crate) fn unexpected(answer: impl std::fmt::Debug) -> Error {
    anyhow!("the relay answered something else: {answer:?}")
}

/// The first answer to a question that has one.
pub(crate) fn one(
    client: &mut Client,
    command: postern_relay::control::Command,
) -> Result<postern_relay::control::Answer> {
    let answers = client.ask(command)?.collect::<Result<Vec<_>, _>>()?;
    answers.into_iter().next().context("the relay gave no answer")
}
