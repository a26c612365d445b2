//! From where mail shall go to the addresses that are dialled, one preference after the other (RFC 5321, section 5.1).
//!
//! What was found is checked here and dialled as it is: nobody looks a name up twice for one connection. A domain is told that
//! it takes no mail only when the DNS itself has said so; while it has said nothing, the message waits.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use futures::future::join_all;

use super::next_hop::Goal;
use super::{Shared, chance};
use crate::client::Fault;
use crate::config::Endpoint;
use crate::dns::Failure;
use crate::dns::exchange::{self, Meaning, Tier};
use crate::dns::reach::{NamedBy, Reach};

/// Addresses of an endpoint's name that are tried; more are not looked at.
const ADDRESSES_MAX: usize = 5;
/// Preferences whose names the DNS may fail to tell before the others are not asked for: each may have cost all its time.
const FAILURES_MAX: usize = 3;

/// How mail exchangers are found.
#[derive(Clone, Debug)]
pub struct Exchangers {
    /// Which addresses may be dialled.
    pub reach: Reach,
    /// The port of all of them.
    pub port: u16,
    /// The addresses that we listen on: an MX with one of them is ourselves. An unspecified one stands for all addresses of
    /// this machine.
    pub own: Vec<IpAddr>,
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The name that it was found for.
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
}

/// Why there is nothing to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoWay {
    /// The endpoint; empty for a domain, which the text names.
    pub(super) server: String,
    pub(super) fault: Fault,
    /// There never will be.
    pub(super) never: bool,
}

/// Finds the addresses of one goal, step by step.
pub(super) struct Walk<'a> {
    shared: &'a Shared,
    /// The domain whose exchangers they are.
    domain: Arc<str>,
    named_by: NamedBy,
    next: Next,
    /// How many addresses may be tried.
    most: usize,
    /// Those that were given out: servers often share one, and once is enough.
    given: Vec<SocketAddr>,
    seen: Seen,
}

enum Next {
    Endpoint(Endpoint),
    Exchanges,
    Tiers(VecDeque<Tier>),
    Nothing,
}

/// What stood in the way.
#[derive(Default)]
struct Seen {
    /// Preferences that could not be looked up.
    failures: usize,
    /// The last look-up that failed for now.
    temporary: Option<NoWay>,
    /// What the DNS has said of the domain once and for all.
    said: Option<NoWay>,
    /// Ourselves among the exchangers.
    own: bool,
    /// An address that may not be dialled.
    refused: Option<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(shared: &'a Shared, goal: &Goal) -> Self {
        let most = usize::try_from(shared.limits.mx_addresses).unwrap_or(usize::MAX);
        let (domain, named_by, next, most) = match goal {
            Goal::Endpoint(endpoint) => {
                (endpoint.address.clone(), NamedBy::Host, Next::Endpoint(endpoint.clone()), ADDRESSES_MAX)
            }
            Goal::Exchanges(domain) => (domain.clone(), NamedBy::Host, Next::Exchanges, most),
            Goal::Direct(domain) => (domain.clone(), NamedBy::Stranger, Next::Exchanges, most),
        };
        Self { shared, domain, named_by, next, most, given: Vec::new(), seen: Seen::default() }
    }

