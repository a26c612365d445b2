//! Asks recursive name servers over UDP, and over TCP what is too long for that. The C library has no part in it, so a static
//! program in an empty image resolves like any other.
//!
//! `/etc/hosts` wins over the DNS for the names in it, as everywhere else. It and `/etc/resolv.conf` are read once, at the
//! start. What is remembered is only what was asked for, cut to its bounds, never a whole message.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use moka::sync::Cache;
use tokio::time::{Instant, timeout};

use super::exchange::is_host;
use super::{Answer, Exchange, Failure, Lookup};
use crate::limits::Limits;
use crate::metrics::{Metrics, Question, Said};

/// Repetitions of a question that got no answer.
const ATTEMPTS: usize = 2;
/// Questions under way to one name server; more wait for a moment.
const UNDER_WAY: usize = 512;
/// Aliases (CNAME) followed in one answer.
const ALIASES_MAX: usize = 16;
/// Addresses of each kind and mail exchangers of one name that are kept. Nobody has so many who means well.
const RECORDS_MAX: usize = 256;

/// How long things may take and last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// One look-up with all its repetitions and aliases.
    pub whole: Duration,
    /// One try.
    pub one: Duration,
    /// The longest that an answer is believed, whatever its TTL.
    pub ttl_max: Duration,
    /// The longest that it is believed that something does not exist.
    pub negative_ttl_max: Duration,
    /// How long it is remembered that nobody answered.
    pub failure: Duration,
}

impl From<&Limits> for Times {
    fn from(limits: &Limits) -> Self {
        Self {
            whole: limits.dns_time,
            one: limits.dns_try_time,
            ttl_max: limits.dns_ttl_max,
            negative_ttl_max: limits.dns_negative_ttl_max,
            failure: limits.dns_failure_time,
        }
    }
}

/// See the module's description. Cheap to clone: clones share their memory.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    /// Or why there is nobody to ask.
    servers: Result<TokioResolver, String>,
    hosts: Hosts,
    times: Times,
    metrics: Metrics,
    addresses: Memory<IpAddr>,
    exchanges: Memory<Exchange>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("times", &self.shared.times).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks these servers, or without any those of `/etc/resolv.conf`. Without those either every question fails for the
    /// moment, and the log says why, once.
    pub fn new(servers: &[SocketAddr], limits: &Limits, metrics: Metrics) -> Self {
        let times = Times::from(limits);
        let config = match servers {
            [] => system_conf::read_system_conf()
                .map(|(config, _)| ResolverConfig::from_parts(None, Vec::new(), config.name_servers))
                .map_err(|error| format!("/etc/resolv.conf: {error}")),
            servers => Ok(ResolverConfig::from_name_servers(servers.iter().copied().map(name_server).collect())),
        };
        let servers = config.and_then(|config| {
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = options(&times);
            builder.build().map_err(|error| error.to_string())
        });
        if let Err(why) = &servers {
            tracing::warn!("no name server can be asked, names are not found: {why}");
        }
        // Half for each kind. Without a hosts file there are simply no names in it.
        let octets = limits.dns_memory / 2;
        let (hosts, addresses, exchanges) =
            (Hosts::from_system().unwrap_or_default(), Memory::new(octets), Memory::new(octets));
        Self { shared: Arc::new(Shared { servers, hosts, times, metrics, addresses, exchanges }) }
    }
}

impl Lookup for Resolver {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, Failure>> {
        let shared = &*self.shared;
        Box::pin(shared.remembered(&shared.addresses, Question::Addresses, name, |name| shared.both(name)))
    }

    fn exchanges<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Answer<Exchange>, Failure>> {
        let shared = &*self.shared;
        Box::pin(shared.remembered(&shared.exchanges, Question::Exchanges, domain, |name| shared.mx(name)))
    }
}

impl Shared {
    /// From memory, or by asking, which is then remembered and counted.
    async fn remembered<T, F>(
        &self,
        memory: &Memory<T>,
        question: Question,
        name: &str,
        ask: impl FnOnce(Name) -> F,
    ) -> Result<Answer<T>, Failure>
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<Found<T>, NoFound>>,
    {
        let key: Arc<str> = name.to_ascii_lowercase().into();
        if let Some(known) = memory.get(&key) {
            return known;
        }
        let found = match whole_name(&key) {
            None => Err(NoFound { failure: Failure::NoSuchName, ttl: self.times.negative_ttl_max }),
            Some(name) => timeout(self.times.whole, ask(name)).await.unwrap_or_else(|_| {
                let text = format!("no answer from the name servers within {} s", self.times.whole.as_secs());
                Err(self.temporary(text))
            }),
        };
        let said = match &found {
            Ok(_) => Said::Answered,
            Err(NoFound { failure: Failure::NoSuchName, .. }) => Said::NoSuchName,
            Err(NoFound { failure: Failure::NoData, .. }) => Said::NoData,
            Err(NoFound { failure: Failure::Temporary(_), .. }) => Said::Failed,
        };
        self.metrics.dns().asked(question, said);
        memory.put(key, found)
    }

