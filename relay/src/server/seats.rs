//! Who is connected, and since when each has been idle: when all seats are taken, whoever has been idle longest leaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Nobody is sent away who has been idle for less: a flood of new clients must not push out those just greeted.
const IDLE_MIN: Duration = Duration::from_secs(1);
const BUSY: u64 = u64::MAX;

/// The seats of one listener.
#[derive(Clone, Debug)]
pub(super) struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, Arc<State>>,
}

#[derive(Debug)]
struct State {
    /// Milliseconds since `began`, or [`BUSY`].
    idle_since: AtomicU64,
    leave: Notify,
}

/// One seat. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    number: u64,
    state: Arc<State>,
}

impl Seats {
    pub(super) fn new(max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Self(Arc::new(Inner { max, began: Instant::now(), taken: Mutex::default() }))
    }

    /// A seat; when all are taken that of the longest idle, who is told to leave. `None`: all are busy.
    pub(super) fn take(&self, now: Instant) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.seats.len() >= self.0.max {
            let (now, idle_min) = (self.millis(now), IDLE_MIN.as_millis() as u64);
            let idle = |state: &Arc<State>| state.idle_since.load(Ordering::Relaxed);
            let (longest, since) =
                taken.seats.iter().map(|(number, state)| (*number, idle(state))).min_by_key(|(_, since)| *since)?;
            if since == BUSY || since + idle_min > now {
                return None;
            }
            taken.seats.remove(&longest)?.leave.notify_one();
        }
        let number = taken.next;
        taken.next += 1;
        let state = Arc::new(State { idle_since: AtomicU64::new(BUSY), leave: Notify::new() });
        taken.seats.insert(number, Arc::clone(&state));
        drop(taken);
        Some(Seat { seats: self.clone(), number, state })
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.0.began).as_millis() as u64
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// From now on it may be asked to leave.
    pub(super) fn idle(&self, now: Instant) {
        self.state.idle_since.store(self.seats.millis(now), Ordering::Relaxed);
    }

    /// It is in the middle of something.
    pub(super) fn busy(&self) {
        self.state.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// Waits until its place is needed. May be dropped while it waits.
    pub(super) async fn asked_to_leave(&self) {
        self.state.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seat: &Seat) -> bool {
        let mut waiting = Box::pin(seat.asked_to_leave());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_longest_idle_leaves_for_a_newcomer() {
        let (seats, now) = (Seats::new(3), Instant::now());
        let (busy, first, second) = (seats.take(now).unwrap(), seats.take(now).unwrap(), seats.take(now).unwrap());
        first.idle(now);
        second.idle(now + Duration::from_millis(10));
        assert!(seats.take(now + Duration::from_millis(20)).is_none(), "nobody has been idle for long enough");
        let later = now + Duration::from_secs(2);
        let newcomer = seats.take(later).unwrap();
        assert!(asked(&first) && !asked(&second) && !asked(&busy));
        drop(first); // its seat is the newcomer's already
        assert!(seats.take(later).is_some() && asked(&second));
        drop(newcomer);
        assert!(seats.take(later).is_some(), "a seat that was left is free");
    }

    #[test]
    fn the_busy_stay() {
        let (seats, now) = (Seats::new(1), Instant::now());
        let seat = seats.take(now).unwrap();
        seat.idle(now);
        seat.busy();
        assert!(seats.take(now + Duration::from_secs(10)).is_none());
    }
}
