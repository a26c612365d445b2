//! Of several operators one leads, and only it writes: whoever holds a Lease (coordination.k8s.io/v1), by client-go's rules.
//!
//! Clocks of two machines are never compared. What the lease says is compared with what it said before: as long as it
//! changes, somebody renews it; when it has not for its whole duration, by our own monotonic clock, it is free. Every write
//! carries the version that was read, so that of two who take it at once only one does. The leader counts from before it
//! asked, and the others from after they saw, and its deadline is shorter than their wait: it ends before another leads.
//!
//! [`Candidate`] is the whole of that, without a clock and without the API server; [`Election`] drives it. A lease that
//! cannot be read or written is tried again and again, and said in the log; only a leader ends for it.

mod candidate;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::limits::LeaseTimes;
use candidate::{Action, Candidate};

/// For giving the lease back when the operator ends.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Which lease, and as whom.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// `metadata.name`, in the operator's own namespace.
    pub name: String,
    /// What stands in it as its holder: no other operator may have the same.
    pub identity: String,
    /// How long it holds.
    pub times: LeaseTimes,
}

/// One operator and the lease that it wants or has.
pub(crate) struct Election {
    api: Api<Lease>,
    settings: LeaseSettings,
    candidate: Candidate,
    /// When the candidate's time begins.
    began: Instant,
    /// What went wrong at the last attempt; told when it changes.
    trouble: Option<String>,
}

impl Election {
    pub(crate) fn new(client: &Client, namespace: &str, settings: LeaseSettings) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        let candidate = Candidate::new(&settings.identity, settings.times);
        Self { api, settings, candidate, began: Instant::now(), trouble: None }
    }

    /// Until the lease is ours. `looked` is called when it has been read.
    pub(crate) async fn win(&mut self, looked: impl Fn()) {
        loop {
            let attempt = Instant::now() + self.settings.times.renew_deadline / 2;
            self.attempt_until(attempt).await;
            if self.trouble.is_none() {
                looked();
            }
            let now = self.now();
            if self.candidate.leads(now) {
                info!(lease = self.settings.name, identity = self.settings.identity, "leading");
                return;
            }
            tokio::time::sleep(self.candidate.look_again(now).saturating_sub(now)).await;
        }
    }

    /// Renews the lease, until it is not ours any more: then, why.
    pub(crate) async fn hold(&mut self) -> String {
        while let Some(until) = self.candidate.leads_until(self.now()) {
            let end = self.began + until;
            let _ = timeout_at(end, tokio::time::sleep(self.settings.times.retry_period)).await;
            // Half of the deadline: an attempt that hangs leaves time for another one, on another connection.
            let attempt = Instant::now() + self.settings.times.renew_deadline / 2;
            self.attempt_until(attempt.min(end)).await;
        }
        self.trouble.take().unwrap_or_else(|| match self.candidate.holder() {
            Some(holder) => format!("{holder} holds it"),
            None => "it is nobody's".to_owned(),
        })
    }

    /// Gives the lease back, if it is ours, so that another one leads at once and not when it has run out.
    pub(crate) async fn release(mut self) {
        let release = async {
            self.look().await?;
            let Some(held) = self.candidate.held() else { return Ok(()) };
            let mut freed = held.clone();
            let spec = freed.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.api.replace(&self.settings.name, &PostParams::default(), &freed).await?;
            info!(lease = self.settings.name, "given back");
            Ok::<_, kube::Error>(())
        };
        match timeout(RELEASE_WITHIN, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the lease is not given back; it runs out"),
            Err(_) => warn!("the lease is not given back in time; it runs out"),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn attempt_until(&mut self, end: Instant) {
        let trouble = match timeout_at(end, self.attempt()).await {
            Ok(Ok(())) => None,
            Ok(Err(kube::Error::Api(refusal))) => Some(refusal.message),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the API server does not answer".to_owned()),
        };
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(*trouble)) {
            warn!(lease = self.settings.name, %trouble, "the lease cannot be read or written");
        }
        self.trouble = trouble;
    }

    /// One look at the lease, and what follows from it.
    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let asked = self.now();
        self.look().await?;
        let wanted = match self.candidate.step(self.now()) {
            Action::Wait => return Ok(()),
            Action::Write(wanted) => wanted,
        };
        let lease = self.candidate.write(&self.settings.name, &wanted, Timestamp::now());
        let params = PostParams::default();
        let written = match lease.resource_version() {
            Some(_) => self.api.replace(&self.settings.name, &params, &lease).await,
            None => self.api.create(&params, &lease).await,
        };
        match written {
            Ok(lease) => self.candidate.wrote(lease, asked, self.now()),
            // Somebody was quicker: the next look shows who.
            Err(kube::Error::Api(refusal)) if refusal.code == 409 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(&self.settings.name).await?;
        self.candidate.saw(found, self.now());
        Ok(())
    }
}
