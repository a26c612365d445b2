//! One section of a Snapshot → the part of a Config that it means. Every wire type is taken apart field by field, so that
//! a new field cannot be forgotten.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use postern_wire::limits::{HOPS, Limit, MESSAGE_SIZE, QUEUE_LIFETIME, RECIPIENTS_PER_MESSAGE};
use postern_wire::snapshot as wire;
use postern_wire::snapshot::{Section, Way};

use super::secrets::Secrets;
use super::tls::Shared;
use super::{Endpoint, Host};
use crate::address::Domain as DomainName;
use crate::policy::client::range;
use crate::policy::recipient::{Addresses, Known, Recipients};
use crate::policy::sender::{Patterns, Senders};
use crate::policy::{self, limits::Limits};
use crate::route::{Tier, Ways};

/// Why a Snapshot is not taken: nothing of it is in force then. The operator writes none of these, so it says where to look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Outside of the limits table.
    #[error("{object}: {field} is {value}, must be between {min} and {max} {unit}")]
    Limit {
        /// `RelayHost exchange-a`
        object: String,
        /// The row of the table.
        field: &'static str,
        /// As written.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// A text or a combination that means nothing.
    #[error("{object}: {field}: {problem}")]
    Value {
        /// `RelayHost exchange-a`
        object: String,
        /// The field of the section.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A section names one that is not there.
    #[error("{object}: {field}: there is no {kind} {name}")]
    Dangling {
        /// `RelayDomain contoso`
        object: String,
        /// The field of the section.
        field: &'static str,
        /// The kind of what is missing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Two sections of one name, or two domains with one domain name.
    #[error("{0}: is there twice")]
    Twice(String),
    /// The TLS library refuses our own parameters.
    #[error("TLS: {0}")]
    Tls(String),
}

/// A range and the parts that do not belong to it.
pub(super) type Ranges = Vec<(IpNet, Vec<IpNet>)>;

/// What a RelayDomain's section means.
#[derive(Debug)]
pub(super) struct DomainPart {
    pub(super) names: Vec<String>,
    pub(super) rules: Arc<policy::Domain>,
    pub(super) ways: Arc<Ways>,
    /// Each host that a way leads to, and the field that says so.
    pub(super) next_hops: Vec<(&'static str, String)>,
    /// Each host whose sources may send as these domains.
    pub(super) senders: Vec<String>,
    /// Each policy that holds.
    pub(super) policies: Vec<String>,
}

/// What a RelayHost's section means.
#[derive(Debug)]
pub(super) struct HostPart {
    pub(super) host: Arc<Host>,
    pub(super) sources: Ranges,
    pub(super) fault: Option<Arc<str>>,
}

/// What a FilterPolicy's section means.
#[derive(Debug)]
pub(super) struct PolicyPart {
    pub(super) policy: Arc<policy::Policy>,
    pub(super) blocked_clients: Ranges,
}

/// Names the object in every error about it.
struct Object<'a> {
    kind: &'static str,
    name: &'a str,
}

impl Object<'_> {
    fn wrong(&self, field: &'static str, problem: impl ToString) -> Invalid {
        let object = format!("{} {}", self.kind, self.name);
        Invalid::Value { object, field, problem: problem.to_string() }
    }

    fn limit(&self, limit: &Limit, value: u64) -> Result<u64, Invalid> {
        if limit.allows(value) {
            return Ok(value);
        }
        let object = format!("{} {}", self.kind, self.name);
        let Limit { name: field, unit, min, max, default: _, meaning: _ } = *limit;
        Err(Invalid::Limit { object, field, value, min, max, unit })
    }

    fn ranges(&self, field: &'static str, networks: &[wire::Network]) -> Result<Ranges, Invalid> {
        let read = |text: &String| range(text).map_err(|error| self.wrong(field, error));
        networks
            .iter()
            .map(|wire::Network { range, except }| {
                Ok((read(range)?, except.iter().map(read).collect::<Result<_, _>>()?))
            })
            .collect()
    }
}

/// Compiles a RelayDomain.
pub(super) fn domain(section: &Section<wire::Domain>) -> Result<DomainPart, Invalid> {
    let Section { name, uid: _, generation: _, digest: _, spec } = section;
    let wire::Domain { names, inbound, bounces, outbound } = spec;
    let object = Object { kind: "RelayDomain", name };
    for name in names {
        let plain = name.strip_prefix("*.").unwrap_or(name);
        let read: Result<DomainName, _> = plain.parse();
        if !read.is_ok_and(|read| read.as_str() == plain && !read.is_literal()) {
            return Err(object.wrong("names", format!("{name:?} is not a lower-case domain name")));
        }
    }
    let mut part = Parts { object: &object, next_hops: Vec::new(), senders: Vec::new(), policies: Vec::new() };
    let (inbound_rules, inbound_way) = both(inbound, |inbound| part.inbound(inbound))?;
    let (outbound_rules, outbound_way) = match outbound {
        None => (None, None),
        Some(outbound) => {
            let (rules, way) = both(outbound, |outbound| part.outbound(outbound))?;
            (Some(rules), Some(way))
        }
    };
    let bounces = match bounces {
        None => None,
        Some(Way::Open(hops)) => Some(Ok(part.tiers("bounces", hops)?)),
        Some(Way::Unresolved(reason)) => Some(Err(reason.as_str().into())),
    };
    let Parts { object: _, next_hops, senders, policies } = part;
    let name: Arc<str> = name.as_str().into();
    let rules = policy::Domain { name: name.clone(), inbound: inbound_rules, outbound: outbound_rules };
    let ways = Ways { name, inbound: inbound_way, outbound: outbound_way, bounces };
    let (rules, ways) = (Arc::new(rules), Arc::new(ways));
    Ok(DomainPart { names: names.clone(), rules, ways, next_hops, senders, policies })
}

type Both<R, W> = (Result<R, Arc<str>>, Result<W, Arc<str>>);

/// One direction: its rules and its way, or for both the reason why there are none.
fn both<T, R, W>(way: &Way<T>, open: impl FnOnce(&T) -> Result<(R, W), Invalid>) -> Result<Both<R, W>, Invalid> {
    match way {
        Way::Open(spec) => open(spec).map(|(rules, way)| (Ok(rules), Ok(way))),
        Way::Unresolved(reason) => {
            let reason: Arc<str> = reason.as_str().into();
            Ok((Err(reason.clone()), Err(reason)))
        }
    }
}

/// Collects what a domain's section refers to, while it is compiled.
struct Parts<'a> {
    object: &'a Object<'a>,
    next_hops: Vec<(&'static str, String)>,
    senders: Vec<String>,
    policies: Vec<String>,
}

impl Parts<'_> {
    fn inbound(&mut self, inbound: &wire::Inbound) -> Result<(policy::Inbound, Arc<[Tier]>), Invalid> {
        let wire::Inbound { deliver_to, recipients, policy } = inbound;
        let wire::Recipients { mode, subaddress_delimiter } = recipients;
        let known = match mode {
            wire::RecipientMode::AcceptAll => Known::All,
            wire::RecipientMode::Verify(verifiers) => {
                let lists = verifiers.iter().map(|wire::Verifier::List(addresses)| Addresses::new(addresses));
                Known::Listed(lists.collect::<Result<_, _>>().map_err(|error| self.object.wrong("recipients", error))?)
            }
        };
        self.policies.push(policy.clone());
        let recipients = Recipients::new(known, *subaddress_delimiter);
        let rules = policy::Inbound { recipients, policy: policy.as_str().into() };
        Ok((rules, self.tiers("deliverTo", deliver_to)?))
    }

    fn outbound(&mut self, outbound: &wire::Outbound) -> Result<(policy::Outbound, Arc<[Tier]>), Invalid> {
        let wire::Outbound { hosts, recipients, via, policy } = outbound;
        self.policies.push(policy.clone());
        self.senders.extend(hosts.iter().cloned());
        let hosted_only = match recipients {
            wire::OutboundRecipients::Any => false,
            wire::OutboundRecipients::HostedDomains => true,
        };
        let hosts = hosts.iter().map(|host| host.as_str().into()).collect();
        let rules = policy::Outbound { hosts, hosted_only, policy: policy.as_str().into() };
        Ok((rules, self.tiers("outbound.via", via)?))
    }

    /// Groups next hops by preference.
    fn tiers(&mut self, field: &'static str, hops: &[wire::NextHop]) -> Result<Arc<[Tier]>, Invalid> {
        if hops.is_empty() {
            return Err(self.object.wrong(field, "names no host"));
        }
        self.next_hops.extend(hops.iter().map(|hop| (field, hop.host.clone())));
        let mut sorted: Vec<_> = hops.iter().map(|wire::NextHop { preference, host }| (*preference, host)).collect();
        sorted.sort_unstable();
        let tiers = sorted.chunk_by(|one, other| one.0 == other.0);
        Ok(tiers.map(|tier| Tier { hosts: tier.iter().map(|(_, host)| host.as_str().into()).collect() }).collect())
    }
}