    /// The next addresses, all equal, in the order in which they shall be tried. `None`: there are no more.
    pub(super) async fn next(&mut self) -> Option<Vec<Found>> {
        loop {
            let addresses = match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Endpoint(endpoint) => self.endpoint(&endpoint).await,
                Next::Exchanges => {
                    self.next = self.exchanges().await;
                    continue;
                }
                Next::Tiers(tiers) => self.tier(tiers).await?,
                Next::Nothing => return None,
            };
            let mut new = Vec::new();
            for found in addresses {
                if self.given.len() < self.most && !self.given.contains(&found.address) {
                    self.given.push(found.address);
                    new.push(found);
                }
            }
            if self.given.len() == self.most {
                self.next = Next::Nothing;
            }
            if !new.is_empty() {
                return Some(new);
            }
        }
    }

    /// After the last step: why there was none at all.
    pub(super) fn no_way(self) -> Option<NoWay> {
        let (domain, seen) = (&self.domain, self.seen);
        let never = |status, text| NoWay { server: String::new(), fault: Fault { status, text }, never: true };
        if !self.given.is_empty() {
            return None;
        }
        Some(match seen {
            Seen { said: Some(said), .. } => said,
            Seen { temporary: Some(temporary), .. } => temporary,
            Seen { own: true, .. } => {
                never("5.4.6", format!("{domain}: its mail exchanger is this relay: mail would loop"))
            }
            Seen { refused: Some(why), .. } => never("5.4.4", format!("{domain}: {why}")),
            _ => never("5.4.4", format!("{domain}: it has no mail exchanger with an address")),
        })
    }

    /// An endpoint's addresses: itself, when it is one.
    async fn endpoint(&mut self, endpoint: &Endpoint) -> Vec<Found> {
        let Endpoint { address: name, port } = endpoint;
        let found = |address| Found { name: name.clone(), address: SocketAddr::new(address, *port) };
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return vec![found(address)];
        }
        let problem = match self.shared.lookup.addresses(name).await {
            Ok(answer) => match self.within_reach(name, answer.records) {
                addresses if !addresses.is_empty() => return addresses.into_iter().map(found).collect(),
                _ => self.seen.refused.take().unwrap_or_default(),
            },
            Err(failure) => failure.to_string(),
        };
        let fault = Fault { status: "4.4.3", text: format!("has no address: {problem}") };
        self.seen.temporary = Some(NoWay { server: format!("{name}:{port}"), fault, never: false });
        Vec::new()
    }

    /// The mail exchangers of the domain; without any, the domain itself.
    async fn exchanges(&mut self) -> Next {
        let domain = self.domain.clone();
        let never = |status, text| NoWay { server: String::new(), fault: Fault { status, text }, never: true };
        self.seen.said = match self.shared.lookup.exchanges(&domain).await {
            _ if domain.starts_with('[') => {
                Some(never("5.1.2", format!("{domain}: mail to an address is not delivered")))
            }
            Ok(answer) => {
                let hosts_max = usize::try_from(self.shared.limits.mx_hosts).unwrap_or(usize::MAX);
                match exchange::read(&answer.records, hosts_max, place_below) {
                    Meaning::Hosts(tiers) => return Next::Tiers(tiers),
                    Meaning::Null => Some(never("5.1.10", format!("{domain} takes no mail: it has a null MX"))),
                }
            }
            Err(Failure::NoData) => {
                return Next::Tiers(VecDeque::from([Tier { preference: 0, hosts: vec![domain] }]));
            }
            Err(Failure::NoSuchName) => Some(never("5.1.2", format!("{domain}: there is no such domain"))),
            Err(Failure::Temporary(why)) => {
                self.failed(&domain, &why);
                None
            }
        };
        Next::Nothing
    }

    /// The addresses of the next preference. `None`: we are among them, or the DNS has failed too often; what is beyond is
    /// not for us.
    async fn tier(&mut self, mut tiers: VecDeque<Tier>) -> Option<Vec<Found>> {
        let tier = tiers.pop_front()?;
        if tier.hosts.iter().any(|host| host.eq_ignore_ascii_case(&self.shared.hostname)) {
            self.seen.own = true;
            return None;
        }
        let answers = join_all(tier.hosts.iter().map(|host| self.shared.lookup.addresses(host))).await;
        let (mut failed, mut lists) = (false, Vec::new());
        for (host, answer) in tier.hosts.iter().zip(answers) {
            match answer {
                Ok(answer) if answer.records.iter().any(|address| self.is_own(*address)) => {
                    self.seen.own = true;
                    return None;
                }
                Ok(answer) => {
                    let addresses = self.within_reach(host, answer.records);
                    lists.push(mixed(addresses).into_iter().map(|address| (host, address)).collect::<VecDeque<_>>());
                }
                Err(Failure::NoSuchName | Failure::NoData) => {}
                Err(Failure::Temporary(why)) => {
                    failed = true;
                    self.failed(host, &why);
                }
            }
        }
        self.seen.failures += usize::from(failed);
        if self.seen.failures < FAILURES_MAX {
            self.next = Next::Tiers(tiers);
        }
        let port = self.shared.exchangers.port;
        let found =
            |(host, address): (&Arc<str>, IpAddr)| Found { name: host.clone(), address: (address, port).into() };
        Some(in_turns(lists).into_iter().map(found).collect())
    }

    fn failed(&mut self, name: &str, why: &str) {
        let domain = &self.domain;
        let text = if *name == **domain { format!("{domain}: {why}") } else { format!("{domain}: {name}: {why}") };
        let fault = Fault { status: "4.4.3", text };
        self.seen.temporary = Some(NoWay { server: String::new(), fault, never: false });
    }

    fn within_reach(&mut self, name: &str, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let (reach, named_by) = (&self.shared.exchangers.reach, self.named_by);
        let mut within = Vec::new();
        for address in addresses {
            match reach.refuses(address, named_by) {
                None => within.push(address),
                Some(what) => {
                    self.seen.refused = Some(format!("{name} is at {address}, {what}, and no mail is sent to such"));
                }
            }
        }
        within
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let (address, own) = (address.to_canonical(), &self.shared.exchangers.own);
        // Only an address of this machine can be bound.
        let is_local = || UdpSocket::bind((address, 0)).is_ok();
        own.iter().any(|own| own.to_canonical() == address || own.is_unspecified() && is_local())
    }
}

/// IPv4 and IPv6 by turns, so that neither network alone uses up all tries; each from a place of chance on.
fn mixed(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    for list in [&mut v4, &mut v6] {
        let first = place_below(list.len());
        list.rotate_left(first);
    }
    in_turns(vec![v4.into(), v6.into()])
}

/// One of each list, then again.
fn in_turns<T>(mut lists: Vec<VecDeque<T>>) -> Vec<T> {
    let mut all = Vec::new();
    while lists.iter().any(|list| !list.is_empty()) {
        all.extend(lists.iter_mut().filter_map(VecDeque::pop_front));
    }
    all
}

/// From 0 to less than `places`; 0 when there is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "few places")]
fn place_below(places: usize) -> usize {
    ((chance() * places as f64) as usize).min(places.saturating_sub(1))
}
