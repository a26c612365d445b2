//! Asks relays that are about to end how many messages they will leave.
//!
//! Often, for nobody can be asked afterwards: a relay answers for a second after its last message is settled, so the last
//! answer is what is on its volume. Only what a relay says while it ends counts: what one said earlier that was killed is
//! too old to tell anyone that a volume is empty.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use postern_wire::Status;
use postern_wire::status::FAULTS_ONLY;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::programmed::ask;

/// Between two questions, and for one answer: together less than the second for which an ended relay still answers.
const AGAIN: Duration = Duration::from_millis(400);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Names of pods that are remembered. A workload uses the same ones again.
const REMEMBERED_MAX: usize = 1024;

/// A relay pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The address of its status port, if it is going away.
    pub(crate) status: Option<SocketAddr>,
}

/// Asks, and remembers the last answers.
pub(crate) struct Going {
    pods: watch::Sender<Vec<Pod>>,
    last: Last,
}

/// By a pod's name: its uid, and the messages that waited.
type Last = Arc<Mutex<BTreeMap<String, (String, u64)>>>;

impl Going {
    pub(crate) fn start(tasks: &mut JoinSet<()>) -> Self {
        let (pods, followed) = watch::channel(Vec::new());
        let last = Last::default();
        tasks.spawn(keep_asking(followed, last.clone()));
        Self { pods, last }
    }

    /// Asks those of these pods that are going away, from now on. What an earlier pod of a name left is the next one's.
    pub(crate) fn follow(&self, pods: Vec<Pod>) {
        for Pod { name, uid, status: _ } in &pods {
            let mut last = lock(&self.last);
            if last.get(name).is_some_and(|(known, _)| known != uid) {
                last.remove(name);
            }
        }
        self.pods.send_if_modified(|followed| {
            let differs = *followed != pods;
            *followed = pods;
            differs
        });
    }

    /// What each said last, also of those that are gone.
    pub(crate) fn left(&self) -> BTreeMap<String, u64> {
        lock(&self.last).iter().map(|(name, (_, messages))| (name.clone(), *messages)).collect()
    }
}

/// Nothing that runs under the lock leaves it half changed.
fn lock(last: &Last) -> MutexGuard<'_, BTreeMap<String, (String, u64)>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_asking(mut pods: watch::Receiver<Vec<Pod>>, last: Last) {
    loop {
        let all = pods.borrow_and_update().clone();
        let going: Vec<(&Pod, SocketAddr)> = all.iter().filter_map(|pod| Some((pod, pod.status?))).collect();
        let asked = going.iter().map(async |(pod, address)| (*pod, messages(*address).await));
        for (Pod { name, uid, status: _ }, messages) in join_all(asked).await {
            let mut last = lock(&last);
            if let Some(messages) = messages
                && (last.len() < REMEMBERED_MAX || last.contains_key(name))
            {
                last.insert(name.clone(), (uid.clone(), messages));
            }
        }
        tokio::select! {
            closed = pods.changed() => if closed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !going.is_empty() => {}
        }
    }
}

/// How many wait in a relay that is ending. `None`: it does not answer, is not ending, or has not opened its queue.
async fn messages(address: SocketAddr) -> Option<u64> {
    let answer = timeout(ANSWER_WITHIN, ask(address, &format!("/status?{FAULTS_ONLY}"))).await;
    let Status { draining: true, queue, .. } = answer.ok()?.ok()? else { return None };
    Some(queue?.messages)
}

#[cfg(test)]
mod tests;
