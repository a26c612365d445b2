//! One section of a Snapshot → the part of a Config that it means. Every wire type is taken apart field by field, so that
//! a new field cannot be forgotten.

use std::sync::Arc;
use std::time::Duration;

use postern_wire::limits::{
    HOPS, HOST_CONNECTION_MESSAGES, HOST_CONNECTIONS, HOST_MESSAGES, MESSAGE_SIZE, QUEUE_LIFETIME,
    QUEUE_NULL_SENDER_LIFETIME, QUEUE_WARN_AFTER, RECIPIENTS_PER_MESSAGE,
};
use postern_wire::snapshot as wire;
use postern_wire::snapshot::{Section, Way};

use super::authorities::{self, SourceCertificate};
use super::invalid::{Invalid, Object, Ranges};
use super::secrets::Secrets;
use super::tls::Shared;
use super::{Credentials, Endpoint, Host, TlsPlan};
use crate::address::Domain as DomainName;
use crate::policy::recipient::{Addresses, Known, Recipients};
use crate::policy::sender::{Patterns, Senders};
use crate::policy::{self, limits::Limits};
use crate::route::{Tier, Via, Ways};

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
    /// Those that can be used.
    pub(super) source_certificates: Vec<Arc<SourceCertificate>>,
    pub(super) fault: Option<Arc<str>>,
}

/// What a FilterPolicy's section means.
#[derive(Debug)]
pub(super) struct PolicyPart {
    pub(super) policy: Arc<policy::Policy>,
    pub(super) blocked_clients: Ranges,
    pub(super) blocked_names: Vec<wire::HostName>,
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
        Some(Way::Open(hops)) => Some(Ok(Via::Hosts(part.tiers("bounces", hops)?))),
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
        let wire::Inbound { deliver_to, recipients, policy, tls } = inbound;
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
        let tls_required = match tls {
            wire::InboundTls::Opportunistic => false,
            wire::InboundTls::Required => true,
        };
        let rules = policy::Inbound { recipients, policy: policy.as_str().into(), tls_required };
        Ok((rules, self.tiers("deliverTo", deliver_to)?))
    }

    fn outbound(&mut self, outbound: &wire::Outbound) -> Result<(policy::Outbound, Via), Invalid> {
        let wire::Outbound { hosts, recipients, via, policy } = outbound;
        self.policies.push(policy.clone());
        self.senders.extend(hosts.iter().cloned());
        let hosted_only = match recipients {
            wire::OutboundRecipients::Any => false,
            wire::OutboundRecipients::HostedDomains => true,
        };
        let hosts = hosts.iter().map(|host| host.as_str().into()).collect();
        let rules = policy::Outbound { hosts, hosted_only, policy: policy.as_str().into() };
        let via = if via.is_empty() { Via::Mx } else { Via::Hosts(self.tiers("outbound.via", via)?) };
        Ok((rules, via))
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
    let wire::Host { endpoints, mx, tls, auth, limits, sources, source_names, source_certificates, queue, suspend } =
        spec;
    let object = Object { kind: "RelayHost", name };
    let endpoints = endpoints.iter().map(|endpoint| self::endpoint(&object, endpoint)).collect::<Result<_, _>>()?;
    for domain in mx {
        if !domain.parse::<DomainName>().is_ok_and(|name| !name.is_literal()) {
            return Err(object.wrong("mx", format!("{domain:?} is not a DNS name")));
        }
    }
    let (tls, tls_fault) = secured(tls, |tls| shared.plan(tls, secrets));
    let verified = tls.as_ref().is_ok_and(TlsPlan::is_verified) || tls.is_err();
    let login = |auth: &wire::Auth| match verified {
        true => credentials(auth, secrets),
        false => Err("auth needs tls.verification Verified: a password goes to nobody else".to_owned()),
    };
    let (auth, auth_fault) = match auth.as_ref().map(|auth| secured(auth, login)) {
        None => (None, None),
        Some((auth, fault)) => (Some(auth), fault),
    };
    let wire::HostLimits { connections, messages_per_connection, messages_per_minute } = limits;
    for (limit, value) in [
        (&HOST_CONNECTIONS, connections),
        (&HOST_CONNECTION_MESSAGES, messages_per_connection),
        (&HOST_MESSAGES, messages_per_minute),
    ] {
        value.map(|value| object.limit(limit, u64::from(value))).transpose()?;
    }
    let sources = object.ranges("sources", sources)?;
    let certificates = authorities::sources(source_certificates, secrets, shared);
    let (source_certificates, certificate_fault) =
        certificates.map_err(|problem| object.wrong("sourceCertificates", problem))?;
    let (lifetime, null_sender_lifetime, warn_after) = self::queue(&object, queue)?;
    let host = Host {
        name: name.as_str().into(),
        endpoints,
        mx: mx.iter().map(|domain| domain.as_str().into()).collect(),
        tls,
        auth,
        limits: *limits,
        lifetime,
        null_sender_lifetime,
        warn_after,
        source_names: object.names("sources", source_names)?,
        suspend: *suspend,
    };
    let fault = tls_fault.or(auth_fault).or(certificate_fault);
    Ok(HostPart { host: Arc::new(host), sources, source_certificates, fault })
}

