//! Addresses that could not be reached lately. They are passed over while another one may do, so that a dead first choice
//! does not cost every connection its timeout.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::schedule::Backoff;

#[derive(Debug)]
pub(super) struct Health {
    backoff: Backoff,
    dead: Mutex<HashMap<SocketAddr, Dead>>,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    failures: u32,
    until: Duration,
}

impl Health {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, dead: Mutex::new(HashMap::new()) }
    }

    /// Whether an address may be tried now. After its wait one caller gets yes, and the others wait on for its result.
    pub(super) fn may_try(&self, address: SocketAddr, now: Duration) -> bool {
        let mut dead = self.dead();
        match dead.get_mut(&address) {
            None => true,
            Some(entry) if now < entry.until => false,
            Some(entry) => {
                entry.until = now + self.backoff.wait(entry.failures, 0.0);
                true
            }
        }
    }

    pub(super) fn failed(&self, address: SocketAddr, now: Duration, chance: f64) {
        let mut dead = self.dead();
        let entry = dead.entry(address).or_insert(Dead { failures: 0, until: now });
        entry.failures = entry.failures.saturating_add(1);
        entry.until = now + self.backoff.wait(entry.failures, chance);
    }

    pub(super) fn answered(&self, address: SocketAddr) {
        self.dead().remove(&address);
    }

    /// Forgets what nobody asked about for long, so that changing addresses do not pile up.
    pub(super) fn sweep(&self, now: Duration) {
        let keep = self.backoff.max * 4;
        self.dead().retain(|_, entry| now < entry.until + keep);
    }

    fn dead(&self) -> MutexGuard<'_, HashMap<SocketAddr, Dead>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_tries_a_dead_address_again_after_its_wait() {
        let seconds = Duration::from_secs;
        let health = Health::new(Backoff { first: seconds(5), max: seconds(60) });
        let address = "192.0.2.1:25".parse().unwrap();
        assert!(health.may_try(address, seconds(0)) && health.may_try(address, seconds(0)));
        health.failed(address, seconds(0), 0.0);
        assert!(!health.may_try(address, seconds(4)));
        assert!(health.may_try(address, seconds(5)) && !health.may_try(address, seconds(5)));
        health.failed(address, seconds(5), 0.0);
        assert!(!health.may_try(address, seconds(14)) && health.may_try(address, seconds(15)));
        health.answered(address);
        assert!(health.may_try(address, seconds(15)));
        health.failed(address, seconds(0), 0.0);
        health.sweep(seconds(244));
        assert!(!health.may_try(address, seconds(1)));
        health.sweep(seconds(245));
        assert!(health.may_try(address, seconds(1)));
    }
}
