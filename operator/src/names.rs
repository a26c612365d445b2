//! The addresses of the DNS names that stand in one namespace as endpoints, for its NetworkPolicies: those of a name itself,
//! and those of the mail servers of a domain.
//!
//! The relay looks a name up for itself; the policy must let it through to whatever it may have been told. So the
//! addresses of a name are the union of its answers of the last 24 hours ([`crate::history`], which also outlives the
//! operator), asked again when they run out; when DNS fails, those that are known stay. A name counts as known from its first
//! answer or failure on, which is a few seconds at most; and one that is new to a namespace of which all were known, after a
//! moment: that its name server is slow holds up nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use jiff::Timestamp;
use postern_wire::snapshot::HostName;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::history::{Answers, Heard, History};

/// Bounds of the time until a name is asked again, whatever its TTL.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// After a failure.
const AGAIN_FAILED: Duration = Duration::from_secs(30);
/// For one look-up with all its attempts: so long at most do names hold up their namespace when the operator starts.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// So long at most does a name hold up its namespace that comes later.
const PATIENCE: Duration = Duration::from_secs(1);
/// Mail servers of one domain, the preferred ones first: as many as a relay can be told to try.
const MX_MAX: usize = 256;
/// Look-ups under way.
const AT_ONCE: usize = 32;

/// Every name of interest and its addresses.
pub(crate) struct Names {
    wanted: watch::Sender<BTreeSet<HostName>>,
    known: Arc<Mutex<BTreeMap<HostName, Known>>>,
    /// Whether once all names were known.
    settled: AtomicBool,
}

/// What is known of one name.
struct Known {
    /// Since when it has been of interest.
    since: Instant,
    heard: Heard,
    /// Whether what an operator before wrote down is among it.
    recalled: bool,
    /// When it is to be looked up again. `None`: it never was.
    again: Option<Instant>,
}

impl Default for Known {
    fn default() -> Self {
        Self { since: Instant::now(), heard: Heard::default(), recalled: false, again: None }
    }
}

/// What is known of all the names that were asked for.
pub(crate) struct Resolved {
    pub(crate) addresses: BTreeMap<HostName, BTreeSet<IpAddr>>,
    /// What is to be written down of it.
    pub(crate) history: History,
}

impl Names {
    /// Starts looking up; `changed` is woken when the addresses of a name are others than before.
    /// `servers`: whom to ask; empty: those of the system.
    pub(crate) fn start(servers: &[SocketAddr], changed: Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        let (wanted, names) = watch::channel(BTreeSet::new());
        let known: Arc<Mutex<BTreeMap<HostName, Known>>> = Arc::default();
        tasks.spawn(run_out_of_patience(names.clone(), changed.clone()));
        tasks.spawn(keep_current(resolver(servers), names, known.clone(), changed));
        Self { wanted, known, settled: AtomicBool::new(false) }
    }

    /// The addresses of these names; `None` while one must be waited for. `written` is what an operator before wrote
    /// down: it is asked for when there is a name of which it has not been taken yet.
    pub(crate) fn resolved(&self, names: &BTreeSet<HostName>, written: impl FnOnce() -> History) -> Option<Resolved> {
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted != names;
            wanted.clone_from(names);
            differs
        });
        let mut known = lock(&self.known);
        let is_new = |name: &&HostName| known.get(name).is_none_or(|known| !known.recalled);
        let new: Vec<_> = names.iter().filter(is_new).collect();
        let (written, now) = (if new.is_empty() { History::new() } else { written() }, Timestamp::now());
        for name in new {
            let known = known.entry(name.clone()).or_default();
            known.heard.recall(written.get(name).unwrap_or(&Answers::new()), now);
            known.recalled = true;
        }
        let known: Vec<_> = names.iter().map(|name| Some((name, known.get(name)?))).collect::<Option<_>>()?;
        let missing = || known.iter().map(|(_, known)| known).filter(|known| known.again.is_none());
        if missing().next().is_none() {
            self.settled.store(true, Ordering::Relaxed);
        } else if !self.settled.load(Ordering::Relaxed) || missing().any(|known| known.since.elapsed() < PATIENCE) {
            return None;
        }
        let known: Vec<_> = known.into_iter().map(|(name, known)| (name, &known.heard)).collect();
        Some(Resolved {
            addresses: known.iter().map(|(name, heard)| ((*name).clone(), heard.addresses().collect())).collect(),
            history: known.iter().map(|(name, heard)| ((*name).clone(), heard.written().clone())).collect(),
        })
    }
}

