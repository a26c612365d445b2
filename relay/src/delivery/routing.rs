//! Where the recipients of one message go, and what is settled without asking any next hop: no route, or too late.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::next_hop::Key;
use super::notification::settle;
use super::outcome::{expired, later, remote};
use super::{Shared, chance, record};
use crate::config::Directory;
use crate::envelope::{Outcome, Remote};
use crate::queue_id::QueueId;
use crate::route::Route;
use crate::spool::Pending;

/// What looking something up in the spool came to.
pub(super) enum Looked {
    /// A message with its pending recipients, and whether the spool had announced it.
    Found(Option<Arc<Pending>>, bool),
    /// Messages that are due then.
    Later(Vec<(Timestamp, QueueId)>),
}

/// Where one message goes.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// Its destinations, and whether no recipient for it was tried before.
    pub(super) to: Vec<(Key, bool)>,
    /// Recipients without a route (their places), and why.
    pub(super) held: Vec<(u32, Arc<str>)>,
    /// When the first of those is due that are not due now.
    pub(super) later: Option<Timestamp>,
}

/// Whether a time has come. One that is further ahead than any wait was set by a clock that has gone back since.
pub(super) fn is_due(shared: &Shared, due: Timestamp, now: Timestamp) -> bool {
    let longest = shared.limits.retry_max.max(shared.limits.host_retry_max).max(super::PANICKED) * 2;
    due <= now || due > later(now, longest)
}

/// Asks for the route of every recipient that is due.
pub(super) fn route(shared: &Shared, directory: &dyn Directory, pending: &Pending, now: Timestamp) -> Routed {
    let mut routed = Routed::default();
    for recipient in &pending.recipients {
        if !is_due(shared, recipient.due, now) {
            routed.later = Some(routed.later.map_or(recipient.due, |due| due.min(recipient.due)));
            continue;
        }
        let Some(mailbox) = pending.envelope.recipients.get(recipient.index as usize) else { continue };
        let fresh = recipient.attempts == 0;
        match directory.route(&pending.envelope.origin, mailbox) {
            Route::Held(why) => routed.held.push((recipient.index, why)),
            Route::To(key) => match routed.to.iter_mut().find(|(known, _)| *known == key) {
                Some((_, all_fresh)) => *all_fresh &= fresh,
                None => routed.to.push((key, fresh)),
            },
        }
    }
    routed
}

/// Keeps recipients without a route, and says so where a person looks: it is settled as deferred. The settings that bring
/// the route back make it due at once.
pub(super) async fn hold(shared: Arc<Shared>, id: QueueId, held: Vec<(u32, Arc<str>)>) -> Looked {
    let places: Vec<u32> = held.iter().map(|(place, _)| *place).collect();
    let Some(claim) = shared.spool.claim(id, &places).await else { return Looked::Later(Vec::new()) };
    let (now, chance) = (Timestamp::now(), chance());
    let age = record::age(claim.envelope().arrived, now);
    let lifetime = shared.directory().lifetime();
    let mut outcomes = Vec::new();
    for recipient in claim.recipients() {
        let why = held.iter().find(|(place, _)| *place == recipient.index).map_or("no route", |(_, why)| why);
        let said = remote("", why, "4.3.5");
        let wait = shared.retry.retry(recipient.attempts.saturating_add(1), age, lifetime, chance);
        outcomes.push(match wait {
            Some(wait) => Outcome::Deferred { remote: said, until: later(now, wait) },
            // It was never tried before: a clock that jumped must not be its end.
            None if recipient.attempts == 0 => {
                Outcome::Deferred { remote: said, until: later(now, shared.retry.first) }
            }
            None => Outcome::Failed(expired(&said, lifetime)),
        });
    }
    let due = settle(&shared, claim, outcomes, now).await;
    Looked::Later(due.map(|due| (due, id)).into_iter().collect())
}

/// Returns what waited for a next hop until it was too late. What is not too old after all goes back.
pub(super) async fn expire(
    shared: Arc<Shared>,
    ids: Vec<QueueId>,
    key: Key,
    lifetime: Duration,
    heard: Remote,
) -> Looked {
    let directory = shared.directory();
    let mut again = Vec::new();
    for id in ids {
        let now = Timestamp::now();
        let Some(pending) = shared.spool.envelope(id).await else { continue };
        if record::age(pending.envelope.arrived, now) < lifetime {
            again.push((now, id));
            continue;
        }
        let goes_there = |place: u32| {
            let mailbox = pending.envelope.recipients.get(place as usize);
            mailbox.is_some_and(|mailbox| directory.route(&pending.envelope.origin, mailbox) == Route::To(key.clone()))
        };
        let places: Vec<u32> =
            pending.recipients.iter().map(|recipient| recipient.index).filter(|place| goes_there(*place)).collect();
        if let Some(claim) = shared.spool.claim(id, &places).await {
            let outcomes = vec![Outcome::Failed(expired(&heard, lifetime)); claim.recipients().len()];
            again.extend(settle(&shared, claim, outcomes, now).await.map(|due| (due, id)));
        } else {
            again.push((now, id));
        }
    }
    Looked::Later(again)
}
