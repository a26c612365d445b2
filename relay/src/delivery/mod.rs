//! Delivery: takes what the spool announces, hands it to the next hops, and settles every recipient.
//!
//! One task schedules (`scheduler`); each connection is a task of its own (`worker`) that claims, sends, settles, and
//! again. A route is asked for at each attempt, from the settings then in force. It fails over on a connection that cannot be
//! made and on 4xx, never on 5xx, and never after a final dot was sent.
//!
//! Never parses content. Never settles a failure before the notification about it has its own receipt. A panic in an attempt
//! returns its claim, and the message waits; a panic of the scheduler ends the process, for the spool is the truth.

mod allowance;
mod attempt;
mod health;
mod kept;
mod lookup;
mod next_hop;
mod notification;
mod outcome;
mod record;
mod routing;
mod scheduler;
mod view;
mod warning;
mod wheel;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::client::Timeouts;
use crate::config::Directory;
use crate::dns::Lookup;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::schedule::Backoff;
use crate::shutdown::Shutdown;
use crate::spool::{Arrivals, Spool};
use allowance::Allowances;
use health::Health;
pub use lookup::Exchangers;
pub use view::{Down, View};

/// Answers with the settings in force.
pub type InForce = Arc<dyn Fn() -> Arc<dyn Directory> + Send + Sync>;

/// What delivery works with.
pub struct Options {
    /// Where messages are claimed and settled.
    pub spool: Spool,
    /// What it announces.
    pub arrivals: Arrivals,
    /// The settings in force: asked at each attempt. When the answer is another object than before, everything that was held
    /// or suspended asks for its route again.
    pub directory: InForce,
    /// Who finds the addresses of names.
    pub lookup: Arc<dyn Lookup>,
    /// How mail exchangers are found.
    pub exchangers: Exchangers,
    /// Connections, waits and deadlines.
    pub limits: Limits,
    /// The relay's name: for EHLO and notifications.
    pub hostname: Arc<str>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where a person sees why mail waits.
    pub view: Arc<View>,
    /// From Draining on it ends as soon as nothing is due; at Settling nothing more is claimed and attempts are finished; at
    /// Ended they are cut off.
    pub shutdown: Shutdown,
    /// Its sender is gone when nothing more comes in: before that there may yet be something due.
    pub intake: oneshot::Receiver<()>,
}

/// Delivers until the shutdown. When it returns, every connection is closed and every claim is settled or returned.
pub async fn run(options: Options) {
    let Options { spool, arrivals, directory, lookup, exchangers, limits, hostname, metrics, view, shutdown, intake } =
        options;
    let retry = Backoff { first: limits.retry_first, max: limits.retry_max };
    let shared = Shared {
        spool,
        directory,
        lookup,
        exchangers,
        timeouts: Timeouts::from(&limits),
        health: Health::new(Backoff { first: limits.host_retry_first, max: limits.host_retry_max }),
        allowances: Allowances::default(),
        retry,
        limits,
        hostname,
        metrics,
        view,
        rotation: AtomicUsize::new(0),
    };
    scheduler::run(Arc::new(shared), arrivals, shutdown, intake).await;
}

/// How long a message waits whose attempt panicked: it must not be the only thing that is done.
const PANICKED: Duration = Duration::from_secs(60);

/// What the tasks share.
struct Shared {
    spool: Spool,
    directory: InForce,
    lookup: Arc<dyn Lookup>,
    exchangers: Exchangers,
    limits: Limits,
    timeouts: Timeouts,
    /// For a message that was not taken.
    retry: Backoff,
    hostname: Arc<str>,
    metrics: Metrics,
    health: Health,
    allowances: Allowances,
    view: Arc<View>,
    /// Counts new connections, so that equal endpoints share them.
    rotation: AtomicUsize,
}

impl Shared {
    fn directory(&self) -> Arc<dyn Directory> {
        (self.directory)()
    }

    fn turn(&self) -> usize {
        self.rotation.fetch_add(1, Ordering::Relaxed)
    }
}

/// The monotonic time, as the pure parts take it.
fn monotonic() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a driver reads the clock for the pure parts")]
    let now = Instant::now();
    now.duration_since(*START.get_or_init(|| now))
}

/// From 0 to 1.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
