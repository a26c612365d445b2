//! Keeps the settings in force those of a folder: `settings.json`, or its compressed forms, and `secrets/`, as one mounted
//! volume.
//!
//! A Kubernetes volume is swapped whole through its link `..data`; a folder written by hand is known by the times of its
//! files. Either is looked at every 250 ms, and at once when told to (SIGHUP). New settings are read, checked, compiled and
//! dropped off the runtime, and are in force for each transaction that begins after them.
//!
//! Settings that cannot be believed change nothing: they are looked at again for a second, for somebody may be writing,
//! then reported once, in the log and at `/status`. There is no way here to lose settings that are in force.

mod folder;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{Config, Fault, Live};
use crate::metrics::{Load, Loaded, Metrics};
use crate::shutdown::{Shutdown, Stage};
use folder::{Folder, Found};

/// Where the settings are, and how much of them is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub directory: PathBuf,
    /// Octets of `settings.json`, or of what its compressed forms hold.
    pub settings_size_max: u64,
    /// Octets of one file under `secrets/`.
    pub secret_size_max: u64,
    /// How often it is looked at.
    pub every: Duration,
    /// How long settings that cannot be believed are looked at again before they are reported, and how long a folder
    /// that has changed is not trusted to show it in the times of its files.
    pub patience: Duration,
}

impl Options {
    /// Every 250 ms, with a second of patience.
    pub fn new(directory: impl Into<PathBuf>, settings_size_max: u64, secret_size_max: u64) -> Self {
        let (every, patience) = (Duration::from_millis(250), Duration::from_secs(1));
        Self { directory: directory.into(), settings_size_max, secret_size_max, every, patience }
    }
}

/// What became of the settings, for `/status` and `/readyz`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Report(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    rejected: Option<Arc<str>>,
}

impl Report {
    /// The settings in force; `None` before the first.
    pub fn config(&self) -> Option<Arc<Config>> {
        self.state().live.as_ref().map(|live| live.load_full())
    }

    /// Why the files that are there now were not taken.
    pub fn rejected(&self) -> Option<Arc<str>> {
        self.state().rejected.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reject(&self, reason: Option<&str>) {
        self.state().rejected = reason.map(Arc::from);
    }
}

/// Follows the folder until the relay ends. `first` gets the settings once there are some; `look` asks to look at once.
pub async fn run(
    options: Options,
    report: Report,
    metrics: Metrics,
    look: Arc<Notify>,
    first: oneshot::Sender<Live>,
    shutdown: Shutdown,
) {
    let every = options.every;
    let mut follower =
        Follower { report, metrics, first: Some(first), live: None, retired: Vec::new(), folder: Folder::new(options) };
    let mut asked = false;
    while shutdown.stage() < Stage::Ended {
        follower = follower.look(asked).await;
        asked = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = look.notified() => true,
            () = shutdown.reached(Stage::Ended) => false,
        };
    }
}

/// All that following needs between two looks.
struct Follower {
    report: Report,
    metrics: Metrics,
    first: Option<oneshot::Sender<Live>>,
    live: Option<Live>,
    /// Settings that transactions may still hold. They are dropped here, not by whoever holds them last.
    retired: Vec<Arc<Config>>,
    folder: Folder,
}

impl Follower {
    /// One look, off the runtime.
    async fn look(mut self, asked: bool) -> Self {
        let now = Instant::now();
        let looked = spawn_blocking(move || {
            self.retired.retain(Config::is_held);
            let old = self.live.as_ref().map(|live| live.load_full());
            let found = catch_unwind(AssertUnwindSafe(|| self.folder.look(old.as_deref(), asked, now)));
            let found =
                found.unwrap_or_else(|_| Found::Bad("reading these settings failed inside the relay".to_owned()));
            (self, found)
        });
        let (mut follower, found) = match looked.await {
            Ok(looked) => looked,
            // Only when the runtime is gone: then this task is gone with it.
            Err(_) => std::future::pending().await,
        };
        follower.take(found);
        follower
    }

    fn take(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Same => self.report.reject(None),
            Found::New(config, faults) => self.enforce(*config, &faults),
            Found::Bad(reason) => {
                let loads = &self.metrics.settings().loads;
                loads.get_or_create(&Load { result: Loaded::Rejected }).inc();
                match self.report.config() {
                    Some(config) => warn!("settings {} stay in force: {reason}", config.digest.short()),
                    None => warn!("no settings yet, SMTP stays closed: {reason}"),
                }
                self.report.reject(Some(&reason));
            }
        }
    }

    fn enforce(&mut self, config: Config, faults: &[Fault]) {
        let metrics = self.metrics.settings();
        metrics.loads.get_or_create(&Load { result: Loaded::Enforced }).inc();
        metrics.objects.set(i64::try_from(config.objects().len()).unwrap_or(i64::MAX));
        metrics.faults.set(i64::try_from(faults.len()).unwrap_or(i64::MAX));
        let (domains, hosts) = (config.count("RelayDomain"), config.count("RelayHost"));
        let digest = config.digest.clone();
        let config = Arc::new(config);
        match &self.live {
            Some(live) => self.retired.push(live.swap(config)),
            None => {
                let live: Live = Arc::new(ArcSwap::new(config));
                self.live = Some(live.clone());
                self.report.state().live = Some(live.clone());
                // Nobody waits for the first settings when the relay is ending already.
                self.first.take().map(|first| first.send(live));
            }
        }
        self.report.reject(None);
        info!(
            digest = digest.as_str(),
            "settings {} enforced: {}, {}",
            digest.short(),
            count(domains, "domain"),
            count(hosts, "host")
        );
        for Fault { kind, name, problem } in faults {
            warn!(object = format!("{kind}/{name}"), "{kind} {name} is not enforced whole: {problem}");
        }
    }
}

/// `1 host`, `2 hosts`
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
