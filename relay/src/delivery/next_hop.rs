//! Which endpoints a route means now, in the order in which they are tried. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_wire::snapshot::HostLimits;
use rustls_pki_types::ServerName;

use crate::address::ReversePath;
use crate::config::{Credentials, Directory, Endpoint, Host, TlsClient, TlsPlan};
use crate::envelope::Origin;
use crate::route::Destination;
use crate::schedule::Terms;

/// What makes a destination.
pub(super) type Key = Destination;

/// Where to look for a server, and how to talk to it.
#[derive(Clone, Debug)]
pub(super) struct NextHop {
    pub(super) goal: Goal,
    pub(super) tls: TlsPlan,
    pub(super) login: Option<Arc<Credentials>>,
    /// Whose limits hold: with others of this name they are counted together.
    pub(super) host: Arc<str>,
    pub(super) limits: HostLimits,
    /// Its place among the preferences: hops of the same tier are equal.
    pub(super) tier: usize,
}

/// Where to look for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// A RelayHost's endpoint.
    Endpoint(Endpoint),
    /// The mail exchangers of a domain that a RelayHost names.
    Exchanges(Arc<str>),
    /// The mail exchangers of the recipient's domain, which a stranger has named.
    Direct(Arc<str>),
}

/// What a route means by the settings in force.
#[derive(Clone, Debug)]
pub(super) struct NextHops {
    /// By preference; equal ones take turns at being the first.
    pub(super) list: Vec<NextHop>,
    /// Why some are missing: one sentence for each.
    pub(super) faults: Vec<String>,
    /// How long mail is kept: the longest of its hosts.
    pub(super) lifetime: Duration,
    /// How long mail with the null sender is kept: the longest of its hosts.
    pub(super) null_sender_lifetime: Duration,
    /// After how long a sender of ours is told that mail waits: the shortest of its hosts.
    pub(super) warn_after: Option<Duration>,
    /// One of the hosts is suspended: nothing expires.
    pub(super) any_suspended: bool,
    /// All of them are: nothing is dialled.
    pub(super) all_suspended: bool,
}

impl NextHops {
    pub(super) fn of(directory: &dyn Directory, key: &Key, turn: usize) -> Self {
        let mut all = Self {
            list: Vec::new(),
            faults: Vec::new(),
            lifetime: Duration::ZERO,
            null_sender_lifetime: Duration::ZERO,
            warn_after: None,
            any_suspended: false,
            all_suspended: true,
        };
        let tiers = match key {
            Destination::Hosts(tiers) => &tiers[..],
            Destination::Mx(domain) => {
                let mut list = Vec::new();
                all.add(&directory.direct(), 0, Some(domain.as_str()), &mut list);
                all.list = list;
                return all;
            }
        };
        for (tier, hosts) in tiers.iter().enumerate() {
            let mut equal = Vec::new();
            for name in &hosts.hosts {
                match directory.host(name) {
                    Some(host) => all.add(&host, tier, None, &mut equal),
                    None => {
                        all.all_suspended = false;
                        all.faults.push(format!("there is no RelayHost {name}"));
                    }
                }
            }
            if !equal.is_empty() {
                let first = turn % equal.len();
                equal.rotate_left(first);
            }
            all.list.append(&mut equal);
        }
        if all.lifetime.is_zero() {
            all.lifetime = directory.lifetime();
            all.null_sender_lifetime = all.lifetime;
        }
        all
    }

    /// `direct`: the recipient's domain, whose mail exchangers the host stands for.
    fn add(&mut self, host: &Host, tier: usize, direct: Option<&str>, equal: &mut Vec<NextHop>) {
        self.lifetime = self.lifetime.max(host.lifetime);
        self.null_sender_lifetime = self.null_sender_lifetime.max(host.null_sender_lifetime);
        self.warn_after = [self.warn_after, host.warn_after].into_iter().flatten().min();
        self.any_suspended |= host.suspend;
        self.all_suspended &= host.suspend;
        if host.suspend {
            return;
        }
        let endpoints = host.endpoints.iter().cloned().map(Goal::Endpoint);
        let exchanges = host.mx.iter().cloned().map(Goal::Exchanges);
        let goals: Vec<Goal> =
            endpoints.chain(exchanges).chain(direct.map(|domain| Goal::Direct(domain.into()))).collect();
        let login = host.auth.as_ref().map(Result::as_ref).transpose();
        match host.tls.as_ref().and_then(|tls| login.map(|login| (tls, login))) {
            Err(why) => self.faults.push(format!("RelayHost {}: {why}", host.name)),
            Ok(_) if goals.is_empty() => self.faults.push(format!("RelayHost {} has no endpoints", host.name)),
            Ok((tls, login)) => {
                let hop = |goal| NextHop {
                    tls: plan(tls, &goal),
                    goal,
                    login: login.cloned(),
                    host: host.name.clone(),
                    limits: host.limits,
                    tier,
                };
                equal.extend(goals.into_iter().map(hop));
            }
        }
    }
}

