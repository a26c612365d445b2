//! Finds out whether anything keeps this relay from what its network must not reach.
//!
//! The policies around a relay are enforced by the network plugin of its cluster, or by nothing at all: the relay tries what
//! no policy opens, and says what came of it. It connects, sends nothing, and closes.
//!
//! A policy takes hold a moment after the pod is there: only what was reached twice in a row counts as reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_wire::status::Isolation;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::shutdown::{Shutdown, Stage};

/// Tries that must succeed one after the other.
const IN_A_ROW: u32 = 2;

/// What came of it last; nothing before the first tries.
#[derive(Clone, Debug)]
pub struct Canary(Arc<watch::Sender<Option<Isolation>>>);

impl Default for Canary {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Canary {
    /// What came of it last.
    pub fn isolation(&self) -> Option<Isolation> {
        self.0.borrow().clone()
    }

    /// Tries again and again, until the relay ends; without a target never.
    pub async fn run(self, target: Option<SocketAddr>, limits: Limits, metrics: Metrics, shutdown: Shutdown) {
        let Some(target) = target else { return };
        let mut in_a_row = 0;
        loop {
            let reached = matches!(timeout(limits.canary_time, TcpStream::connect(target)).await, Ok(Ok(_)));
            in_a_row = if reached { (in_a_row + 1).min(IN_A_ROW) } else { 0 };
            let certain = !reached || in_a_row == IN_A_ROW;
            if certain {
                self.tell(target, reached, &metrics);
            }
            tokio::select! {
                () = sleep(pause(certain, &limits)) => {}
                () = shutdown.reached(Stage::Ended) => return,
            }
        }
    }

    fn tell(&self, target: SocketAddr, reached: bool, metrics: &Metrics) {
        metrics.canary_reached(reached);
        let now = Some(Isolation { canary: target.to_string(), reached });
        let differs = self.0.send_if_modified(|told| {
            let differs = *told != now;
            *told = now;
            differs
        });
        match reached {
            true if differs => {
                warn!(canary = %target, "reached what the network must not let through: nothing isolates this relay");
            }
            false if differs => info!(canary = %target, "not reached: the network isolates this relay"),
            _ => {}
        }
    }
}

fn pause(certain: bool, limits: &Limits) -> Duration {
    if certain { limits.canary_interval } else { limits.canary_time.min(limits.canary_interval) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn told(canary: &Canary, reached: bool) {
        let mut said = canary.0.subscribe();
        let wanted = said.wait_for(|said| said.as_ref().is_some_and(|said| said.reached == reached));
        timeout(Duration::from_secs(60), wanted).await.expect("it is told in time").unwrap();
    }

    #[tokio::test]
    async fn says_what_it_reaches_and_when_it_no_longer_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let second = Duration::from_secs(1);
        let limits = Limits { canary_interval: 3 * second, canary_time: second, ..Limits::default() };
        let (canary, metrics, (trigger, shutdown)) = (Canary::default(), Metrics::new(), crate::shutdown::channel());
        let running = tokio::spawn(canary.clone().run(Some(target), limits, metrics.clone(), shutdown));
        told(&canary, true).await;
        for _ in 0..2 {
            timeout(second, listener.accept()).await.expect("once is not certain").unwrap();
        }
        assert!(metrics.encode().unwrap().contains("postern_relay_canary_reached 1"));
        drop(listener);
        told(&canary, false).await;
        assert_eq!(canary.isolation().unwrap().canary, target.to_string());
        assert!(metrics.encode().unwrap().contains("postern_relay_canary_reached 0"));
        drop(trigger);
        running.await.unwrap();
    }
}
