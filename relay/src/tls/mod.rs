//! Who the relay is to its clients: certificates with their keys, chosen by the name that a client asks for (SNI), and
//! followed while their files change.
//!
//! A folder holds `NAME/tls.crt` and `NAME/tls.key`, as a Secret of type `kubernetes.io/tls` is mounted. The names that a
//! certificate serves are the DNS names inside it, not NAME. A handshake takes the one that has the asked-for name exactly,
//! else the one that has it by a wildcard, else the default: NAME `default`, or without it the first by NAME. Of several for
//! one name, it takes the first whose kind of key the client knows.
//!
//! The folder is looked at as the settings are: every 250 ms, and at once when told to. Files that cannot be used change
//! nothing: the last good pair stays, and the log and the metrics say which file is wrong, and why. A handshake takes what is
//! there when it begins; whoever is connected goes on with what it has.

mod acceptor;
mod folder;
mod pair;
mod validity;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::metrics::{CertificateName, Metrics};
use crate::shutdown::{Shutdown, Stage};
pub use acceptor::Acceptor;
use folder::{Folder, News};
use pair::Pair;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Whoever renews certificates does so earlier than this before they end.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The NAME of the certificate for whoever asks for no name of ours.
const DEFAULT: &str = "default";

/// The certificates in force. Clones are the same.
#[derive(Clone, Default)]
pub struct Certificates(Arc<ArcSwap<Table>>);

/// What is served, by name.
#[derive(Debug, Default)]
struct Table {
    /// Sorted by NAME.
    pairs: Vec<Arc<Pair>>,
    /// The pairs that have a DNS name, lower-case, `*.` first where it is a wildcard.
    names: HashMap<String, Vec<usize>>,
    default: usize,
    /// What was found and cannot be used; a sentence each.
    problems: Vec<String>,
}

/// Where certificates come from, and how much of that is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub directory: PathBuf,
    /// Octets of one file.
    pub file_size_max: u64,
    /// How many pairs.
    pub pairs_max: u64,
    /// How long files that cannot be used are looked at again before they are reported: somebody may be writing them. And how
    /// long a folder that has changed is not trusted to show it in the times of its files.
    pub patience: Duration,
}

/// Follows the folder.
#[derive(Debug)]
pub struct Follower {
    certificates: Certificates,
    metrics: Metrics,
    folder: Folder,
}

impl Table {
    fn new(pairs: Vec<Arc<Pair>>) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.names {
                names.entry(name.clone()).or_default().push(index);
            }
        }
        let default = pairs.iter().position(|pair| &*pair.name == DEFAULT).unwrap_or(0);
        Self { pairs, names, default, problems: Vec::new() }
    }

    /// The pairs that may answer for a name, the best first.
    fn candidates(&self, asked: Option<&str>) -> impl Iterator<Item = &Arc<Pair>> {
        let asked = asked.map(str::to_ascii_lowercase);
        let wildcard = asked.as_deref().and_then(|name| name.split_once('.')).map(|(_, parent)| format!("*.{parent}"));
        let named = |name: Option<String>| name.and_then(|name| self.names.get(&name)).into_iter().flatten().copied();
        named(asked).chain(named(wildcard)).chain([self.default]).filter_map(|index| self.pairs.get(index))
    }

    fn choose(&self, asked: Option<&str>, usable: impl Fn(&Pair) -> bool) -> Option<&Arc<Pair>> {
        self.candidates(asked).find(|pair| usable(pair)).or_else(|| self.candidates(asked).next())
    }
}

impl Certificates {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.load().pairs.is_empty()
    }

    /// What is wrong with them: that there is none, what was found and cannot be used, and what has expired or is about to. A
    /// sentence each.
    pub fn problems(&self, now: Timestamp) -> Vec<String> {
        let table = self.0.load();
        let none = table.pairs.is_empty().then(|| "there is no certificate: STARTTLS is not offered".to_owned());
        let old = table.pairs.iter().filter(|pair| pair.expires.duration_since(now) < EXPIRES_SOON);
        let old = old.map(|pair| (&pair.name, &pair.expires)).map(|(name, expires)| match *expires < now {
            true => format!("certificate {name} has expired on {expires}"),
            false => format!("certificate {name} expires on {expires}"),
        });
        none.into_iter().chain(table.problems.iter().cloned()).chain(old).collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let known = |pair: &Pair| pair.key.key.choose_scheme(hello.signature_schemes()).is_some();
        table.choose(hello.server_name(), known).map(|pair| pair.key.clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.load().pairs.iter().map(|pair| &pair.name)).finish()
    }
}

impl Follower {
    /// Reads the folder for the first time, and says at once what of it cannot be used. Blocking.
    pub fn open(options: Options, metrics: Metrics) -> Self {
        let mut follower = Self { certificates: Certificates::default(), metrics, folder: Folder::new(options) };
        follower.look(true, Duration::ZERO);
        follower
    }

    /// The certificates, now and later.
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// What cannot be used now, and why; a sentence each.
    pub fn problems(&self) -> Vec<String> {
        self.folder.problems()
    }

    /// Follows it until the relay ends. `look` asks to look at once.
    pub async fn run(mut self, look: Arc<Notify>, shutdown: Shutdown) {
        let mut asked = false;
        while shutdown.stage() < Stage::Ended {
            let looked = spawn_blocking(move || {
                let patience = self.folder.patience();
                self.look(asked, patience);
                self
            });
            self = match looked.await {
                Ok(follower) => follower,
                Err(error) => {
                    error!(%error, "certificates are not followed any more; those in force stay");
                    return;
                }
            };
            asked = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = look.notified() => true,
                () = shutdown.reached(Stage::Ended) => false,
            };
        }
    }

    fn look(&mut self, asked: bool, patience: Duration) {
        let news = self.folder.look(asked, patience, Instant::now());
        self.take(news);
    }

    fn take(&mut self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let table = Table { problems: self.folder.problems(), ..Table::new(self.folder.pairs()) };
        self.certificates.0.store(Arc::new(table));
        let metrics = self.metrics.tls();
        for news in news {
            match news {
                News::Taken(pair) => {
                    let label = CertificateName { certificate: pair.name.to_string() };
                    metrics.expiry.get_or_create(&label).set(pair.expires.as_second());
                    announce(&pair);
                }
                News::Gone(name) => {
                    metrics.expiry.remove(&CertificateName { certificate: name.to_string() });
                    info!(certificate = &*name, "certificate {name} is gone");
                }
                News::Good(name) => info!(certificate = &*name, "certificate {name}: its files are good again"),
                News::Bad(what, problem) => warn!(certificate = &*what, "certificates: {problem}"),
            }
        }
        metrics.faults.set(i64::try_from(self.folder.problems().len()).unwrap_or(i64::MAX));
    }
}

fn announce(pair: &Pair) {
    let Pair { name, key: _, names, expires } = pair;
    let served = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
    match *expires < Timestamp::now() {
        true => warn!(certificate = &**name, "certificate {name} ({served}) has expired on {expires}"),
        false => info!(certificate = &**name, "certificate {name} ({served}), until {expires}"),
    }
}

#[cfg(test)]
mod tests;