impl NextHops {
    /// How long mail with this sender is kept.
    pub(super) fn lifetime_of(&self, sender: &ReversePath) -> Duration {
        match sender {
            _ if self.any_suspended => Duration::MAX,
            ReversePath::Null => self.null_sender_lifetime,
            ReversePath::Mailbox(_) => self.lifetime,
        }
    }

    /// What the schedule goes by. `connections` is the relay's own limit.
    pub(super) fn terms(&self, connections: usize) -> Terms {
        let mut hosts: Vec<_> = self.list.iter().map(|hop| (&hop.host, hop.limits.connections)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        // Without a limit of its own a host has the relay's, alone or together with others.
        let limited: Option<Vec<u32>> = hosts.into_iter().map(|(_, most)| most).collect();
        let limited = limited.filter(|limits| !limits.is_empty());
        let limited =
            limited.map(|limits| limits.iter().fold(0, |sum: usize, most| sum.saturating_add(*most as usize)));
        Terms {
            suspended: self.all_suspended,
            connections: limited.unwrap_or(connections),
            lifetime: if self.any_suspended { Duration::MAX } else { self.lifetime },
            null_sender_lifetime: if self.any_suspended { Duration::MAX } else { self.null_sender_lifetime },
            warn_after: self.warn_after,
        }
    }
}

/// The plan for this goal. Which name a certificate must be for is never left to an MX record, which anyone could have
/// forged: without a name of its own a mail exchanger must prove the domain that the RelayHost names.
fn plan(tls: &TlsPlan, goal: &Goal) -> TlsPlan {
    let Goal::Exchanges(domain) = goal else { return tls.clone() };
    let named = |client: &TlsClient| {
        let mut client = client.clone();
        if client.verified && client.server_name.is_none() {
            client.server_name = ServerName::try_from(domain.to_string()).ok();
        }
        client
    };
    match tls {
        TlsPlan::None => TlsPlan::None,
        TlsPlan::Opportunistic(client) => TlsPlan::Opportunistic(client.clone()),
        TlsPlan::Implicit(client) => TlsPlan::Implicit(named(client)),
        TlsPlan::Mandatory(client) => TlsPlan::Mandatory(named(client)),
    }
}

/// Whether a message came from this address: it never goes back there. Loopback addresses are shared by everything on the
/// machine, and tell nothing.
pub(super) fn came_from(origin: &Origin, address: IpAddr) -> bool {
    let (Origin::Outsider { client } | Origin::Source { client, .. }) = origin else { return false };
    let address = address.to_canonical();
    client.to_canonical() == address && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Mailbox;
    use crate::route::{Route, Tier};

    struct Hosts(Vec<Host>);

    impl Directory for Hosts {
        fn route(&self, _: &Origin, _: &Mailbox) -> Route {
            Route::Held("not asked here".into())
        }

        fn host(&self, name: &str) -> Option<Arc<Host>> {
            self.0.iter().find(|host| &*host.name == name).cloned().map(Arc::new)
        }

        fn direct(&self) -> Arc<Host> {
            Arc::new(host("", &[]))
        }

        fn lifetime(&self) -> Duration {
            Duration::from_secs(99)
        }
    }

    fn host(name: &str, endpoints: &[&str]) -> Host {
        let endpoint = |address: &&str| Endpoint { address: (*address).into(), port: 25 };
        Host {
            auth: None,
            limits: HostLimits::default(),
            mx: Vec::new(),
            source_names: Vec::new(),
            null_sender_lifetime: Duration::from_secs(10),
            warn_after: None,
            name: name.into(),
            endpoints: endpoints.iter().map(endpoint).collect(),
            tls: Ok(TlsPlan::None),
            lifetime: Duration::from_secs(10 * name.len() as u64),
            suspend: false,
        }
    }

    fn key(tiers: &[&[&str]]) -> Key {
        let tier = |hosts: &&[&str]| Tier { hosts: hosts.iter().map(|name| (*name).into()).collect() };
        Destination::Hosts(tiers.iter().map(tier).collect())
    }

    fn names(hops: &NextHops) -> Vec<String> {
        let name = |hop: &NextHop| match &hop.goal {
            Goal::Endpoint(endpoint) => endpoint.address.to_string(),
            Goal::Exchanges(domain) => format!("mx of {domain}"),
            Goal::Direct(domain) => format!("direct to {domain}"),
        };
        hops.list.iter().map(name).collect()
    }

    #[test]
    fn the_mx_of_a_host_is_as_equal_as_its_endpoints_and_a_direct_way_has_no_host() {
        let mut hosts = Hosts(vec![host("a", &["a1"])]);
        hosts.0[0].mx = vec!["one.test".into()];
        let key = key(&[&["a"]]);
        assert_eq!(names(&NextHops::of(&hosts, &key, 0)), ["a1", "mx of one.test"]);
        assert_eq!(names(&NextHops::of(&hosts, &key, 1)), ["mx of one.test", "a1"]);
        hosts.0[0].endpoints.clear();
        assert_eq!(names(&NextHops::of(&hosts, &key, 0)), ["mx of one.test"]);
        let direct = Destination::Mx("far.test".parse().unwrap());
        assert_eq!(names(&NextHops::of(&hosts, &direct, 5)), ["direct to far.test"]);
    }

    #[test]
    fn preference_comes_first_and_equal_ones_take_turns() {
        let hosts = Hosts(vec![host("a", &["a1", "a2"]), host("b", &["b1"]), host("backup", &["c1"])]);
        let key = key(&[&["a", "b"], &["backup"]]);
        let orders: Vec<_> = (0..4).map(|turn| NextHops::of(&hosts, &key, turn)).collect();
        let orders: Vec<_> = orders.iter().map(names).collect();
        assert_eq!(
            orders,
            [["a1", "a2", "b1", "c1"], ["a2", "b1", "a1", "c1"], ["b1", "a1", "a2", "c1"], ["a1", "a2", "b1", "c1"]]
        );
        assert_eq!(NextHops::of(&hosts, &key, 0).lifetime, Duration::from_secs(60));
    }

    #[test]
    fn a_suspended_host_is_left_out_and_stops_expiry() {
        let mut hosts = Hosts(vec![host("a", &["a1"]), host("b", &["b1"])]);
        hosts.0[0].suspend = true;
        let hops = NextHops::of(&hosts, &key(&[&["a"], &["b"]]), 0);
        assert_eq!(names(&hops), ["b1"]);
        assert!(hops.any_suspended && !hops.all_suspended);
        hosts.0[1].suspend = true;
        assert!(NextHops::of(&hosts, &key(&[&["a"], &["b"]]), 0).all_suspended);
    }

    #[test]
    fn the_schedule_goes_by_the_limits_of_the_hosts() {
        let mut hosts = Hosts(vec![host("a", &["a1", "a2"]), host("b", &["b1"])]);
        let terms = |hosts: &Hosts| NextHops::of(hosts, &key(&[&["a"], &["b"]]), 0).terms(20);
        assert_eq!(terms(&hosts).connections, 20);
        hosts.0[0].limits.connections = Some(2);
        assert_eq!(terms(&hosts).connections, 20);
        hosts.0[1].limits.connections = Some(30);
        assert_eq!(terms(&hosts).connections, 32);
        (hosts.0[0].warn_after, hosts.0[1].warn_after) = (Some(Duration::from_secs(9)), Some(Duration::from_secs(8)));
        hosts.0[1].null_sender_lifetime = Duration::from_secs(5);
        let (terms, hops) = (terms(&hosts), NextHops::of(&hosts, &key(&[&["a"], &["b"]]), 0));
        assert_eq!(
            (terms.warn_after, terms.null_sender_lifetime),
            (Some(Duration::from_secs(8)), Duration::from_secs(10))
        );
        assert_eq!(hops.lifetime_of(&ReversePath::Null), Duration::from_secs(10));
        hosts.0[0].suspend = true;
        let hops = NextHops::of(&hosts, &key(&[&["a"], &["b"]]), 0);
        assert_eq!((hops.lifetime_of(&ReversePath::Null), hops.terms(20).lifetime), (Duration::MAX, Duration::MAX));
    }

    #[test]
    fn says_why_a_host_cannot_be_used() {
        let mut hosts = Hosts(vec![host("a", &["a1"]), host("b", &[])]);
        hosts.0[0].tls = Err("ca.crt: no certificate".into());
        hosts.0.push(Host { auth: Some(Err("password is missing".into())), ..host("d", &["d1"]) });
        let hops = NextHops::of(&hosts, &key(&[&["a", "b", "c", "d"]]), 3);
        assert!(hops.list.is_empty() && !hops.all_suspended);
        assert_eq!(
            hops.faults,
            [
                "RelayHost a: ca.crt: no certificate",
                "RelayHost b has no endpoints",
                "there is no RelayHost c",
                "RelayHost d: password is missing"
            ]
        );
        assert_eq!(NextHops::of(&hosts, &key(&[&["c"]]), 0).lifetime, Duration::from_secs(99));
    }

    #[test]
    fn knows_where_a_message_came_from() {
        let from = |client: &str| Origin::Outsider { client: client.parse().unwrap() };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(came_from(&from("192.0.2.1"), address("192.0.2.1")));
        assert!(came_from(&from("::ffff:192.0.2.1"), address("192.0.2.1")));
        assert!(!came_from(&from("192.0.2.1"), address("192.0.2.2")));
        assert!(!came_from(&from("127.0.0.1"), address("127.0.0.1")));
        let about = crate::queue_id::QueueId::new(1, 1);
        assert!(!came_from(&Origin::Notification { about, domain: None }, address("192.0.2.1")));
    }
}
