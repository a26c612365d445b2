//! The rules of the lease: a total function of what was seen and when. Pure; times are since the operator's start.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::limits::{LEASE_DURATION, LeaseTimes};

/// What to do about the lease now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is somebody else's.
    Wait,
    /// It is ours to take, or to renew.
    Write(Claim),
}

/// How the lease is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// By a new holder: how many changes of holders there were then.
    Take(i32),
    /// By the same.
    Renew,
}

/// One of those who want the lease.
pub(super) struct Candidate {
    identity: String,
    times: LeaseTimes,
    seen: Option<Seen>,
    /// From when on the lease was last renewed by us, while we lead.
    renewed: Option<Duration>,
}

/// The lease as it was last seen.
struct Seen {
    lease: Lease,
    /// When it was first seen to say this.
    since: Duration,
}

impl Candidate {
    pub(super) fn new(identity: &str, times: LeaseTimes) -> Self {
        Self { identity: identity.to_owned(), times, seen: None, renewed: None }
    }

    /// Takes note of the lease; `None`: there is none.
    pub(super) fn saw(&mut self, found: Option<Lease>, now: Duration) {
        // What it says counts, not its version: whoever labels a lease does not renew it.
        let since = match (&self.seen, &found) {
            (Some(seen), Some(found)) if seen.lease.spec == found.spec => seen.since,
            _ => now,
        };
        self.seen = found.map(|lease| Seen { lease, since });
        if self.holder() != Some(&self.identity) && self.seen.is_some() {
            self.renewed = None;
        }
    }

    pub(super) fn step(&self, now: Duration) -> Action {
        let Some(seen) = &self.seen else { return Action::Write(Claim::Take(0)) };
        match self.holder() {
            Some(holder) if holder == self.identity => Action::Write(Claim::Renew),
            Some(_) if now < self.runs_out(seen) => Action::Wait,
            _ => {
                let before = spec(&seen.lease).and_then(|spec| spec.lease_transitions).unwrap_or_default();
                Action::Write(Claim::Take(before.saturating_add(1)))
            }
        }
    }

    /// The lease as it is to be written, over the version that was seen.
    pub(super) fn write(&self, name: &str, claim: &Claim, now: Timestamp) -> Lease {
        let mut lease = self.seen.as_ref().map(|seen| seen.lease.clone()).unwrap_or_default();
        lease.metadata.name = Some(name.to_owned());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.times.duration.as_secs()).ok();
        spec.renew_time = Some(MicroTime(now));
        if let Claim::Take(transitions) = claim {
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(*transitions);
        }
        lease
    }

    /// The lease was written; `asked` is when the attempt began.
    pub(super) fn wrote(&mut self, lease: Lease, asked: Duration, now: Duration) {
        self.seen = Some(Seen { lease, since: now });
        self.renewed = Some(asked);
    }

    /// Until when we lead, if nothing happens; `None`: we do not.
    pub(super) fn leads_until(&self, now: Duration) -> Option<Duration> {
        let until = self.renewed? + self.times.renew_deadline;
        (now < until).then_some(until)
    }

    pub(super) fn leads(&self, now: Duration) -> bool {
        self.leads_until(now).is_some()
    }

    /// When one who does not lead looks again: twice in the time in which a leader renews once, so that little is lost
    /// between a renewal and the look that sees it; and when the lease runs out.
    pub(super) fn look_again(&self, now: Duration) -> Duration {
        let soon = now + self.times.retry_period / 2;
        match &self.seen {
            Some(seen) if now < self.runs_out(seen) => soon.min(self.runs_out(seen)),
            _ => soon,
        }
    }

    /// Who holds the lease, in force or not.
    pub(super) fn holder(&self) -> Option<&str> {
        let spec = spec(&self.seen.as_ref()?.lease)?;
        spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// The lease, if we hold it.
    pub(super) fn held(&self) -> Option<&Lease> {
        let ours = self.holder() == Some(&self.identity);
        self.seen.as_ref().filter(|_| ours).map(|seen| &seen.lease)
    }

    /// What its holder wrote down holds, and not our own flag; within what a flag can say, for somebody may have edited it.
    fn runs_out(&self, seen: &Seen) -> Duration {
        let written = spec(&seen.lease).and_then(|spec| spec.lease_duration_seconds);
        let written = written.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = written.map_or(self.times.duration, |seconds| {
            Duration::from_secs(seconds.clamp(LEASE_DURATION.min, LEASE_DURATION.max))
        });
        seen.since + duration
    }
}

fn spec(lease: &Lease) -> Option<&LeaseSpec> {
    lease.spec.as_ref()
}

#[cfg(test)]
mod tests;
