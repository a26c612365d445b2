//! What `kubectl describe` tells of an object: that a condition of it changed, and that somebody's change of what the
//! operator has written was put back.
//!
//! An event follows a write that the API server took; so a look that finds nothing to write tells nothing, and neither a
//! restart nor a new leader tells anything twice. Events are for people, and nothing waits for them: they are queued, and
//! written no faster than [`PERIOD`] allows. When the queue fills, good news is dropped first. What is dropped, or refused
//! by the API server, is counted.

mod transition;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::metrics::Metrics;
pub(crate) use transition::{News, transitions};

/// Events that wait to be written: a few dozen objects with a few conditions each.
const QUEUE: usize = 256;
/// Between two events in the long run; so many may come at once after a pause.
const PERIOD: Duration = Duration::from_millis(200);
const BURST: u32 = 50;
/// For one event.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Octets of a message; the newer of the two kinds of events takes no more.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Octets of an object's name in the name of its event: 17 more follow, and 253 is the most.
const NAME_BYTES_MAX: usize = 236;
/// Who tells it.
const COMPONENT: &str = "postern-operator";

/// Where events are told.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Event>,
    metrics: Metrics,
}

impl Events {
    /// Starts writing. The task ends when the last clone is gone and everything is written.
    pub(crate) fn start(client: &Client, metrics: &Metrics) -> (Self, JoinHandle<()>) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write_all(client.clone(), metrics.clone(), queued));
        (Self { queue, metrics: metrics.clone() }, task)
    }

    /// Tells it of an object, soon.
    pub(crate) fn tell(&self, object: ObjectReference, news: News) {
        let crowded = self.queue.capacity() < QUEUE / 2;
        let dropped = (crowded && !news.warning) || self.queue.try_send(event(object, news)).is_err();
        if dropped {
            self.metrics.told("dropped");
        }
    }
}

/// An object as an event names it.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: object.meta().name.clone(),
        namespace: object.meta().namespace.clone(),
        uid: object.meta().uid.clone(),
        ..ObjectReference::default()
    }
}

/// An object's owner as an event names it.
pub(crate) fn owner_reference(namespace: &str, owner: &OwnerReference) -> ObjectReference {
    ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        namespace: Some(namespace.to_owned()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}

fn event(object: ObjectReference, news: News) -> Event {
    let News { warning, reason, message } = news;
    let now = Timestamp::now();
    let metadata = ObjectMeta {
        name: Some(name(object.name.as_deref().unwrap_or_default(), now)),
        namespace: object.namespace.clone(),
        ..ObjectMeta::default()
    };
    Event {
        metadata,
        involved_object: object,
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(reason),
        message: Some(cut(message)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}

/// In the order in which they came: kubectl shows those of one second by their names.
fn name(object: &str, now: Timestamp) -> String {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = i64::try_from(now.as_nanosecond()).unwrap_or_default();
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    let number = now.max(before.unwrap_or_default() + 1);
    let cut = &object[..object.floor_char_boundary(NAME_BYTES_MAX)];
    format!("{}.{number:016x}", cut.trim_end_matches(['-', '.']))
}

fn cut(message: String) -> String {
    const MARK: &str = " …";
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    format!("{}{MARK}", &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX - MARK.len())])
}

async fn write_all(client: Client, metrics: Metrics, mut queued: mpsc::Receiver<Event>) {
    let mut due = Instant::now();
    while let Some(event) = queued.recv().await {
        due = paced(due, Instant::now());
        sleep_until(due).await;
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api = Api::<Event>::namespaced(client.clone(), &namespace);
        match timeout(WRITE_WITHIN, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => metrics.told("written"),
            Ok(Err(error)) => {
                // Once for each way in which it goes wrong would need a memory; once a message is what the rate allows.
                warn!(namespace, %error, "an event is not told");
                metrics.told("refused");
            }
            Err(_) => {
                debug!(namespace, "an event is not told in time");
                metrics.told("refused");
            }
        }
    }
}

/// When the next one may be written, if the last one could be at `due`.
fn paced(due: Instant, now: Instant) -> Instant {
    let earliest = now.checked_sub(PERIOD * BURST).unwrap_or(now);
    due.max(earliest) + PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_written_at_once_and_a_storm_at_its_period() {
        let now = Instant::now() + PERIOD * BURST * 2;
        let mut due = now - PERIOD * BURST * 2;
        let mut dues = Vec::new();
        for _ in 0..1000 {
            due = paced(due, now);
            dues.push(due);
        }
        assert_eq!(dues.iter().filter(|due| **due <= now).count(), BURST as usize);
        assert_eq!(dues[999], now + PERIOD * (1000 - BURST));
    }

    #[test]
    fn names_of_events_are_valid_differ_and_follow_in_time() {
        let now = Timestamp::now();
        let names: Vec<_> = (0..100).map(|_| name("contoso", now)).collect();
        assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let long = name(&format!("{}.{}", "a".repeat(235), "b".repeat(17)), now);
        assert!(long.len() <= 253 && long.starts_with(&format!("{}.1", "a".repeat(235))), "{long}");
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        let told = cut("é".repeat(1000));
        assert!(told.len() <= MESSAGE_BYTES_MAX && told.ends_with("é …"), "{}", told.len());
        assert_eq!(cut("short".to_owned()), "short");
    }
}
