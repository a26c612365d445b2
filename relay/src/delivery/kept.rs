//! A connection that a worker keeps from message to message.

use std::sync::Arc;
use std::time::Duration;

use super::allowance::{Allowance, Full, Seat};
use super::monotonic;
use crate::client::Connection;
use crate::metrics::Metrics;

/// A connection is not kept for longer, so that the first choice gets its mail back after it was away.
const KEPT_MAX: Duration = Duration::from_secs(300);

/// A connection that a worker keeps from message to message.
pub(super) struct Kept {
    pub(super) connection: Connection,
    since: Duration,
    pub(super) messages: u64,
    messages_max: u64,
    pub(super) limits: Option<Limited>,
    _counted: Counted,
}

/// What its host may be given.
pub(super) struct Limited {
    pub(super) allowance: Arc<Allowance>,
    pub(super) per_minute: Option<u32>,
    pub(super) _seat: Seat,
}

/// Counts a connection for as long as it lives, whatever ends it.
struct Counted(Metrics);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.delivery().open_connections.dec();
    }
}

impl Kept {
    pub(super) fn new(connection: Connection, messages_max: u64, limits: Option<Limited>, metrics: &Metrics) -> Self {
        metrics.delivery().connections.inc();
        metrics.delivery().open_connections.inc();
        let _counted = Counted(metrics.clone());
        Self { connection, since: monotonic(), messages: 0, messages_max, limits, _counted }
    }

    /// Whether it may carry another message.
    pub(super) fn is_good(&self) -> bool {
        let now = monotonic();
        let is_wanted = || self.limits.as_ref().is_some_and(|limited| limited.allowance.is_wanted(now));
        self.connection.is_usable() && self.messages < self.messages_max && now < self.since + KEPT_MAX && !is_wanted()
    }

    /// Whether its host may be given another message now.
    pub(super) fn may_send(&self) -> Result<(), Full> {
        match &self.limits {
            Some(limited) => limited.allowance.send(limited.per_minute, monotonic()),
            None => Ok(()),
        }
    }

    pub(super) async fn quit(self) {
        let Self { connection, limits, _counted, .. } = self;
        connection.quit().await;
        drop(limits);
    }
}

/// Keeps a connection for the next message, unless there is one already or it is of no use.
pub(super) async fn keep(kept: &mut Option<Kept>, connection: Kept) {
    match kept {
        _ if !connection.connection.is_usable() => {}
        None => *kept = Some(connection),
        Some(_) => connection.quit().await,
    }
}