/// What holds for mail that goes directly to the mail exchangers of its recipient's domain: the defaults of the table.
pub(super) fn direct(shared: &Shared) -> Host {
    Host {
        name: "".into(),
        endpoints: Vec::new(),
        mx: Vec::new(),
        tls: Ok(shared.opportunistic()),
        auth: None,
        limits: wire::HostLimits { connections: None, messages_per_connection: None, messages_per_minute: None },
        lifetime: Duration::from_secs(QUEUE_LIFETIME.default),
        null_sender_lifetime: Duration::from_secs(QUEUE_NULL_SENDER_LIFETIME.default),
        warn_after: Some(Duration::from_secs(QUEUE_WARN_AFTER.default)),
        source_names: Vec::new(),
        suspend: false,
    }
}

/// Something that needs secrets: what it is, or why it cannot be used; and that again when it is the relay that says so.
type Secured<T> = (Result<T, Arc<str>>, Option<Arc<str>>);

fn secured<W, T>(way: &Way<W>, open: impl FnOnce(&W) -> Result<T, String>) -> Secured<T> {
    match way {
        Way::Unresolved(reason) => (Err(reason.as_str().into()), None),
        Way::Open(spec) => match open(spec) {
            Ok(thing) => (Ok(thing), None),
            Err(problem) => {
                let problem: Arc<str> = problem.into();
                (Err(problem.clone()), Some(problem))
            }
        },
    }
}

/// A login without control characters: they would mean something else to SASL, or to a log.
fn credentials(auth: &wire::Auth, secrets: &Secrets) -> Result<Arc<Credentials>, String> {
    let wire::Auth { username, password } = auth;
    let read = |file: &wire::SecretFile| -> Result<Box<str>, String> {
        let name = &file.0;
        let content = secrets.get(file).ok_or_else(|| format!("secrets/{name} is missing"))?;
        let text = std::str::from_utf8(content).map_err(|_| format!("secrets/{name} is not UTF-8"))?;
        // Written with an editor, a file ends in a line feed that is no part of it.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text {
            "" => Err(format!("secrets/{name} is empty")),
            text if text.contains(char::is_control) => Err(format!("secrets/{name} holds a control character")),
            text => Ok(text.into()),
        }
    };
    Ok(Arc::new(Credentials { username: read(username)?, password: read(password)? }))
}

/// How long mail is kept, mail with the null sender, and when a sender is told that it waits.
fn queue(object: &Object<'_>, queue: &wire::Queue) -> Result<(Duration, Duration, Option<Duration>), Invalid> {
    let wire::Queue { lifetime, null_sender_lifetime, warn_after } = queue;
    let lifetime = Duration::from_secs(object.limit(&QUEUE_LIFETIME, *lifetime)?);
    let null_sender = null_sender_lifetime.unwrap_or(QUEUE_NULL_SENDER_LIFETIME.default);
    let null_sender = Duration::from_secs(object.limit(&QUEUE_NULL_SENDER_LIFETIME, null_sender)?);
    let warn_after = object.limit(&QUEUE_WARN_AFTER, warn_after.unwrap_or(QUEUE_WARN_AFTER.default))?;
    let warn_after = (warn_after > 0).then(|| Duration::from_secs(warn_after));
    Ok((lifetime, null_sender.min(lifetime), warn_after))
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
    let wire::Policy { limits, blocked_clients, blocked_names, senders } = spec;
    let wire::MessageLimits { message_size, recipients_per_message, hops } = limits;
    let wire::Senders { blocked, allowed } = senders;
    let object = Object { kind: "FilterPolicy", name };
    if !(blocked_clients.is_empty() && blocked_names.is_empty()) && name != "default" {
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
    let blocked_clients = object.ranges("blockedClients", blocked_clients)?;
    let blocked_names = object.names("blockedClients", blocked_names)?;
    Ok(PolicyPart { policy, blocked_clients, blocked_names })
}