    /// A and AAAA at the same time. What one of them says is enough; only both together can say no.
    async fn both(&self, name: Name) -> Result<Found<IpAddr>, NoFound> {
        let from_file = self.in_hosts_file(&name);
        if !from_file.is_empty() {
            return Ok(Found { records: from_file, ttl: self.times.ttl_max, complete: true });
        }
        let ask = |kind| self.ask(name.clone(), kind, |record| record.data.ip_addr());
        let (v4, v6) = futures::join!(ask(RecordType::A), ask(RecordType::AAAA));
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.records.truncate(RECORDS_MAX);
                v4.records.extend(v6.records.into_iter().take(RECORDS_MAX));
                Ok(Found { ttl: v4.ttl.min(v6.ttl), complete: true, ..v4 })
            }
            (Ok(mut one), Err(other)) | (Err(other), Ok(mut one)) => {
                one.records.truncate(RECORDS_MAX);
                let complete = !matches!(other.failure, Failure::Temporary(_));
                let ttl = if complete { one.ttl } else { one.ttl.min(self.times.failure) };
                Ok(Found { ttl, complete, ..one })
            }
            (Err(v4), Err(v6)) => Err(NoFound::worse(v4, v6)),
        }
    }

    async fn mx(&self, name: Name) -> Result<Found<Exchange>, NoFound> {
        let exchange = |record: &Record| match &record.data {
            RData::MX(mx) => Some((mx.preference, host(&mx.exchange))),
            _ => None,
        };
        let Found { mut records, ttl, complete } = self.ask(name, RecordType::MX, exchange).await?;
        records.sort_by_key(|(preference, _)| *preference);
        let named = records.into_iter().filter_map(|(preference, host)| Some(Exchange { preference, host: host? }));
        let records: Vec<_> = named.take(RECORDS_MAX).collect();
        if records.is_empty() {
            // There are some, but none that is a host name. It may be mended.
            return Err(self.temporary("its MX records name no host".to_owned()));
        }
        Ok(Found { records, ttl, complete })
    }

    /// The records of one kind that a name has, aliases followed.
    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Result<Found<T>, NoFound> {
        let servers = self.servers.as_ref().map_err(|why| self.temporary(why.clone()))?;
        let lookup = servers.lookup(name.clone(), kind).await.map_err(|error| self.failure(&name, error))?;
        let answers = lookup.answers();
        let names = aliases(&name, answers);
        let ours = |record: &&Record| names.contains(&record.name);
        let wanted = answers.iter().filter(ours).filter(|record| record.record_type() == kind);
        let records: Vec<T> = wanted.filter_map(read).collect();
        if records.is_empty() {
            return Err(self.temporary("the answer of the name servers does not fit the question".to_owned()));
        }
        let ttl = answers.iter().filter(ours).map(|record| record.ttl).min().unwrap_or(0);
        Ok(Found { records, ttl: Duration::from_secs(ttl.into()).min(self.times.ttl_max), complete: true })
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let of_kind = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_kind);
        found
            .flat_map(|lookup| lookup.answers().iter().filter_map(|one| one.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }

    /// A no is believed only with the SOA of the zone that says so (RFC 2308, section 2): without it anybody on the way may
    /// have said it, and mail would be returned for nothing.
    fn failure(&self, name: &Name, error: NetError) -> NoFound {
        let NetError::Dns(DnsError::NoRecordsFound(no)) = &error else {
            return self.temporary(match &error {
                NetError::Dns(DnsError::ResponseCode(code)) => format!("the name servers answer {code}"),
                NetError::Timeout => "no answer from the name servers".to_owned(),
                error => format!("no answer from the name servers that can be used: {error}"),
            });
        };
        let NoRecords { soa, negative_ttl, response_code, .. } = no;
        let believed = is_never_delegated(name) || soa.is_some();
        let failure = match *response_code {
            ResponseCode::NXDomain if believed => Failure::NoSuchName,
            ResponseCode::NoError if believed => Failure::NoData,
            ResponseCode::NXDomain | ResponseCode::NoError => {
                return self.temporary("the name servers say no, and not for which zone".to_owned());
            }
            code => return self.temporary(format!("the name servers answer {code}")),
        };
        let ttl = Duration::from_secs(negative_ttl.unwrap_or(0).into()).min(self.times.negative_ttl_max);
        NoFound { failure, ttl }
    }

    fn temporary(&self, text: String) -> NoFound {
        NoFound { failure: Failure::Temporary(text), ttl: self.times.failure }
    }
}

