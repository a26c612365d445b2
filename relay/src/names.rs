//! Keeps the addresses of the names in the settings current: those that are sources, and those that are blocked clients. Each
//! is looked up again when its TTL is over, within bounds.
//!
//! When the DNS fails, what it told last stays. For a source that is over after `--name-keep`: then its clients are told to come
//! again, and nobody relays by an address that may be somebody else's by now. For a blocked client it stays for as long as it
//! stands in the settings. When the DNS says that a name, or its addresses, are no more, a source is nobody at once; a blocked
//! client stays blocked where it was, for whoever owns the name could otherwise end the block.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use postern_wire::snapshot::HostName;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{Live, LiveNames};
use crate::dns::exchange::{self, Meaning};
use crate::dns::{Failure, Lookup};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::policy::resolved::{Answers, Resolved};
use crate::shutdown::{Shutdown, Stage};

/// How often the settings and the clock are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Look-ups under way.
const AT_ONCE: usize = 32;
/// The wait after a look-up that found nothing, within the bounds of the limits.
const NOTHING: Duration = Duration::from_secs(30);

/// What it works with.
pub struct Options {
    /// The settings in force: their names are kept current.
    pub live: Live,
    /// Where the answers are put.
    pub names: LiveNames,
    /// Who is asked.
    pub lookup: Arc<dyn Lookup>,
    /// How often, and for how long an answer is kept.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
}

/// Keeps them current until the relay ends. `first` is told when each name of the first settings was looked up once.
pub async fn run(options: Options, first: oneshot::Sender<()>, shutdown: Shutdown) {
    let mut keeper = Keeper { known: BTreeMap::new(), options };
    let (mut looking, mut first) = (FuturesUnordered::new(), Some(first));
    let mut under_way = HashSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    keeper.follow_settings();
    loop {
        let free = AT_ONCE.saturating_sub(under_way.len());
        for name in keeper.due(&under_way).into_iter().take(free) {
            under_way.insert(name.clone());
            let (lookup, hosts_max) = (Arc::clone(&keeper.options.lookup), keeper.options.limits.mx_hosts);
            looking.push(async move {
                let found = look_up(&*lookup, &name, hosts_max).await;
                (name, found)
            });
        }
        if keeper.known.values().all(|known| known.looked) {
            // Whoever waited may have given up.
            first.take().map(|first| first.send(()));
        }
        tokio::select! {
            Some((name, found)) = looking.next() => {
                under_way.remove(&name);
                keeper.take(&name, found);
            }
            _ = tick.tick() => keeper.follow_settings(),
            () = shutdown.reached(Stage::Ended) => return,
        }
    }
}

/// What one look-up came to.
#[derive(Debug)]
enum Looked {
    /// These addresses, for so long; not all of them when the DNS failed for some.
    Found { addresses: BTreeSet<IpAddr>, ttl: Duration, complete: bool },
    /// The DNS says that there are none.
    None,
    /// The DNS has said nothing.
    Failed(String),
}

/// The addresses that one name stands for now; none when the DNS says so.
///
/// # Errors
/// What is wrong with the DNS, when it has told nothing.
pub async fn addresses(lookup: &dyn Lookup, name: &HostName, limits: &Limits) -> Result<BTreeSet<IpAddr>, String> {
    match look_up(lookup, name, limits.mx_hosts).await {
        Looked::Found { addresses, ttl: _, complete: _ } => Ok(addresses),
        Looked::None => Ok(BTreeSet::new()),
        Looked::Failed(why) => Err(why),
    }
}

async fn look_up(lookup: &dyn Lookup, name: &HostName, hosts_max: u64) -> Looked {
    let domain = match name {
        HostName::A(name) => return one(lookup, name).await,
        HostName::Mx(domain) => domain,
    };
    let (records, ttl) = match lookup.exchanges(domain).await {
        Ok(answer) => (answer.records, answer.ttl),
        Err(Failure::NoSuchName | Failure::NoData) => return Looked::None,
        Err(Failure::Temporary(why)) => return Looked::Failed(why),
    };
    // Each counts as much as any other: no chance is needed.
    let hosts_max = usize::try_from(hosts_max).unwrap_or(usize::MAX);
    let Meaning::Hosts(tiers) = exchange::read(&records, hosts_max, |_| 0) else { return Looked::None };
    let looked = join_all(tiers.iter().flat_map(|tier| &tier.hosts).map(|host| one(lookup, host))).await;
    looked.into_iter().fold(Looked::None, and).within(ttl)
}

