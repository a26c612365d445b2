//! Why mail waits, destination by destination: what a person sees of the scheduler. Read-only, and changed only when a
//! destination goes down or comes back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::next_hop::Key;
use crate::envelope::Remote;
use crate::route::Route;

/// A destination whose next hops cannot be reached: its mail waits without being tried one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// What the last attempt to reach it heard.
    pub problem: Remote,
    /// When it is tried again.
    pub next_probe: Timestamp,
    /// Failed attempts to reach it in a row.
    pub failures: u32,
}

/// The destinations that are down.
#[derive(Debug, Default)]
pub struct View(Mutex<HashMap<Key, Down>>);

impl View {
    /// Why mail that goes this way waits, if it is for its next hops. What is held, or suspended, the settings tell.
    pub fn down(&self, route: &Route) -> Option<Down> {
        match route {
            Route::To(key) => self.all().get(key).cloned(),
            Route::Held(_) => None,
        }
    }

    /// The destinations that are down, by their names, without those that mail reaches directly: a dead domain is its
    /// recipients' matter, and there may be thousands of them.
    pub fn hosts_down(&self) -> Vec<(String, Down)> {
        let all = self.all();
        let hosts = all.iter().filter(|(key, _)| matches!(key, Key::Hosts(_)));
        hosts.map(|(key, down)| (key.to_string(), down.clone())).collect()
    }

    pub(super) fn is_down(&self, key: &Key, problem: Remote, next_probe: Timestamp) {
        let mut all = self.all();
        let failures = all.get(key).map_or(0, |down| down.failures).saturating_add(1);
        all.insert(key.clone(), Down { problem, next_probe, failures });
    }

    pub(super) fn is_back(&self, key: &Key) {
        self.all().remove(key);
    }

    /// Forgets what the scheduler has forgotten.
    pub(super) fn retain(&self, is_known: impl Fn(&Key) -> bool) {
        self.all().retain(|key, _| is_known(key));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Down>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Tier;

    #[test]
    fn a_dead_domain_crowds_out_no_host() {
        let (view, tier) = (View::default(), Tier { hosts: vec!["office".into()] });
        let office = Key::Hosts([tier].into());
        let problem = Remote { server: String::new(), reply: "refused".to_owned(), status: "4.4.1".to_owned() };
        let domains = (0..200).map(|number| Key::Mx(format!("d{number}.example").parse().unwrap()));
        for key in domains.chain([office.clone()]) {
            view.is_down(&key, problem.clone(), Timestamp::UNIX_EPOCH);
        }
        let down = |view: &View| view.hosts_down().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(down(&view), ["office"]);
        view.is_back(&office);
        assert_eq!(down(&view), [""; 0]);
    }
}
