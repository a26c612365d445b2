//! Where the recipients of one message go, and what is settled without asking any next hop: no route, or too late.

use std::sync::Arc;

use jiff::Timestamp;

use super::next_hop::{Key, NextHops};
use super::notification::{Told, settle};
use super::outcome::{expired, later, remote};
use super::{Shared, chance, record, warning};
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
    /// Its destinations.
    pub(super) to: Vec<Part>,
    /// Recipients without a route (their places), and why.
    pub(super) held: Vec<(u32, Arc<str>)>,
    /// When the first of those is due that are not due now.
    pub(super) later: Option<Timestamp>,
}

/// The recipients of one message that go the same way.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) key: Key,
    /// None of them was tried before.
    pub(super) fresh: bool,
    /// When the first of them was due.
    pub(super) due: Timestamp,
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
            Route::To(key) => match routed.to.iter_mut().find(|part| part.key == key) {
                Some(part) => (part.fresh, part.due) = (part.fresh && fresh, part.due.min(recipient.due)),
                None => routed.to.push(Part { key, fresh, due: recipient.due }),
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
    let due = settle(&shared, claim, outcomes, &Told::nothing(), now).await;
    Looked::Later(due.map(|due| (due, id)).into_iter().collect())
}

/// What waited for a next hop until it was too late is returned, and of what waits for long the sender is told: the failed
/// probe counts as an attempt. What has time after all goes back.
pub(super) async fn aged(shared: Arc<Shared>, ids: Vec<QueueId>, key: Key, heard: Remote) -> Looked {
    let directory = shared.directory();
    let hops = NextHops::of(&*directory, &key, 0);
    let mut again = Vec::new();
    for id in ids {
        let now = Timestamp::now();
        let Some(pending) = shared.spool.envelope(id).await else { continue };
        let envelope = &pending.envelope;
        let (age, lifetime) = (record::age(envelope.arrived, now), hops.lifetime_of(&envelope.sender));
        let owed_at = warning::owed_at(envelope, hops.warn_after);
        let goes_there = |place: u32| {
            let mailbox = envelope.recipients.get(place as usize);
            mailbox.is_some_and(|mailbox| directory.route(&envelope.origin, mailbox) == Route::To(key.clone()))
        };
        let is_aged = |due| age >= lifetime || warning::is_first(owed_at, due, now);
        let mine = pending.recipients.iter().filter(|recipient| is_aged(recipient.due) && goes_there(recipient.index));
        let places: Vec<u32> = mine.map(|recipient| recipient.index).collect();
        let claim = if places.is_empty() { None } else { shared.spool.claim(id, &places).await };
        let Some(claim) = claim else {
            again.push((now, id));
            continue;
        };
        let chance = chance();
        let outcome = |attempts: u32| match shared.retry.retry(attempts.saturating_add(1), age, lifetime, chance) {
            None => Outcome::Failed(expired(&heard, lifetime)),
            Some(wait) => Outcome::Deferred { remote: heard.clone(), until: later(now, wait) },
        };
        let outcomes = claim.recipients().iter().map(|recipient| outcome(recipient.attempts)).collect();
        let told = Told { by_next_hop: Vec::new(), owed_at, lifetime };
        again.extend(settle(&shared, claim, outcomes, &told, now).await.map(|due| (due, id)));
    }
    Looked::Later(again)
}
