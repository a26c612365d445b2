//! The task of one connection: claim, attempt, settle, and again, while there is something to send or something may come.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::allowance::Full;
use super::attempt::{Attempt, Reach};
use super::kept::Kept;
use super::next_hop::{Key, NextHops};
use super::notification::{Told, settle};
use super::outcome::{Again, Heard, settled};
use super::routing::is_due;
use super::{Shared, chance, record, warning};
use crate::config::Directory;
use crate::envelope::Remote;
use crate::queue_id::QueueId;
use crate::route::Route;
use crate::schedule::{Place, Worker};
use crate::spool::{Claim, Pending, PendingRecipient};

/// One message for one destination.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) key: Key,
    pub(super) message: QueueId,
}

/// What a worker tells the scheduler.
#[derive(Debug)]
pub(super) enum Event {
    /// The next hop answers.
    Reached(Place),
    /// It does not. The answer is how long it is left alone; none: others still reach it, and this attempt did not happen.
    Unreachable { place: Place, key: Key, heard: Remote, answer: oneshot::Sender<Option<Duration>> },
    /// It has all that it may have for now.
    Full(Place, Full),
    /// Some recipients of this message have another destination, or are not due.
    Route(QueueId),
    /// Only other settings can help this message.
    Held(QueueId),
    /// This message is due again.
    Later(Timestamp, QueueId),
    /// The worker waits for more.
    Idle(Place, Worker),
}

/// How a worker tells it.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) place: Place,
}

impl Reporter {
    pub(super) fn reached(&self) {
        self.tell(Event::Reached(self.place));
    }

    /// When the scheduler is gone, so is everything that could be told to it: the spool tells the next process.
    fn tell(&self, event: Event) {
        self.events.send(event).ok();
    }
}

/// Works until nothing came for a while, the connection is of no more use, or no more can come.
pub(super) async fn run(
    shared: Arc<Shared>,
    reporter: Reporter,
    worker: Worker,
    first: Job,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut kept = None;
    let mut next = Some(first);
    while let Some(job) = next.take() {
        work(&shared, &reporter, &job, &mut kept).await;
        if !kept.as_ref().is_some_and(Kept::is_good) {
            break;
        }
        reporter.tell(Event::Idle(job.place, worker));
        next = match tokio::time::timeout(shared.limits.delivery_idle_time, jobs.recv()).await {
            Ok(job) => job,
            Err(_) => {
                // What was sent in the moment of closing is still done.
                jobs.close();
                jobs.try_recv().ok()
            }
        };
    }
    if let Some(kept) = kept {
        kept.quit().await;
    }
}

async fn work(shared: &Shared, reporter: &Reporter, job: &Job, kept: &mut Option<Kept>) {
    let Some(pending) = shared.spool.envelope(job.message).await else { return };
    let directory = shared.directory();
    let (mine, others) = divide(shared, &pending, &*directory, &job.key);
    if others {
        reporter.tell(Event::Route(job.message));
    }
    let Some(claim) = shared.spool.claim(job.message, &mine).await else { return };
    let turn = if kept.is_none() { shared.turn() } else { 0 };
    let hops = NextHops::of(&*directory, &job.key, turn);
    if hops.all_suspended {
        // Since it was routed. The returned claim announces it, and it is routed again.
        return;
    }
    let (heard, reach) = Attempt::new(shared, &claim, reporter).run(kept, &hops).await;
    let away = match reach {
        Reach::Answered => None,
        Reach::Nobody => {
            reporter.tell(Event::Held(job.message));
            None
        }
        // The claim returns to the spool, which announces it; it is given out when there is room.
        Reach::Full(full) => return reporter.tell(Event::Full(job.place, full)),
        Reach::Unreachable => match left_alone(reporter, job, &heard).await {
            Some(wait) => Some(wait),
            None => return,
        },
    };
    finish(shared, reporter, claim, heard, &hops, away).await;
}

/// The recipients that are due and whose route is this destination, and whether there are others.
fn divide(shared: &Shared, pending: &Pending, directory: &dyn Directory, key: &Key) -> (Vec<u32>, bool) {
    let (envelope, now) = (&pending.envelope, Timestamp::now());
    let (mut mine, mut others) = (Vec::new(), false);
    for PendingRecipient { index, due, .. } in &pending.recipients {
        let Some(mailbox) = envelope.recipients.get(*index as usize) else { continue };
        match directory.route(&envelope.origin, mailbox) {
            Route::To(tiers) if tiers == *key && is_due(shared, *due, now) => mine.push(*index),
            // Not due now though it was when it was routed: the clock has gone back.
            Route::To(_) | Route::Held(_) => others = true,
        }
    }
    (mine, others)
}

/// Asks how long the next hop is left alone.
async fn left_alone(reporter: &Reporter, job: &Job, heard: &[Heard]) -> Option<Duration> {
    let (answer, wait) = oneshot::channel();
    let heard = heard.first()?.remote();
    reporter.tell(Event::Unreachable { place: job.place, key: job.key.clone(), heard, answer });
    wait.await.ok().flatten()
}

async fn finish(
    shared: &Shared,
    reporter: &Reporter,
    claim: Claim,
    heard: Vec<Heard>,
    hops: &NextHops,
    away: Option<Duration>,
) {
    let (id, now, chance) = (claim.id(), Timestamp::now(), chance());
    let age = record::age(claim.envelope().arrived, now);
    let lifetime = hops.lifetime_of(&claim.envelope().sender);
    let owed_at = warning::owed_at(claim.envelope(), hops.warn_after);
    let again = |recipient: &PendingRecipient| match shared.retry.retry(
        recipient.attempts.saturating_add(1),
        age,
        lifetime,
        chance,
    ) {
        None => Again::Expired(lifetime),
        Some(own) => {
            let wait = away.map_or(own, |away| away.min(lifetime.saturating_sub(age)));
            Again::After(warning::until_owed(owed_at, wait, now))
        }
    };
    let recipients = claim.recipients().iter();
    let outcomes = recipients.zip(&heard).map(|(recipient, heard)| settled(heard, again(recipient), now)).collect();
    let asked = claim.envelope().dsn.is_some();
    let by_next_hop = if asked { heard.iter().map(|heard| heard.passes_dsn).collect() } else { Vec::new() };
    let told = Told { by_next_hop, owed_at, lifetime };
    if let Some(due) = settle(shared, claim, outcomes, &told, now).await {
        reporter.tell(Event::Later(due, id));
    }
}
