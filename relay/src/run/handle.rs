//! How a relay is steered from outside, and what it tells of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::reload::Report;

/// Steers a relay from outside. Clones steer the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    wish: watch::Sender<Wish>,
    pub(super) bound: watch::Sender<Bound>,
    /// At the settings, and at the certificates.
    pub(super) look: [Arc<Notify>; 2],
    pub(super) report: Report,
}

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Serve,
    Drain,
    End,
}

/// Where it listens: with port 0, known only then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bound {
    pub(super) http: Option<SocketAddr>,
    /// The first of them.
    pub(super) smtp: Option<SocketAddr>,
}

impl Default for Handle {
    fn default() -> Self {
        let (wish, bound) = (watch::Sender::new(Wish::Serve), watch::Sender::new(Bound::default()));
        Self { wish, bound, look: Default::default(), report: Report::default() }
    }
}

impl Handle {
    /// For a relay that is yet to run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finish what was begun, then end.
    pub fn drain(&self) {
        self.wish.send_modify(|wish| *wish = Wish::Drain.max(*wish));
    }

    /// End now; what is not settled stays in the spool.
    pub fn end(&self) {
        self.wish.send_modify(|wish| *wish = Wish::End);
    }

    /// Look at the settings and the certificates now.
    pub fn reload(&self) {
        for look in &self.look {
            look.notify_one();
        }
    }

    /// The settings in force, and why others are not.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Where HTTP is answered, once it is. Waits for ever when the relay fails before: wait for that too.
    pub async fn http(&self) -> SocketAddr {
        self.bound(|bound| bound.http).await
    }

    /// Where mail is taken, the first address, once it is. Waits for ever when the relay fails before: wait for that too.
    pub async fn smtp(&self) -> SocketAddr {
        self.bound(|bound| bound.smtp).await
    }

    async fn bound(&self, which: impl Fn(&Bound) -> Option<SocketAddr>) -> SocketAddr {
        let mut receiver = self.bound.subscribe();
        let found = receiver.wait_for(|bound| which(bound).is_some()).await.ok().and_then(|bound| which(&bound));
        match found {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }

    /// Waits for so long, or until it is to end now.
    pub(super) async fn or_end(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.wished(Wish::End) => {}
        }
    }

    pub(super) async fn wished(&self, wish: Wish) {
        // This handle holds the sender, so waiting cannot fail.
        self.wish.subscribe().wait_for(|now| *now >= wish).await.ok();
    }
}
