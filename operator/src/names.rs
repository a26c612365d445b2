//! The addresses of the DNS names that stand in one namespace as endpoints, for its NetworkPolicies: those of a name itself,
//! and those of the mail servers of a domain.
//!
//! The relay looks a name up for itself; the policy must let it through to whatever it may have been told. So the
//! addresses of a name are the union of its answers of the last 24 hours, asked again when they run out; when DNS fails,
//! those that are known stay. A name counts as known from its first answer or failure on, which is a few seconds at most.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use postern_wire::snapshot::HostName;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long an answer is believed after it was last heard.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// Bounds of the time until a name is asked again, whatever its TTL.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// After a failure.
const AGAIN_FAILED: Duration = Duration::from_secs(30);
/// For one look-up with all its attempts: so long at most does a new name hold up its namespace, once.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Mail servers of one domain, the preferred ones first: as many as a relay can be told to try.
const MX_MAX: usize = 256;
/// Look-ups under way.
const AT_ONCE: usize = 32;

/// Every name of interest and its addresses.
pub(crate) struct Names {
    wanted: watch::Sender<BTreeSet<HostName>>,
    known: Arc<Mutex<BTreeMap<HostName, Answers>>>,
}

struct Answers {
    heard: BTreeMap<IpAddr, Instant>,
    again: Instant,
}

impl Names {
    /// Starts looking up; `changed` is woken when the addresses of a name are others than before.
    pub(crate) fn start(changed: Arc<Notify>, tasks: &mut JoinSet<()>) -> Self {
        let (wanted, names) = watch::channel(BTreeSet::new());
        let known: Arc<Mutex<BTreeMap<HostName, Answers>>> = Arc::default();
        tasks.spawn(keep_current(names, known.clone(), changed));
        Self { wanted, known }
    }

    /// The addresses of these names; `None` until each has been looked up once.
    pub(crate) fn resolved(&self, names: &BTreeSet<HostName>) -> Option<BTreeMap<HostName, BTreeSet<IpAddr>>> {
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted != names;
            wanted.clone_from(names);
            differs
        });
        let known = lock(&self.known);
        let addresses = |name: &HostName| known.get(name).map(|answers| answers.heard.keys().copied().collect());
        names.iter().map(|name| Some((name.clone(), addresses(name)?))).collect()
    }
}

async fn keep_current(
    mut names: watch::Receiver<BTreeSet<HostName>>,
    known: Arc<Mutex<BTreeMap<HostName, Answers>>>,
    changed: Arc<Notify>,
) {
    let resolver = match TokioResolver::builder_tokio().and_then(|builder| builder.build()) {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            warn!(%error, "no DNS: endpoints that are names stay closed");
            None
        }
    };
    loop {
        let wanted = names.borrow_and_update().clone();
        lock(&known).retain(|name, _| wanted.contains(name));
        let due: Vec<HostName> = wanted.into_iter().filter(|name| is_due(&known, name)).collect();
        let look_ups = stream::iter(due).map(|name| look_up(resolver.as_ref(), name)).buffer_unordered(AT_ONCE);
        let mut answers = pin!(look_ups);
        while let Some((name, addresses, again)) = answers.next().await {
            if take(&known, &name, addresses, again) {
                changed.notify_one();
            }
        }
        let next = lock(&known).values().map(|answers| answers.again).min();
        tokio::select! {
            closed = names.changed() => if closed.is_err() { return },
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn is_due(known: &Mutex<BTreeMap<HostName, Answers>>, name: &HostName) -> bool {
    lock(known).get(name).is_none_or(|answers| answers.again <= Instant::now())
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

/// Whether the name's addresses are others than before, or known for the first time.
fn take(known: &Mutex<BTreeMap<HostName, Answers>>, name: &HostName, addresses: Vec<IpAddr>, again: Duration) -> bool {
    let now = Instant::now();
    let mut known = lock(known);
    let first = !known.contains_key(name);
    let answers = known.entry(name.clone()).or_insert_with(|| Answers { heard: BTreeMap::new(), again: now });
    let before: Vec<IpAddr> = answers.heard.keys().copied().collect();
    answers.again = now + again;
    answers.heard.extend(addresses.into_iter().map(|address| (address, now)));
    answers.heard.retain(|_, heard| now.duration_since(*heard) < BELIEVED);
    let differs = first || !answers.heard.keys().eq(&before);
    if differs {
        info!(?name, addresses = ?answers.heard.keys().collect::<Vec<_>>(), "resolved");
    }
    differs
}

fn lock(known: &Mutex<BTreeMap<HostName, Answers>>) -> MutexGuard<'_, BTreeMap<HostName, Answers>> {
    // Nothing that runs under the lock leaves the map half changed.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
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

    async fn resolver(tasks: &mut JoinSet<()>) -> TokioResolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = socket.local_addr().expect("an address");
        tasks.spawn(async move {
            let mut question = [0; 512];
            while let Ok((octets, from)) = socket.recv_from(&mut question).await {
                let _ = socket.send_to(&reply(&question[..octets]), from).await;
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().expect("a resolver")
    }

    #[tokio::test]
    async fn the_mail_servers_of_a_domain_are_those_of_its_mx_or_itself() {
        let mut tasks = JoinSet::new();
        let resolver = resolver(&mut tasks).await;
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
}
