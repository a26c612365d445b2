//! One log line for each recipient of each attempt, and what is counted.

use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use crate::envelope::{Outcome, Remote};
use crate::metrics::{Fate, Outcome as Word};
use crate::spool::Claim;

/// Tells the log and the metrics what is about to be settled.
pub(super) fn attempt(shared: &Shared, claim: &Claim, outcomes: &[Outcome], now: Timestamp) {
    let envelope = claim.envelope();
    let delay = age(envelope.arrived, now).as_secs_f64();
    for (recipient, outcome) in claim.recipients().iter().zip(outcomes) {
        let (word, decision, remote) = match outcome {
            Outcome::Delivered(remote) => (Word::Delivered, "delivered", remote),
            Outcome::Deferred { remote, .. } => (Word::Deferred, "deferred", remote),
            Outcome::Failed(remote) => (Word::Failed, "failed", remote),
        };
        shared.metrics.delivery().recipients.get_or_create(&Fate { outcome: word }).inc();
        if word == Word::Delivered {
            shared.metrics.delivery().seconds.observe(delay);
        }
        let to = envelope.recipients.get(recipient.index as usize).map(ToString::to_string).unwrap_or_default();
        let Remote { server, reply, status } = remote;
        let (attempts, until) = (recipient.attempts + 1, until(outcome));
        tracing::info!(
            queue_id = %claim.id(), from = %envelope.sender, to, host = server, reply, status, decision, attempts, delay,
            until, "delivery"
        );
    }
}

fn until(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Deferred { until, .. } => Some(until.to_string()),
        Outcome::Delivered(_) | Outcome::Failed(_) => None,
    }
}

/// How old a message is; a clock that went back makes it new.
pub(super) fn age(arrived: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(arrived)).unwrap_or(Duration::ZERO)
}
