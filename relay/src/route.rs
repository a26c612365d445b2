//! Where a recipient's mail goes next: a pure question to the settings in force, asked again at each attempt.

use std::sync::Arc;

/// The answer to "where next".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To these hosts, in this order. Never empty.
    To(Arc<[Tier]>),
    /// Nowhere now, and it may come back (its RelayDomain is gone, a reference is missing, no way for notifications):
    /// the message waits until its lifetime ends. One sentence for the log and the queue.
    Held(Arc<str>),
}

/// Hosts of the same preference, which share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Names of host sections, sorted.
    pub hosts: Vec<Arc<str>>,
}
