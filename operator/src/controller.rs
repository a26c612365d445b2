//! One task for each DMZ: whatever changes in its namespace wakes it, and the whole DMZ is rendered from its caches.
//!
//! Problems of objects are no errors: they are in the status, and wait for a change. Only what the API server did not take
//! is tried again, and only who does not follow is woken again: soon and then ever more slowly, at most once a minute. The
//! status is written in either case. A DMZ that nothing is left of is let go, and found again when something appears.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use postern_crds::condition::Reason;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info};

use crate::Settings;
use crate::apply::{Applied, Failure, Loss, Writer};
use crate::discover;
use crate::events::Events;
use crate::fit::fit;
use crate::gather::{Caches, gather};
use crate::going::Going;
use crate::metrics::{Ended, Metrics};
use crate::names::Names;
use crate::nodes::Nodes;
use crate::problem::{Effect, Problem};
use crate::programmed::Relays;
use crate::reminders::{Due, Reminders};
use crate::render::{Room, schema_for};
use crate::services::Services;
use crate::status::status;

/// From the first change until the reconcile: what belongs together arrives together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Bounds of the time until something that may heal by itself is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same for what needs somebody's hand: it may have been lent just now, and may take months.
const RETRY_PERMANENT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// What the tasks of all DMZs share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
}

/// Looks after every DMZ until `shutdown` is true; then ends when the reconciles that run are done.
pub(crate) async fn run(context: Context, mut shutdown: watch::Receiver<bool>) {
    let (found, mut namespaces) = mpsc::channel(64);
    let mut discovery = JoinSet::new();
    if context.settings.namespaces.is_empty() {
        discover::start(&context.client, &found, &mut discovery);
    }
    let mut dmzs = Dmzs::new(context, shutdown.clone());
    for namespace in dmzs.context.settings.namespaces.clone() {
        dmzs.look_after(namespace);
    }
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|ends| *ends) => break,
            Some(namespace) = namespaces.recv() => dmzs.look_after(namespace),
            Some(ended) = dmzs.tasks.join_next() => dmzs.let_go(ended),
        }
    }
    drop(discovery);
    while dmzs.tasks.join_next().await.is_some() {}
}

/// The DMZs that are being looked after.
struct Dmzs {
    context: Context,
    shutdown: watch::Receiver<bool>,
    tasks: JoinSet<String>,
    /// Each with whether it was found again since.
    known: BTreeMap<String, bool>,
}

impl Dmzs {
    fn new(context: Context, shutdown: watch::Receiver<bool>) -> Self {
        Self { context, shutdown, tasks: JoinSet::new(), known: BTreeMap::new() }
    }

    fn look_after(&mut self, namespace: String) {
        if let Some(again) = self.known.get_mut(&namespace) {
            *again = true;
            return;
        }
        info!(namespace, "looking after a DMZ");
        self.known.insert(namespace.clone(), false);
        self.count();
        self.tasks.spawn(look_after(self.context.clone(), namespace, self.shutdown.clone()));
    }

    /// A task ends for want of anything to do; something may have appeared meanwhile.
    fn let_go(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(namespace) => {
                let again = self.known.remove(&namespace).unwrap_or_default();
                info!(namespace, "nothing left to look after");
                self.count();
                if again {
                    self.look_after(namespace);
                }
            }
            // A panic says nothing about which namespace it was; whoever runs the operator starts it anew.
            Err(error) => {
                error!(%error, "a DMZ's task has failed; ending");
                std::process::abort();
            }
        }
    }

    fn count(&self) {
        self.context.metrics.namespaces.set(i64::try_from(self.known.len()).unwrap_or(i64::MAX));
    }
}

async fn look_after(context: Context, namespace: String, mut shutdown: watch::Receiver<bool>) -> String {
    let changed = Arc::new(Notify::new());
    // Ends with this function, and with it every watch.
    let mut watches = JoinSet::new();
    context.nodes.follow(changed.clone(), &mut watches);
    let mut dmz = Dmz {
        caches: Caches::start(&context.client, &namespace, &changed, &mut watches),
        services: Services::start(&context.client, changed.clone(), &mut watches),
        names: Names::start(&context.settings.dns, changed.clone(), &mut watches),
        relays: Relays::start(changed.clone(), &mut watches),
        going: Going::start(&mut watches),
        applied: Applied::default(),
        reminders: Reminders::default(),
        context,
        namespace,
    };
    let mut failures = 0;
    let mut again = None;
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|ends| *ends) => break,
            () = changed.notified() => {}
            () = sleep(again) => {}
        }
        tokio::time::sleep(DEBOUNCE).await;
        again = dmz.reconcile_and_count(&mut failures).await;
        if dmz.context.settings.namespaces.is_empty() && dmz.caches.is_deserted() {
            break;
        }
    }
    dmz.namespace
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// One DMZ and all that is known of it.
struct Dmz {
    context: Context,
    namespace: String,
    caches: Caches,
    names: Names,
    services: Services,
    relays: Relays,
    going: Going,
    applied: Applied,
    reminders: Reminders,
}

