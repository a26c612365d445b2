//! Settling a claim: a failure only after the notification about it has its own receipt. Who is told what, by the sender's
//! wishes (RFC 3461) and ours.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::outcome::later;
use super::{Shared, record, warning};
use crate::address::ReversePath;
use crate::bounce::{self, Kind, Notice, RETURNED_MAX, Recipient};
use crate::envelope::{Envelope, Origin, Outcome, Remote};
use crate::queue_id::QueueId;
use crate::spool::{Claim, Refused};

/// Ids that are tried for a notification. They differ in 32 bits, so the second is already never needed.
const SALTS: u32 = 4;

/// What decides, beside the outcomes, who is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// For each claimed recipient: whether the next hop has taken over to tell of its success.
    pub(super) by_next_hop: Vec<bool>,
    /// When the sender is owed a warning that the message waits.
    pub(super) owed_at: Option<Timestamp>,
    /// How long the message is kept.
    pub(super) lifetime: Duration,
}

impl Told {
    /// Only failures are told.
    pub(super) fn nothing() -> Self {
        Self::default()
    }
}

/// A recipient to be told about: its place in the envelope, who said what, and how often it was tried.
struct Subject {
    place: u32,
    remote: Remote,
    attempts: u32,
}

/// Settles every recipient of a claim. Answers when the first deferred one is due.
///
/// When the notification about failures cannot be stored, they are deferred instead, with the same reply. Any other
/// notification is only missed then.
pub(super) async fn settle(
    shared: &Shared,
    claim: Claim,
    mut outcomes: Vec<Outcome>,
    told: &Told,
    now: Timestamp,
) -> Option<Timestamp> {
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_)))
        && let Err(refused) = tell_of_failures(shared, &claim, &outcomes, now).await
    {
        let queue_id = claim.id();
        tracing::error!(%queue_id, reply = %refused, "a notification could not be stored; its cause is deferred");
        for outcome in &mut outcomes {
            if let Outcome::Failed(remote) = outcome {
                *outcome = Outcome::Deferred { remote: remote.clone(), until: later(now, shared.retry.first) };
            }
        }
    }
    for (kind, subjects) in
        [relayed(&claim, &outcomes, told), delayed(shared, &claim, &outcomes, told, now).await].into_iter().flatten()
    {
        if let Err(refused) = notify(shared, &claim, kind, &subjects, now).await {
            tracing::error!(queue_id = %claim.id(), reply = %refused, "a notification could not be stored, and is missed");
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

async fn tell_of_failures(shared: &Shared, claim: &Claim, outcomes: &[Outcome], now: Timestamp) -> Result<(), Refused> {
    if bounce::addressee(claim.envelope()).is_none() {
        shared.metrics.delivery().dropped_notifications.inc();
        tracing::warn!(
            queue_id = %claim.id(), from = %claim.envelope().sender, "nobody is told about this failure: it has no sender"
        );
        return Ok(());
    }
    let failed = claim.recipients().iter().zip(outcomes).filter_map(|(recipient, outcome)| match outcome {
        Outcome::Failed(remote) => {
            Some(Subject { place: recipient.index, remote: remote.clone(), attempts: recipient.attempts + 1 })
        }
        Outcome::Delivered(_) | Outcome::Deferred { .. } => None,
    });
    notify(shared, claim, Kind::Failed, &failed.collect::<Vec<_>>(), now).await
}

/// Those that a server has taken which tells nothing of their success, though the sender wants to hear of it.
fn relayed(claim: &Claim, outcomes: &[Outcome], told: &Told) -> Option<(Kind, Vec<Subject>)> {
    claim.envelope().dsn.as_ref()?;
    let outcomes = claim.recipients().iter().zip(outcomes).zip(&told.by_next_hop);
    let relayed = outcomes.filter_map(|((recipient, outcome), by_next_hop)| match outcome {
        Outcome::Delivered(remote) if !by_next_hop => {
            Some(Subject { place: recipient.index, remote: remote.clone(), attempts: recipient.attempts + 1 })
        }
        _ => None,
    });
    Some((Kind::Relayed, relayed.collect()))
}

/// All recipients that still wait, when the first of them is deferred for the first time since the sender is owed a warning.
async fn delayed(
    shared: &Shared,
    claim: &Claim,
    outcomes: &[Outcome],
    told: &Told,
    now: Timestamp,
) -> Option<(Kind, Vec<Subject>)> {
    let own = || claim.recipients().iter().zip(outcomes);
    let waits = |outcome: &Outcome| matches!(outcome, Outcome::Deferred { .. });
    if !own().any(|(recipient, outcome)| waits(outcome) && warning::is_first(told.owed_at, recipient.due, now)) {
        return None;
    }
    let (mut subjects, mut first) = (Vec::new(), None);
    for recipient in shared.spool.show(claim.id()).await?.recipients {
        let Some(pending) = recipient.pending else { continue };
        let subject = |remote: &Remote, attempts| Subject { place: pending.index, remote: remote.clone(), attempts };
        match own().find(|(own, _)| own.index == pending.index) {
            Some((_, Outcome::Deferred { remote, .. })) => {
                first.get_or_insert(warning::is_first(told.owed_at, pending.due, now));
                subjects.push(subject(remote, pending.attempts + 1));
            }
            Some((_, Outcome::Delivered(_) | Outcome::Failed(_))) => {}
            None => {
                first.get_or_insert(false);
                subjects.extend(pending.last.as_deref().map(|last| subject(last, pending.attempts)));
            }
        }
    }
    let until = later(claim.envelope().arrived, told.lifetime);
    first.filter(|first| *first).map(|_| (Kind::Delayed { until }, subjects))
}

/// Stores one notification about those of the recipients that the sender wants to hear about.
async fn notify(
    shared: &Shared,
    claim: &Claim,
    kind: Kind,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<(), Refused> {
    let envelope = claim.envelope();
    let (mut places, mut recipients) = (Vec::new(), Vec::new());
    for Subject { place, remote, attempts } in subjects {
        let Some(mailbox) = envelope.recipients.get(*place as usize) else { continue };
        if bounce::is_wanted(envelope, *place, kind) {
            let original = bounce::original_recipient(envelope, *place);
            recipients.push(Recipient { mailbox, remote, original, attempts: *attempts });
            places.push(*place);
        }
    }
    let (Some(sender), Some(first)) = (bounce::addressee(envelope), recipients.first()) else { return Ok(()) };
    if matches!(kind, Kind::Delayed { .. }) {
        // One for each message, whoever it is about.
        places.clear();
    }
    let Some(id) = free_id(shared, claim.id(), kind, &places).await else { return Ok(()) };
    let original = beginning(claim).await;
    let notice = Notice {
        kind,
        hostname: &shared.hostname,
        id,
        about: claim.id(),
        envelope,
        recipients: &recipients,
        original: &original,
        complete: original.len() as u64 == claim.size(),
        now,
    };
    let Some(content) = bounce::compose(&notice) else { return Ok(()) };
    let mut intake = shared.spool.admit_as(id)?;
    intake.write(&content).await?;
    let draft = intake.end().await?;
    let origin = Origin::Notification { about: claim.id(), domain: Some(bounce::domain(envelope, first.mailbox)) };
    let (sender, eight_bit, utf8) = (sender.clone(), draft.eight_bit(), bounce::needs_utf8(envelope));
    let envelope = Envelope {
        arrived: now,
        sender: ReversePath::Null,
        recipients: vec![sender],
        origin,
        eight_bit,
        binary: false,
        utf8,
        dsn: None,
    };
    let receipt = shared.spool.commit(draft, envelope).await?;
    shared.metrics.delivery().notifications.inc();
    tracing::info!(queue_id = %receipt.id(), about = %claim.id(), "notification");
    Ok(())
}

/// The id for the notification; `None` when it is in the queue already, from before a crash.
async fn free_id(shared: &Shared, about: QueueId, kind: Kind, places: &[u32]) -> Option<QueueId> {
    let mut id = bounce::id(about, kind, places, 0);
    for salt in 1..=SALTS {
        let known = shared.spool.show(id).await;
        match known.map(|shown| Arc::clone(&shown.envelope)) {
            None => return Some(id),
            Some(envelope) if is_about(&envelope, about) => return None,
            Some(_) => id = bounce::id(about, kind, places, salt),
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
    while original.len() <= RETURNED_MAX {
        match content.next().await {
            Ok(Some(piece)) => original.extend_from_slice(&piece[..piece.len().min(RETURNED_MAX + 1)]),
            Ok(None) | Err(_) => break,
        }
    }
    original
}
