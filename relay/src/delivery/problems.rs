//! Why all mail for a destination waits: what its last probe heard. For whoever looks at the queue; nothing is decided by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::envelope::Remote;
use crate::route::Destination;

/// The destinations that cannot be reached now. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<HashMap<Destination, Remote>>>);

impl Problems {
    /// What its last probe heard; `None`: it can be reached, or was not tried.
    pub fn of(&self, destination: &Destination) -> Option<Remote> {
        self.all().get(destination).cloned()
    }

    pub(super) fn unreachable(&self, destination: Destination, heard: Remote) {
        self.all().insert(destination, heard);
    }

    pub(super) fn reached(&self, destination: &Destination) {
        self.all().remove(destination);
    }

    /// Forgets destinations that nobody waits for any more.
    pub(super) fn keep(&self, is_known: impl Fn(&Destination) -> bool) {
        self.all().retain(|destination, _| is_known(destination));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Destination, Remote>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
