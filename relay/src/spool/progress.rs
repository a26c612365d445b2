//! How far opening a spool is, for whoever waits for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::index::Index;
use super::log::{Place, Replay, Replayed};
use super::record::{Header, Parts};

/// How far it is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    segments: AtomicUsize,
    done: AtomicUsize,
    messages: AtomicUsize,
}

/// `12 of 160 segments are read, with 34567 messages`
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { segments, done, messages } = &*self.0;
        let (segments, done, messages) = (segments.load(Relaxed), done.load(Relaxed), messages.load(Relaxed));
        write!(f, "{done} of {segments} segments are read, with {messages} messages")
    }
}

/// An index that is being filled, and tells how far it is.
pub(super) struct Recovering {
    pub(super) index: Index,
    pub(super) progress: Progress,
}

impl Replay for Recovering {
    fn replay(&mut self, header: &Header, parts: &Parts<'_>, place: Place) -> Replayed {
        let replayed = self.index.replay(header, parts, place);
        self.progress.0.messages.store(self.index.len(), Relaxed);
        replayed
    }

    fn looked(&mut self, done: usize, of: usize) {
        self.progress.0.segments.store(of, Relaxed);
        self.progress.0.done.store(done, Relaxed);
    }

    fn end(&mut self) {
        self.index.end();
    }
}
