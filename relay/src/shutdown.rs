//! How the relay stops: stages that only go forward, and a handle by which each task sees them.
//!
//! Whoever drops the [`Trigger`] ends the relay: a task can never be left behind by its starter.

use tokio::sync::watch;

/// What may still be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Everything.
    Serving,
    /// Not ready any more, but connections are still taken, while load balancers notice.
    Leaving,
    /// No connection is taken, the idle get 421, transactions finish. What is due is still delivered, until nothing is.
    Draining,
    /// Nothing more is claimed for delivery: what is under way finishes.
    Settling,
    /// Stop now: what is not settled stays in the spool.
    Ended,
}

/// Moves the stage forward.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Stage>);

/// Sees the stage. Cheap to clone; one for each task.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Stage>);

/// A relay that is serving.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Stage::Serving);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Goes on to `stage`; never back.
    pub fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let forward = *now < stage;
            if forward {
                *now = stage;
            }
            forward
        });
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        self.advance(Stage::Ended);
    }
}

impl Shutdown {
    /// The stage now.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits until `stage`, or a later one, is reached. Safe to drop and call again.
    pub async fn reached(&self, stage: Stage) {
        let mut receiver = self.0.clone();
        // An error says that the trigger is gone, which means Ended: every stage is reached.
        let _gone = receiver.wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_forward_only_and_ends_with_its_trigger() {
        let (trigger, shutdown) = channel();
        assert_eq!(shutdown.stage(), Stage::Serving);
        trigger.advance(Stage::Draining);
        trigger.advance(Stage::Leaving);
        assert_eq!(shutdown.stage(), Stage::Draining);
        shutdown.reached(Stage::Leaving).await;
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.reached(Stage::Ended).await }
        });
        drop(trigger);
        waiting.await.unwrap();
        assert_eq!(shutdown.stage(), Stage::Ended);
    }
}
