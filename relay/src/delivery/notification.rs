//! Settling a claim: a failure only after the notification about it has its own receipt.

use std::sync::Arc;

use jiff::Timestamp;

use super::Shared;
use super::outcome::later;
use super::record;
use crate::address::ReversePath;
use crate::bounce::{self, Failure, HEADER_MAX, Notice};
use crate::envelope::{Envelope, Origin, Outcome};
use crate::queue_id::QueueId;
use crate::spool::{Claim, Refused};

/// Ids that are tried for a notification. They differ in 32 bits, so the second is already never needed.
const SALTS: u32 = 4;

/// Settles every recipient of a claim. Answers when the first deferred one is due.
///
/// When the notification about failures cannot be stored, they are deferred instead, with the same reply.
pub(super) async fn settle(
    shared: &Shared,
    claim: Claim,
    mut outcomes: Vec<Outcome>,
    now: Timestamp,
) -> Option<Timestamp> {
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_)))
        && let Err(refused) = notify(shared, &claim, &outcomes, now).await
    {
        let queue_id = claim.id();
        tracing::error!(%queue_id, reply = %refused, "a notification could not be stored; its cause is deferred");
        for outcome in &mut outcomes {
            if let Outcome::Failed(remote) = outcome {
                *outcome = Outcome::Deferred { remote: remote.clone(), until: later(now, shared.retry.first) };
            }
        }
    }
    record::attempt(shared, &claim, &outcomes, now);
    let until = |outcome: &Outcome| match outcome {
        Outcome::Deferred { until, .. } => Some(*until),
        Outcome::Delivered(_) | Outcome::Failed(_) => None,
    };
    let due = outcomes.iter().filter_map(until).min();
    shared.spool.settle(claim, outcomes).await;
    due
}

/// Stores one notification about all the recipients that failed.
async fn notify(shared: &Shared, claim: &Claim, outcomes: &[Outcome], now: Timestamp) -> Result<(), Refused> {
    let envelope = claim.envelope();
    let mut places = Vec::new();
    let mut failures = Vec::new();
    for (recipient, outcome) in claim.recipients().iter().zip(outcomes) {
        if let (Outcome::Failed(remote), Some(mailbox)) = (outcome, envelope.recipients.get(recipient.index as usize)) {
            places.push(recipient.index);
            failures.push(Failure { recipient: mailbox, remote });
        }
    }
    let (Some(sender), Some(first)) = (bounce::addressee(envelope), failures.first()) else {
        shared.metrics.delivery().dropped_notifications.inc();
        tracing::warn!(queue_id = %claim.id(), from = %envelope.sender, "nobody is told about this failure: it has no sender");
        return Ok(());
    };
    let Some(id) = free_id(shared, claim.id(), &places).await else { return Ok(()) };
    let original = beginning(claim).await;
    let notice = Notice {
        hostname: &shared.hostname,
        id,
        about: claim.id(),
        envelope,
        failures: &failures,
        original: &original,
        now,
    };
    let Some(content) = bounce::compose(&notice) else { return Ok(()) };
    let mut intake = shared.spool.admit_as(id)?;
    intake.write(&content).await?;
    let draft = intake.end().await?;
    let origin = Origin::Notification { about: claim.id(), domain: Some(bounce::domain(envelope, first.recipient)) };
    let (sender, eight_bit) = (sender.clone(), draft.eight_bit());
    let envelope = Envelope {
        arrived: now,
        sender: ReversePath::Null,
        recipients: vec![sender],
        origin,
        eight_bit,
        binary: false,
        utf8: false,
        dsn: None,
    };
    let receipt = shared.spool.commit(draft, envelope).await?;
    shared.metrics.delivery().notifications.inc();
    tracing::info!(queue_id = %receipt.id(), about = %claim.id(), "notification");
    Ok(())
}

/// The id for the notification; `None` when it is in the queue already, from before a crash.
async fn free_id(shared: &Shared, about: QueueId, places: &[u32]) -> Option<QueueId> {
    let mut id = bounce::id(about, places, 0);
    for salt in 1..=SALTS {
        let known = shared.spool.show(id).await;
        match known.map(|shown| Arc::clone(&shown.envelope)) {
            None => return Some(id),
            Some(envelope) if is_about(&envelope, about) => return None,
            Some(_) => id = bounce::id(about, places, salt),
        }
    }
    Some(id)
}

fn is_about(envelope: &Envelope, original: QueueId) -> bool {
    matches!(envelope.origin, Origin::Notification { about, .. } if about == original)
}

/// As much of the content as a notification can use. What cannot be read is not returned: the notification matters more.
async fn beginning(claim: &Claim) -> Vec<u8> {
    let mut original = Vec::new();
    let Ok(mut content) = claim.content().await else { return original };
    while original.len() <= HEADER_MAX {
        match content.next().await {
            Ok(Some(piece)) => original.extend_from_slice(&piece[..piece.len().min(HEADER_MAX + 1)]),
            Ok(None) | Err(_) => break,
        }
    }
    original
}