async fn one(lookup: &dyn Lookup, name: &str) -> Looked {
    match lookup.addresses(name).await {
        Ok(answer) => Looked::Found {
            addresses: answer.records.iter().map(IpAddr::to_canonical).collect(),
            ttl: answer.ttl,
            complete: answer.complete,
        },
        Err(Failure::NoSuchName | Failure::NoData) => Looked::None,
        Err(Failure::Temporary(why)) => Looked::Failed(why),
    }
}

/// What two names stand for together.
fn and(one: Looked, other: Looked) -> Looked {
    match (one, other) {
        (Looked::None, looked) | (looked, Looked::None) => looked,
        (Looked::Failed(why), Looked::Failed(_)) => Looked::Failed(why),
        (Looked::Failed(_), Looked::Found { addresses, ttl, .. })
        | (Looked::Found { addresses, ttl, .. }, Looked::Failed(_)) => {
            Looked::Found { addresses, ttl, complete: false }
        }
        (
            Looked::Found { mut addresses, ttl, complete },
            Looked::Found { addresses: more, ttl: other, complete: all },
        ) => {
            addresses.extend(more);
            Looked::Found { addresses, ttl: ttl.min(other), complete: complete && all }
        }
    }
}

impl Looked {
    fn within(self, most: Duration) -> Self {
        match self {
            Self::Found { addresses, ttl, complete } => Self::Found { addresses, ttl: ttl.min(most), complete },
            other => other,
        }
    }
}

struct Keeper {
    options: Options,
    known: BTreeMap<HostName, Known>,
}

/// One name.
struct Known {
    /// For a source: what the DNS has told.
    sources: BTreeSet<IpAddr>,
    /// For a blocked client: the last addresses that it had.
    blocked: BTreeSet<IpAddr>,
    /// When the DNS last told it, if that is still believed.
    heard: Option<Instant>,
    problem: Option<String>,
    again: Instant,
    looked: bool,
}

impl Keeper {
    /// Forgets the names that the settings do not hold any more, and takes up new ones.
    fn follow_settings(&mut self) {
        let rules = self.options.live.load().rules.clone();
        let (sources, blocked) = rules.names();
        let wanted: BTreeSet<&HostName> = sources.chain(blocked).collect();
        let before = self.known.len();
        self.known.retain(|name, _| wanted.contains(name));
        let mut differs = self.known.len() != before;
        let now = Instant::now();
        for name in wanted {
            if !self.known.contains_key(name) {
                let (sources, blocked) = (BTreeSet::new(), BTreeSet::new());
                let new = Known { sources, blocked, heard: None, problem: None, again: now, looked: false };
                self.known.insert(name.clone(), new);
                differs = true;
            }
        }
        if differs {
            self.publish();
        }
    }

    fn due(&self, under_way: &HashSet<HostName>) -> Vec<HostName> {
        let now = Instant::now();
        let due = self.known.iter().filter(|(name, known)| known.again <= now && !under_way.contains(*name));
        due.map(|(name, _)| name.clone()).collect()
    }

    fn take(&mut self, name: &HostName, found: Looked) {
        let limits = &self.options.limits;
        // It may have left the settings in the meantime.
        let Some(known) = self.known.get_mut(name) else { return };
        let was_failing = known.problem.is_some();
        let wait = known.take(found, Instant::now(), limits.name_keep);
        known.again = Instant::now() + wait.unwrap_or(NOTHING).max(limits.name_ttl_min).min(limits.name_ttl_max);
        let text = match name {
            HostName::A(name) => format!("a {name}"),
            HostName::Mx(domain) => format!("mx {domain}"),
        };
        match &known.problem {
            Some(problem) if !was_failing => tracing::warn!(name = text, problem, "what is known of this name stays"),
            None if was_failing => tracing::info!(name = text, "this name is found again"),
            _ => {}
        }
        self.publish();
    }

