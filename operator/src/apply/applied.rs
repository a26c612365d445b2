//! What this operator knows to have stood there: so that it can tell a change of somebody else's from one of its own.
//!
//! In memory only. After a restart nothing is known until it was seen as it should be, and what was changed meanwhile is
//! put back without a word.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_wire::Digest;
use tokio::time::Instant;

/// Whoever changes the same object again and again is told so this seldom.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// The objects of one namespace, by kind and name.
#[derive(Default)]
pub(crate) struct Applied {
    objects: Mutex<BTreeMap<String, Stood>>,
}

struct Stood {
    content: Digest,
    told: Option<Instant>,
}

impl Applied {
    /// The object is as it should be.
    pub(super) fn stands(&self, object: String, content: Digest) {
        let mut objects = self.lock();
        let told = objects.get(&object).and_then(|stood| stood.told);
        objects.insert(object, Stood { content, told });
    }

    /// Whether an object that is not as it should be was so before: then somebody else has changed it.
    pub(super) fn has_drifted(&self, object: &str, content: &Digest) -> bool {
        self.lock().get(object).is_some_and(|stood| stood.content == *content)
    }

    /// Whether to tell that it was put back: not if that was told a moment ago.
    pub(super) fn is_news(&self, object: &str) -> bool {
        let now = Instant::now();
        let mut objects = self.lock();
        let Some(stood) = objects.get_mut(object) else { return false };
        let is_news = stood.told.is_none_or(|told| now.duration_since(told) >= TOLD_AGAIN);
        if is_news {
            stood.told = Some(now);
        }
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stood>> {
        // Nothing that runs under the lock leaves the map half changed.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
