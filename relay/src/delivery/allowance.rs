//! What hosts may be given, of all their destinations together: connections at a time, and messages in a minute. Only hosts
//! whose settings limit them are here, each with a lock of its own.
//!
//! Nobody waits here. Who gets nothing returns its message, which costs no attempt, and those that have a connection give it
//! up after their message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::next_hop::NextHop;

/// How long a wish for a connection is remembered.
const WISH: Duration = Duration::from_secs(2);
/// How long a message waits that found no connection free.
const PAUSE: Duration = Duration::from_millis(250);
const MINUTE: Duration = Duration::from_secs(60);

/// By the name of the host.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<HashMap<Arc<str>, Arc<Allowance>>>);

#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    connections: u32,
    /// Somebody found no connection free, and asks again until then.
    wanted: Duration,
    /// When the messages so far would have been sent at an even pace.
    sent: Duration,
}

/// When more may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) until: Duration,
    /// Then one message in so long.
    pub(super) every: Duration,
}

impl Full {
    /// When one of two equal hosts may have more.
    pub(super) fn or(self, other: Self) -> Self {
        let rate = 1.0 / self.every.as_secs_f64() + 1.0 / other.every.as_secs_f64();
        Self { until: self.until.min(other.until), every: Duration::from_secs_f64(1.0 / rate) }
    }
}

/// A connection that counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Seat(Arc<Allowance>);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut used = self.0.used();
        used.connections = used.connections.saturating_sub(1);
    }
}

impl Allowances {
    /// `None`: its host is not limited.
    pub(super) fn of(&self, hop: &NextHop) -> Option<Arc<Allowance>> {
        let limits = &hop.limits;
        if limits.connections.is_none() && limits.messages_per_minute.is_none() {
            return None;
        }
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(&hop.host) {
            Some(allowance) => Some(Arc::clone(allowance)),
            None => Some(Arc::clone(hosts.entry(Arc::clone(&hop.host)).or_default())),
        }
    }

    /// Forgets hosts that nobody uses.
    pub(super) fn sweep(&self, now: Duration) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, allowance| Arc::strong_count(allowance) > 1 || now < allowance.used().sent + MINUTE);
    }
}

impl Allowance {
    /// A further connection.
    pub(super) fn connect(self: &Arc<Self>, connections_max: Option<u32>, now: Duration) -> Result<Seat, Full> {
        let mut used = self.used();
        if connections_max.is_some_and(|most| used.connections >= most) {
            used.wanted = now + WISH;
            return Err(Full { until: now + PAUSE, every: Duration::ZERO });
        }
        used.connections += 1;
        Ok(Seat(Arc::clone(self)))
    }

    /// Whether somebody else wants the connection that the caller has.
    pub(super) fn is_wanted(&self, now: Duration) -> bool {
        now < self.used().wanted
    }

    /// A further message. A host that had less than its share may have what it missed at once, as far as it is one
    /// second's worth; in no minute it gets more than its limit.
    pub(super) fn send(&self, per_minute: Option<u32>, now: Duration) -> Result<(), Full> {
        let Some(per_minute) = per_minute else { return Ok(()) };
        let burst = (per_minute / 60).max(1);
        let every = MINUTE / (per_minute - burst + 1);
        let mut used = self.used();
        let sent = used.sent.max(now);
        let until = sent.saturating_sub(every * (burst - 1));
        if now < until {
            return Err(Full { until, every });
        }
        used.sent = sent + every;
        Ok(())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_more_connections_than_the_host_allows_and_a_wish_for_more_is_remembered() {
        let (allowance, second) = (Arc::new(Allowance::default()), Duration::from_secs);
        let seats: Vec<_> = (0..2).map(|_| allowance.connect(Some(2), second(1)).unwrap()).collect();
        assert!(!allowance.is_wanted(second(1)));
        let full = allowance.connect(Some(2), second(1)).unwrap_err();
        assert!(full.until > second(1) && allowance.is_wanted(second(2)) && !allowance.is_wanted(second(3)));
        drop(seats);
        assert!(allowance.connect(Some(1), second(3)).is_ok());
    }

    #[test]
    fn two_equal_hosts_take_as_much_as_both() {
        let full = |until, every| Full { until: Duration::from_secs(until), every: Duration::from_secs(every) };
        assert_eq!(full(5, 3).or(full(4, 6)), full(4, 2));
        assert_eq!(full(5, 0).or(full(4, 6)), full(4, 0));
    }

    proptest! {
        #[test]
        fn in_no_minute_more_than_the_limit_and_in_the_long_run_nearly_as_much(
            per_minute in 1u32..5000, waits in proptest::collection::vec(0u64..3_000, 400),
        ) {
            let allowance = Allowance::default();
            let (mut now, mut sent) = (MINUTE, Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                for _ in 0..30 {
                    match allowance.send(Some(per_minute), now) {
                        Ok(()) => sent.push(now),
                        Err(Full { until, .. }) => prop_assert!(until > now),
                    }
                }
            }
            for window in sent.windows(per_minute as usize + 1) {
                prop_assert!(*window.last().unwrap() - window[0] >= MINUTE - Duration::from_micros(100));
            }
        }

        #[test]
        fn who_waits_as_it_was_told_gets_it(per_minute in 1u32..100_000) {
            let allowance = Allowance::default();
            let mut now = MINUTE;
            let begun = now;
            for _ in 0..per_minute.min(3000) {
                if let Err(Full { until, .. }) = allowance.send(Some(per_minute), now) {
                    now = until;
                    prop_assert!(allowance.send(Some(per_minute), now).is_ok());
                }
            }
            prop_assert!(now - begun <= MINUTE * 62 / 60);
        }
    }
}