    fn publish(&self) {
        let lists: Vec<(Option<Vec<IpAddr>>, Vec<IpAddr>)> = self
            .known
            .values()
            .map(|known| {
                let sources = known.heard.map(|_| known.sources.iter().copied().collect());
                (sources, known.blocked.iter().copied().collect())
            })
            .collect();
        let answers = self.known.iter().zip(&lists).map(|((name, known), (sources, blocked))| Answers {
            name,
            sources: sources.as_deref(),
            blocked,
            problem: known.problem.as_deref(),
        });
        self.options.names.store(Arc::new(Resolved::new(answers)));
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = self.options.metrics.dns();
        metrics.names.set(gauge(self.known.len()));
        metrics.failing_names.set(gauge(self.known.values().filter(|known| known.problem.is_some()).count()));
        metrics.addresses.set(gauge(self.known.values().map(|known| known.sources.len()).sum()));
    }
}

impl Known {
    /// When the DNS has told something, for how long.
    fn take(&mut self, found: Looked, now: Instant, keep: Duration) -> Option<Duration> {
        self.looked = true;
        match found {
            Looked::Found { addresses, ttl, complete } => {
                self.problem = (!complete).then(|| "not all of its addresses were told".to_owned());
                if complete || !self.is_believed(now, keep) {
                    (self.sources, self.heard) = (addresses, Some(now));
                } else {
                    self.sources.extend(addresses);
                }
                self.blocked.clone_from(&self.sources);
                Some(ttl)
            }
            Looked::None => {
                self.sources.clear();
                (self.heard, self.problem) = (Some(now), None);
                None
            }
            Looked::Failed(why) => {
                self.problem = Some(why);
                if !self.is_believed(now, keep) {
                    self.sources.clear();
                    self.heard = None;
                }
                None
            }
        }
    }

    fn is_believed(&self, now: Instant, keep: Duration) -> bool {
        self.heard.is_some_and(|heard| now.duration_since(heard) < keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(100);

    fn found(addresses: &[[u8; 4]], complete: bool) -> Looked {
        let addresses = addresses.iter().map(|address| IpAddr::from(*address)).collect();
        Looked::Found { addresses, ttl: Duration::from_secs(7), complete }
    }

    fn known(now: Instant) -> Known {
        let (sources, blocked) = (BTreeSet::new(), BTreeSet::new());
        Known { sources, blocked, heard: None, problem: None, again: now, looked: false }
    }

    fn lists(known: &Known) -> (usize, usize, bool) {
        (known.sources.len(), known.blocked.len(), known.heard.is_some())
    }

    #[test]
    fn what_the_dns_told_last_stays_when_it_fails_and_not_for_ever() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let failed = || Looked::Failed("SERVFAIL".to_owned());
        let mut known = known(start);
        known.take(failed(), start, KEEP);
        assert_eq!((lists(&known), known.looked), ((0, 0, false), true));
        assert_eq!(known.take(found(&[[10, 0, 0, 1], [10, 0, 0, 2]], true), start, KEEP), Some(Duration::from_secs(7)));
        assert_eq!((lists(&known), known.problem.is_none()), ((2, 2, true), true));
        known.take(failed(), after(99), KEEP);
        assert_eq!((lists(&known), known.problem.is_some()), ((2, 2, true), true));
        known.take(failed(), after(100), KEEP);
        assert_eq!(lists(&known), (0, 2, false));
    }

    #[test]
    fn what_the_dns_denies_is_no_source_any_more_and_stays_blocked() {
        let now = Instant::now();
        let mut known = known(now);
        known.take(found(&[[10, 0, 0, 1]], true), now, KEEP);
        known.take(Looked::None, now, KEEP);
        assert_eq!((lists(&known), known.problem.is_none()), ((0, 1, true), true));
        known.take(found(&[[10, 0, 0, 2]], true), now, KEEP);
        assert_eq!(known.blocked, BTreeSet::from([IpAddr::from([10, 0, 0, 2])]));
    }

    #[test]
    fn half_an_answer_takes_nothing_away() {
        let now = Instant::now();
        let mut known = known(now);
        known.take(found(&[[10, 0, 0, 1]], false), now, KEEP);
        assert_eq!((lists(&known), known.problem.is_some()), ((1, 1, true), true));
        known.take(found(&[[10, 0, 0, 2]], false), now, KEEP);
        assert_eq!(lists(&known), (2, 2, true));
        known.take(found(&[[10, 0, 0, 3]], true), now, KEEP);
        assert_eq!(known.sources, BTreeSet::from([IpAddr::from([10, 0, 0, 3])]));
        known.take(found(&[[10, 0, 0, 4]], false), now + KEEP, KEEP);
        assert_eq!(known.sources, BTreeSet::from([IpAddr::from([10, 0, 0, 4])]));
    }
}