fn resolver(servers: &[SocketAddr]) -> Option<TokioResolver> {
    let built = match servers {
        [] => TokioResolver::builder_tokio().and_then(|builder| builder.build()),
        servers => {
            let config = ResolverConfig::from_name_servers(servers.iter().copied().map(name_server).collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
        }
    };
    built.inspect_err(|error| warn!(%error, "no DNS: endpoints that are names stay closed")).ok()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

async fn keep_current(
    resolver: Option<TokioResolver>,
    mut names: watch::Receiver<BTreeSet<HostName>>,
    known: Arc<Mutex<BTreeMap<HostName, Known>>>,
    changed: Arc<Notify>,
) {
    let mut under_way = BTreeSet::new();
    let mut look_ups = FuturesUnordered::new();
    loop {
        let wanted = names.borrow_and_update().clone();
        lock(&known).retain(|name, _| wanted.contains(name));
        let due = wanted.iter().filter(|name| is_due(&known, name) && !under_way.contains(*name));
        let due: Vec<HostName> = due.take(AT_ONCE.saturating_sub(look_ups.len())).cloned().collect();
        for name in due {
            look_ups.push(look_up(resolver.as_ref(), name.clone()));
            under_way.insert(name);
        }
        // With as many under way as there may be, the next one begins when one ends.
        let next = (look_ups.len() < AT_ONCE).then(|| {
            let known = lock(&known);
            let resting = known.iter().filter(|(name, _)| !under_way.contains(*name));
            resting.filter_map(|(_, known)| known.again).min()
        });
        tokio::select! {
            closed = names.changed() => if closed.is_err() { return },
            Some((name, addresses, again)) = look_ups.next() => {
                under_way.remove(&name);
                if take(&known, &name, addresses, again) {
                    changed.notify_one();
                }
            }
            () = sleep_until(next.flatten()) => {}
        }
    }
}

/// Wakes a namespace that waits for a name, when it is to wait no longer.
async fn run_out_of_patience(mut names: watch::Receiver<BTreeSet<HostName>>, changed: Arc<Notify>) {
    while names.changed().await.is_ok() {
        tokio::time::sleep(PATIENCE).await;
        changed.notify_one();
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn is_due(known: &Mutex<BTreeMap<HostName, Known>>, name: &HostName) -> bool {
    lock(known).get(name).and_then(|known| known.again).is_none_or(|again| again <= Instant::now())
}

/// The addresses of a name and when to ask again.
async fn look_up(resolver: Option<&TokioResolver>, name: HostName) -> (HostName, Vec<IpAddr>, Duration) {
    let Some(resolver) = resolver else { return (name, Vec::new(), AGAIN_FAILED) };
    let answer = async {
        match &name {
            HostName::A(name) => addresses(resolver, name).await,
            HostName::Mx(domain) => mail_servers(resolver, domain).await,
        }
    };
    match tokio::time::timeout(LOOKUP_MAX, answer).await {
        Ok(Ok((addresses, until))) => {
            let left = until.saturating_duration_since(Instant::now().into_std());
            (name, addresses, left.clamp(AGAIN.0, AGAIN.1))
        }
        Ok(Err(error)) => {
            warn!(?name, %error, "look-up failed, the known addresses stay");
            (name, Vec::new(), AGAIN_FAILED)
        }
        Err(_) => {
            warn!(?name, "look-up took too long, the known addresses stay");
            (name, Vec::new(), AGAIN_FAILED)
        }
    }
}

/// Addresses, and until when they are to be believed.
type Answer = (Vec<IpAddr>, std::time::Instant);

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Answer, NetError> {
    // With its final dot: a search list would make another name of it.
    let found = resolver.lookup_ip(format!("{}.", name.trim_end_matches('.'))).await?;
    Ok((found.iter().collect(), found.valid_until()))
}

/// The addresses of a domain's mail servers (RFC 5321, section 5.1): of every MX, so that a relay that falls back to the
/// next finds it open. A domain without any is its own; one with the null MX (RFC 7505) has none. Of an MX that cannot be
/// looked up the known addresses stay.
async fn mail_servers(resolver: &TokioResolver, domain: &str) -> Result<Answer, NetError> {
    let found = match resolver.mx_lookup(format!("{domain}.")).await {
        Err(error) if error.is_no_records_found() && !error.is_nx_domain() => return addresses(resolver, domain).await,
        found => found?,
    };
    let exchanges = found.answers().iter().filter_map(|record| match &record.data {
        RData::MX(mx) if !mx.exchange.is_root() => Some((mx.preference, mx.exchange.to_ascii())),
        _ => None,
    });
    let exchanges: BTreeSet<_> = exchanges.collect();
    let mut until = found.valid_until();
    let mut all = Vec::new();
    let servers = exchanges.iter().take(MX_MAX).map(|(_, name)| addresses(resolver, name));
    for (server, (_, name)) in join_all(servers).await.into_iter().zip(&exchanges) {
        match server {
            Ok((addresses, valid_until)) => {
                all.extend(addresses);
                until = until.min(valid_until);
            }
            Err(error) => {
                warn!(domain, name, %error, "look-up of an MX failed, its known addresses stay");
                until = until.min(Instant::now().into_std() + AGAIN_FAILED);
            }
        }
    }
    Ok((all, until))
}

/// Whether there is something else to be done for the name than before, or it is known for the first time.
fn take(known: &Mutex<BTreeMap<HostName, Known>>, name: &HostName, addresses: Vec<IpAddr>, again: Duration) -> bool {
    let mut known = lock(known);
    let known = known.entry(name.clone()).or_default();
    let first = known.again.replace(Instant::now() + again).is_none();
    let differs = known.heard.hear(addresses, Timestamp::now()) || first;
    if differs {
        info!(?name, addresses = ?known.heard.addresses().collect::<Vec<_>>(), "resolved");
    }
    differs
}

fn lock(known: &Mutex<BTreeMap<HostName, Known>>) -> MutexGuard<'_, BTreeMap<HostName, Known>> {
    // Nothing that runs under the lock leaves the map half changed.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    const A: u16 = 1;
    const MX: u16 = 15;
    const SECONDS: u32 = 60;

    /// The records of one name and type; `None`: the name does not exist.
    fn zone(name: &str, kind: u16) -> Option<Vec<Vec<u8>>> {
        let wire = |name: &str| {
            let labels = name.split('.').filter(|label| !label.is_empty());
            let mut wire: Vec<u8> =
                labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
            wire.push(0);
            wire
        };
        let mx = |preference: u16, name: &str| [preference.to_be_bytes().to_vec(), wire(name)].concat();
        Some(match (name, kind) {
            ("many.example.", MX) => vec![mx(20, "b.example."), mx(10, "a.example."), mx(30, "gone.example.")],
            ("null.example.", MX) => vec![mx(0, ".")],
            ("a.example." | "bare.example.", A) => vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]],
            ("b.example.", A) => vec![vec![192, 0, 2, 3]],
            ("many.example." | "null.example." | "bare.example." | "a.example." | "b.example.", _) => Vec::new(),
            _ => return None,
        })
    }

    fn reply(question: &[u8]) -> Vec<u8> {
        let mut name = String::new();
        let mut at = 12;
        while question[at] > 0 {
            let end = at + 1 + usize::from(question[at]);
            name += std::str::from_utf8(&question[at + 1..end]).expect("ASCII");
            name.push('.');
            at = end;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let records = zone(&name, kind);
        let flags: u16 = if records.is_some() { 0x8180 } else { 0x8183 };
        let records = records.unwrap_or_default();
        let mut reply = question[..2].to_vec();
        for number in [flags, 1, records.len() as u16, 0, 0] {
            reply.extend(number.to_be_bytes());
        }
        reply.extend(&question[12..at + 5]);
        for data in records {
            reply.extend([0xc0, 12]);
            reply.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
            reply.extend(SECONDS.to_be_bytes());
            reply.extend((data.len() as u16).to_be_bytes());
            reply.extend(data);
        }
        reply
    }

    async fn server(tasks: &mut JoinSet<()>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = socket.local_addr().expect("an address");
        tasks.spawn(async move {
            let mut question = [0; 512];
            while let Ok((octets, from)) = socket.recv_from(&mut question).await {
                if question[..octets].windows(7).any(|part| part == b"\x06silent") {
                    continue;
                }
                let _ = socket.send_to(&reply(&question[..octets]), from).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn the_mail_servers_of_a_domain_are_those_of_its_mx_or_itself() {
        let mut tasks = JoinSet::new();
        let resolver = resolver(&[server(&mut tasks).await]).expect("a resolver");
        // With whether all that there is to know is known: what is not is asked again sooner than it runs out.
        for (domain, expected, whole) in [
            ("many.example", vec![1, 2, 3], false), // of the MX that does not exist nothing is known
            ("bare.example", vec![1, 2], true),
            ("null.example", vec![], true),
            ("gone.example", vec![], false),
        ] {
            let (_, mut found, again) = look_up(Some(&resolver), HostName::Mx(domain.to_owned())).await;
            found.sort();
            let wanted: Vec<IpAddr> = expected.into_iter().map(|last| [192, 0, 2, last].into()).collect();
            assert_eq!(found, wanted, "{domain}");
            assert_eq!(again > AGAIN_FAILED, whole, "{domain}: {again:?}");
        }
    }

    #[tokio::test]
    async fn a_new_name_that_nobody_answers_for_holds_up_the_others_for_a_moment_only() {
        let (mut tasks, changed) = (JoinSet::new(), Arc::new(Notify::new()));
        let names = Names::start(&[server(&mut tasks).await], changed.clone(), &mut tasks);
        let resolved = async |wanted: &[&str]| {
            let begun = Instant::now();
            let wanted = wanted.iter().map(|name| HostName::A((*name).to_owned())).collect();
            loop {
                match names.resolved(&wanted, History::new) {
                    Some(resolved) => {
                        let counts = resolved.addresses.into_values().map(|addresses| addresses.len()).collect();
                        break (begun.elapsed(), counts);
                    }
                    None => changed.notified().await,
                }
            }
        };
        // At the start all of them are waited for.
        let (took, counts): (Duration, Vec<usize>) = resolved(&["b.example", "silent.example"]).await;
        assert!(took >= LOOKUP_MAX && counts == [1, 0], "{counts:?} after {took:?}");
        let (took, counts) = resolved(&["b.example", "silent.example", "silent.again.example"]).await;
        assert!((PATIENCE..LOOKUP_MAX).contains(&took) && counts == [1, 0, 0], "{counts:?} after {took:?}");
        // And while nobody answers for it another one is looked up.
        let (_, counts) = resolved(&["a.example", "b.example", "silent.again.example", "silent.example"]).await;
        assert_eq!(counts, [2, 1, 0, 0]);
    }

    #[tokio::test]
    async fn what_an_operator_before_wrote_down_is_part_of_the_first_answer() {
        let (mut tasks, changed) = (JoinSet::new(), Arc::new(Notify::new()));
        let names = Names::start(&[server(&mut tasks).await], changed.clone(), &mut tasks);
        let name = HostName::A("b.example".to_owned());
        let old = Answers::from([([192, 0, 2, 99].into(), Timestamp::now())]);
        let written = History::from([(name.clone(), old), (HostName::A("other.example".to_owned()), Answers::new())]);
        let resolved = loop {
            match names.resolved(&BTreeSet::from([name.clone()]), || written.clone()) {
                Some(resolved) => break resolved,
                None => changed.notified().await,
            }
        };
        let both = [[192, 0, 2, 3].into(), [192, 0, 2, 99].into()];
        assert_eq!(resolved.addresses, BTreeMap::from([(name.clone(), BTreeSet::from(both))]));
        assert_eq!(resolved.history[&name].keys().copied().collect::<Vec<_>>(), both);
    }
}