/// What a reconcile leaves undone.
struct Left {
    failures: Vec<Failure>,
    /// When relays that lag behind are to be looked after again.
    remind: Option<Duration>,
}

impl Dmz {
    /// When to reconcile again, if nothing changes before.
    async fn reconcile_and_count(&mut self, failures_in_a_row: &mut u32) -> Option<Duration> {
        let began = Instant::now();
        let (ended, again) = match self.reconcile().await {
            Ok(Left { failures, remind }) if failures.iter().all(Failure::is_past) => {
                *failures_in_a_row = 0;
                (Ended::DONE, remind)
            }
            Ok(Left { failures, remind }) => {
                let bounds = if failures.iter().all(Failure::is_permanent) { RETRY_PERMANENT } else { RETRY };
                let pause = bounds.0.saturating_mul(1 << (*failures_in_a_row).min(10));
                *failures_in_a_row += 1;
                let pause = pause.min(bounds.1);
                (Ended::FAILED, Some(remind.map_or(pause, |remind| remind.min(pause))))
            }
            Err(waits_for) => {
                debug!(namespace = self.namespace, waits_for, "not yet");
                (Ended::WAITING, None)
            }
        };
        debug!(namespace = self.namespace, ?ended, took = ?began.elapsed(), "reconciled");
        self.context.metrics.ended(ended, began.elapsed());
        again
    }

    /// Makes the namespace as its objects say. `Err`: what it still waits for; the wait ends with a change.
    async fn reconcile(&mut self) -> Result<Left, String> {
        let Self { context, namespace, caches, applied, reminders, .. } = self;
        let Context { client, settings, nodes, metrics, events } = context;
        let writer = Writer { client, namespace, caches, applied, metrics, events };

        self.going.follow(caches.going());
        let mut inputs = gather(settings, namespace, caches, &self.names, &self.services, nodes)?;
        inputs.left = self.going.left();
        let pods = caches.relay_pods();
        let relays = self.relays.reports(&pods);

        let schema = schema_for(&relays, inputs.published.as_deref());
        let (mut problems, rendered) = fit(&inputs, schema, &Room::default());

        let mut failures = writer.apply(&rendered).await;
        let digest = &rendered.settings.digest;
        let Due { pods: due, again: remind } =
            reminders.due(rendered.config_maps.as_ref().map(|_| digest), &relays, Instant::now());
        failures.extend(writer.remind_relays(&due, digest).await);
        problems.extend(failures.iter().filter_map(problem));
        problems.extend(late(&failures));
        let asked = self.relays.were_asked(&pods);
        self.relays.ask(pods, &rendered.settings);
        if !asked {
            return Ok(Left { failures, remind });
        }

        let statuses = status(&inputs, &problems, &rendered, &relays, Timestamp::now());
        // Telling ten thousand objects takes a while; what they were told from has no use any more.
        drop((inputs, rendered, relays));
        failures.extend(writer.write_status(&statuses).await);
        Ok(Left { failures, remind })
    }
}

/// What a failed write means for the object that it serves.
fn problem(failure: &Failure) -> Option<Problem> {
    let Failure { object, loss, error } = failure;
    let reason = match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => Reason::Forbidden,
        _ => Reason::Pending,
    };
    let message = format!("{object} cannot be written: {}", why(error));
    match loss {
        Loss::Of(owner) => Some(Problem { object: owner.clone(), effect: Effect::NotProgrammed, reason, message }),
        Loss::OfDmz => Some(Problem::of_dmz(Effect::NotProgrammed, reason, message)),
        Loss::Time => None,
    }
}

/// One sentence for all the pods that could not be marked: why they need a minute for what takes a second.
fn late(failures: &[Failure]) -> Option<Problem> {
    let late: Vec<_> = failures.iter().filter(|failure| matches!(failure.loss, Loss::Time)).collect();
    let why = why(&late.first()?.error);
    let pods: Vec<_> = late.iter().map(|failure| failure.object.as_str()).collect();
    let message = format!(
        "the kubelet of {} could not be told of it and looks by itself, within about a minute: {why}",
        pods.join(", ")
    );
    Some(Problem::of_dmz(Effect::Late, Reason::Pending, message))
}

fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