/// Compiles a RelayHost. TLS that cannot be set up is a fault of this host alone: its mail waits.
pub(super) fn host(section: &Section<wire::Host>, secrets: &Secrets, shared: &Shared) -> Result<HostPart, Invalid> {
    let Section { name, uid: _, generation: _, digest: _, spec } = section;
    let wire::Host { endpoints, tls, sources, queue: wire::Queue { lifetime }, suspend } = spec;
    let object = Object { kind: "RelayHost", name };
    let endpoints = endpoints.iter().map(|endpoint| self::endpoint(&object, endpoint)).collect::<Result<_, _>>()?;
    let lifetime = Duration::from_secs(object.limit(&QUEUE_LIFETIME, *lifetime)?);
    let (tls, fault) = match tls {
        Way::Unresolved(reason) => (Err(reason.as_str().into()), None),
        Way::Open(tls) => match shared.plan(tls, tls.ca.as_ref().and_then(|file| secrets.get(file))) {
            Ok(plan) => (Ok(plan), None),
            Err(problem) => {
                let problem: Arc<str> = problem.into();
                (Err(problem.clone()), Some(problem))
            }
        },
    };
    let sources = object.ranges("sources", sources)?;
    let host = Host { name: name.as_str().into(), endpoints, tls, lifetime, suspend: *suspend };
    Ok(HostPart { host: Arc::new(host), sources, fault })
}

