//! One kind of one namespace, kept current by a watch.
//!
//! A cache is incomplete until the first list has ended, and refused while the API server does not let the operator read
//! it: both are states to be asked for, never an error that ends anything. A refused one is tried again, more and more
//! slowly; what was known before stays known meanwhile. What the operator itself has written is put in at once, so that the next look does not see the past.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

/// A refusal of what was allowed before is believed when it lasts: an API server that has just started refuses what it
/// will allow when it has read its roles, and does not know our kinds yet.
const REFUSED_BELIEVED: Duration = Duration::from_secs(10);
/// How long until a refused list is tried again: at first, and at most.
const REFUSED_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// The wait until an interrupted watch is tried again: at first, and at most. An API server that is back is found again
/// within seconds, however long it was away.
const INTERRUPTED_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// A watch that has gone on for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// Doubles its waits from one interruption to the next.
#[derive(Default)]
pub(crate) struct Patience {
    last: Option<(Instant, Duration)>,
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let recent = self.last.filter(|(when, wait)| now.duration_since(*when) < *wait + RECOVERED);
        let wait = recent.map_or(INTERRUPTED_RETRY.0, |(_, wait)| (wait * 2).min(INTERRUPTED_RETRY.1));
        self.last = Some((now, wait));
        Some(wait)
    }
}

impl Backoff for Patience {
    /// Called for everything that a watch says, also for "I begin": only time shows that it has recovered.
    fn reset(&mut self) {}
}

/// What is known of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The first list has not ended.
    NotYet,
    /// Every object.
    All,
    /// Nothing certain: one sentence says what the API server refuses.
    Refused(String),
}

/// The objects of one kind in one namespace.
pub(crate) struct Cache<K> {
    state: Arc<Mutex<State<K>>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

struct State<K> {
    known: Known,
    objects: BTreeMap<String, Arc<K>>,
    /// What the list has brought so far.
    listing: BTreeMap<String, Arc<K>>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Starts to watch; `changed` is woken whenever an answer of this cache would be another one than before.
    pub(crate) fn start(
        api: Api<K>,
        config: watcher::Config,
        slim: fn(&mut K),
        changed: Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let state = State { known: Known::NotYet, objects: BTreeMap::new(), listing: BTreeMap::new() };
        let cache = Self { state: Arc::new(Mutex::new(state)) };
        tasks.spawn(cache.clone().watch(api, config, slim, changed));
        cache
    }

    async fn watch(self, api: Api<K>, config: watcher::Config, slim: fn(&mut K), changed: Arc<Notify>) {
        let (mut wait, longest) = REFUSED_RETRY;
        let mut refused_since = None;
        loop {
            let mut events = Box::pin(watcher(api.clone(), config.clone()).backoff(Patience::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        // That a list begins says nothing of how it ends.
                        if !matches!(event, Event::Init) {
                            (wait, refused_since) = (REFUSED_RETRY.0, None);
                        }
                        if self.take(event.modify(slim)) {
                            changed.notify_one();
                        }
                    }
                    Err(error) => {
                        // A new stream lists anew: only a list shows that a right has come back.
                        if let Some(refusal) = refusal(&error) {
                            let lasts = refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_BELIEVED;
                            if lasts || self.known() != Known::All {
                                self.refuse(refusal, &changed);
                            }
                            break;
                        }
                        warn!(kind = %K::kind(&()), %error, "watch interrupted");
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }

    /// Whether it changed anything.
    fn take(&self, event: Event<K>) -> bool {
        let mut state = self.lock();
        match event {
            Event::Init => state.listing.clear(),
            Event::InitApply(object) => {
                state.listing.insert(object.name_any(), Arc::new(object));
            }
            Event::InitDone => {
                state.objects = std::mem::take(&mut state.listing);
                state.known = Known::All;
                return true;
            }
            Event::Apply(object) => return state.put(object),
            Event::Delete(object) => return state.remove(&object),
        }
        false
    }

    fn refuse(&self, sentence: String, changed: &Notify) {
        let refused = Known::Refused(sentence);
        let mut state = self.lock();
        if state.known != refused {
            debug!(kind = %K::kind(&()), known = ?refused, "refused");
            state.known = refused;
            changed.notify_one();
        }
    }

    /// Puts in what the API server answered to a write.
    pub(crate) fn put(&self, object: K) {
        self.lock().put(object);
    }

    /// Takes out what was deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().objects.remove(name);
    }
}

impl<K> Cache<K> {
    pub(crate) fn known(&self) -> Known {
        self.lock().known.clone()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.lock().objects.get(name).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().objects.is_empty()
    }

    /// All objects, by name.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.lock().objects.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Nothing that runs under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource> State<K> {
    /// Puts in an object, unless this or a newer one is there: a watch tells our own writes too, and may still be telling
    /// what was before them.
    fn put(&mut self, object: K) -> bool {
        let (known, version) = self.versions(&object);
        if known > version || known.is_some() && known == version {
            return false;
        }
        self.objects.insert(object.name_any(), Arc::new(object));
        true
    }

    fn remove(&mut self, object: &K) -> bool {
        let (known, version) = self.versions(object);
        known <= version && self.objects.remove(&object.name_any()).is_some()
    }

    /// The version that is known under this object's name, and its own.
    fn versions(&self, object: &K) -> (Option<u64>, Option<u64>) {
        let version = |object: &K| object.resource_version().and_then(|version| version.parse::<u64>().ok());
        let known = self.objects.get(&object.name_any()).and_then(|known| version(known));
        (known, version(object))
    }
}

/// The sentence for an error that only a change of rights, or of what is installed, can heal.
fn refusal(error: &watcher::Error) -> Option<String> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return None,
    };
    matches!(status.code, 401 | 403 | 404).then(|| status.message.clone())
}