fn options(times: &Times) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    (options.timeout, options.attempts, options.max_active_requests) = (times.one, ATTEMPTS, UNDER_WAY);
    (options.try_tcp_on_error, options.use_hosts_file, options.cache_size) = (true, ResolveHosts::Never, 0);
    options
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// A name with its final dot.
fn whole_name(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok().filter(|_| is_host(name))?;
    name.set_fqdn(true);
    Some(name)
}

/// As an MX names it; empty for the root. `None`: not the name of a host.
fn host(name: &Name) -> Option<Arc<str>> {
    if name.is_root() {
        return Some("".into());
    }
    let text = name.to_ascii().to_ascii_lowercase();
    let text = text.trim_end_matches('.');
    is_host(text).then(|| text.into())
}

/// The name, and what it is an alias of. An answer about other names is no answer.
fn aliases(name: &Name, answers: &[Record]) -> HashSet<Name> {
    let mut names = HashSet::from([name.clone()]);
    let mut last = name;
    for _ in 0..ALIASES_MAX {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *last => Some(&target.0),
            _ => None,
        });
        match next {
            Some(next) if names.insert(next.clone()) => last = next,
            _ => break,
        }
    }
    names
}

/// Names that no server is asked about, for they never exist (RFC 6761, section 6.4; RFC 7686; RFC 6761, section 6.3).
fn is_never_delegated(name: &Name) -> bool {
    let last = name.iter().next_back().unwrap_or_default();
    [&b"invalid"[..], b"onion", b"localhost"].iter().any(|one| last.eq_ignore_ascii_case(one))
}

struct Found<T> {
    records: Vec<T>,
    ttl: Duration,
    complete: bool,
}

struct NoFound {
    failure: Failure,
    ttl: Duration,
}

impl NoFound {
    /// What two questions about one name come to: not knowing outweighs a no.
    fn worse(one: Self, other: Self) -> Self {
        let rank = |found: &Self| match found.failure {
            Failure::Temporary(_) => 0,
            Failure::NoSuchName => 1,
            Failure::NoData => 2,
        };
        let ttl = one.ttl.min(other.ttl);
        Self { ttl, ..if rank(&one) <= rank(&other) { one } else { other } }
    }
}

/// Answers and failures until their time is over, within so many octets.
struct Memory<T> {
    known: Cache<Arc<str>, Known<T>>,
}

#[derive(Clone)]
struct Known<T> {
    said: Result<Arc<[T]>, Failure>,
    complete: bool,
    until: Instant,
}

impl<T: Clone + Send + Sync + 'static> Memory<T> {
    fn new(octets: u64) -> Self {
        let weigher = |name: &Arc<str>, known: &Known<T>| {
            // An entry itself, and a name of usual length for each record that has one.
            const ENTRY: usize = 256;
            let records = known.said.as_ref().map_or(0, |records| records.len());
            u32::try_from(ENTRY + name.len() + records * (size_of::<T>() + 64)).unwrap_or(u32::MAX)
        };
        Self { known: Cache::builder().max_capacity(octets).weigher(weigher).build() }
    }

    fn get(&self, name: &Arc<str>) -> Option<Result<Answer<T>, Failure>> {
        let known = self.known.get(name)?;
        let ttl = known.until.saturating_duration_since(Instant::now());
        if ttl.is_zero() {
            self.known.invalidate(name);
            return None;
        }
        Some(known.said.map(|records| Answer { records: records.to_vec(), ttl, complete: known.complete }))
    }

    fn put(&self, name: Arc<str>, found: Result<Found<T>, NoFound>) -> Result<Answer<T>, Failure> {
        let (said, ttl, complete) = match found {
            Ok(Found { records, ttl, complete }) => (Ok(records), ttl, complete),
            Err(NoFound { failure, ttl }) => (Err(failure), ttl, false),
        };
        if !ttl.is_zero() {
            let said = said.clone().map(Arc::from);
            self.known.insert(name, Known { said, complete, until: Instant::now() + ttl });
        }
        said.map(|records| Answer { records, ttl, complete })
    }
}