fn endpoint(object: &Object<'_>, endpoint: &wire::Endpoint) -> Result<Endpoint, Invalid> {
    let wire::Endpoint { address, port } = endpoint;
    let name = || address.parse::<DomainName>().is_ok_and(|name| !name.is_literal());
    if address.parse::<std::net::IpAddr>().is_err() && !name() {
        return Err(object.wrong("endpoints", format!("{address:?} is neither an IP address nor a DNS name")));
    }
    if *port == 0 {
        return Err(object.wrong("endpoints", format!("{address}: port 0 cannot be dialled")));
    }
    Ok(Endpoint { address: address.as_str().into(), port: *port })
}

/// Compiles a FilterPolicy.
pub(super) fn policy(section: &Section<wire::Policy>) -> Result<PolicyPart, Invalid> {
    let Section { name, uid: _, generation: _, digest: _, spec } = section;
    let wire::Policy { limits, blocked_clients, senders } = spec;
    let wire::MessageLimits { message_size, recipients_per_message, hops } = limits;
    let wire::Senders { blocked, allowed } = senders;
    let object = Object { kind: "FilterPolicy", name };
    if !blocked_clients.is_empty() && name != "default" {
        return Err(object.wrong("blockedClients", "only the policy named default holds before a domain is known"));
    }
    let recipients = object.limit(&RECIPIENTS_PER_MESSAGE, u64::from(*recipients_per_message))?;
    object.limit(&HOPS, u64::from(*hops))?;
    let limits = Limits {
        message_size: object.limit(&MESSAGE_SIZE, *message_size)?,
        recipients: usize::try_from(recipients).map_err(|error| object.wrong("limits.recipientsPerMessage", error))?,
        hops: *hops,
    };
    let patterns = |patterns: &[String]| Patterns::new(patterns.iter().map(String::as_str));
    let senders = Senders { blocked: patterns(blocked), allowed: patterns(allowed) };
    let policy = Arc::new(policy::Policy { name: name.as_str().into(), limits, senders });
    Ok(PolicyPart { policy, blocked_clients: object.ranges("blockedClients", blocked_clients)? })
}
