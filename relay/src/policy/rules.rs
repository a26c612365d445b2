//! The rules of one DMZ, and the questions that the server asks them: connect, MAIL, RCPT, content.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use postern_wire::limits as wire;
use postern_wire::snapshot::HostName;

use super::evidence::known;
use super::limits::{Limits, looping, too_large, too_many_recipients};
use super::refusals::{field, not_for_good, relaying_denied, some, unprotected, unresolved};
use super::resolved::Resolved;
use super::{Client, ContentFacts, Decision, Domain, Parts, Party, Transaction};
use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::envelope::Origin;
use crate::smtp::Reply;
use crate::smtp::reply::Enhanced;

/// The rules in force.
#[derive(Debug)]
pub struct Rules {
    pub(super) parts: Parts,
    policy_index: HashMap<Arc<str>, usize>,
    /// The most lenient of all policies, for whoever is not yet held to one.
    widest: Limits,
    postmaster: Option<Mailbox>,
}

impl Rules {
    /// Rules of these parts. A policy that a domain names and that is not there refuses that domain's mail with 451.
    pub fn new(parts: Parts) -> Self {
        let policy_index =
            parts.policies.iter().enumerate().map(|(index, policy)| (policy.name.clone(), index)).collect();
        let all = || parts.policies.iter().map(|policy| policy.limits);
        let widest = Limits {
            message_size: all().map(|limits| limits.message_size).max().unwrap_or(wire::MESSAGE_SIZE.default),
            recipients: all().map(|limits| limits.recipients).max().unwrap_or(1),
            hops: all().map(|limits| limits.hops).max().unwrap_or(1),
        };
        let works = |holder: usize| parts.domains[holder].inbound.is_ok();
        let first = parts.names.exact().min_by_key(|(name, holder)| (!works(*holder), *name));
        let postmaster = first.and_then(|(name, _)| format!("postmaster@{name}").parse().ok());
        Self { parts, policy_index, widest, postmaster }
    }

    /// The names whose addresses are asked for in [`Resolved`]: those of sources, and those of blocked clients.
    pub fn names(&self) -> (impl Iterator<Item = &HostName>, impl Iterator<Item = &HostName>) {
        (self.parts.source_names.keys(), self.parts.blocked_names.iter())
    }

    /// A client has connected.
    pub fn connect(&self, client: &Client, resolved: &Resolved) -> Decision {
        if self.blocking(client.address, resolved).next().is_some() {
            let client = client.address.to_canonical();
            let reply = Reply::new(554, Enhanced(5, 7, 1), format!("{client}: this address is blocked here"));
            let field = "FilterPolicy/default spec.connections.blockedClients";
            return Decision::refuse("blocked-client", reply, Some(field.into()));
        }
        Decision::accept(None)
    }

    /// MAIL: who is it, and by which right?
    pub fn mail(
        &self,
        client: &Client,
        resolved: &Resolved,
        sender: ReversePath,
        declared_size: Option<u64>,
    ) -> (Decision, Transaction) {
        let (tls, party, policy, recipients) = (client.tls, Party::Outsider, None, Vec::new());
        let unknown_name = self.unknown_name(resolved);
        let mut hosts: Vec<Arc<str>> = self.evidence(client, resolved).map(|evidence| evidence.host.clone()).collect();
        let veiled = self.veil(client).filter(|_| hosts.is_empty()).and_then(|veil| {
            let evidence = self.by_address(client.address, resolved).next()?;
            Some((veil, evidence.host.clone()))
        });
        let (client, local) = (client.address.to_canonical(), client.local.to_canonical());
        let mut transaction =
            Transaction { client, local, tls, sender, declared_size, party, policy, recipients, unknown_name, veiled };
        hosts.sort_unstable();
        hosts.dedup();
        let decision = if hosts.is_empty() { Decision::accept(None) } else { self.source(hosts, &mut transaction) };
        if !decision.is_accepted() {
            return (not_for_good(decision, &transaction), transaction);
        }
        let limit = self.message_size_max(Some(&transaction));
        match declared_size {
            Some(size) if size > limit => {
                let object = self.limit_object(transaction.policy, "messageSize");
                (Decision::refuse("too-large", too_large(size, limit), object), transaction)
            }
            _ => (decision, transaction),
        }
    }

    /// A name that may yet prove to be a client's.
    fn unknown_name(&self, resolved: &Resolved) -> Option<Arc<str>> {
        let unknown = self.parts.source_names.iter().filter(|(name, _)| !resolved.is_known(name)).min()?;
        let (HostName::A(name) | HostName::Mx(name), hosts) = unknown;
        Some(format!("RelayHost/{} spec.sources: the addresses of {name} are not known yet", some(hosts)).into())
    }

    /// A source may send as those of our domains that list its host, and as nobody else.
    fn source(&self, hosts: Vec<Arc<str>>, transaction: &mut Transaction) -> Decision {
        let Some(sender) = transaction.sender.mailbox().cloned() else {
            transaction.party = Party::Source { hosts, domain: None };
            return Decision::accept(None);
        };
        let (party, policy, decision) = self.sends_as(&hosts, sender.domain().as_str(), &format!("<{sender}>"));
        transaction.party = party.unwrap_or(Party::Source { hosts, domain: None });
        transaction.policy = policy;
        decision
    }

    /// Whether these hosts' sources may send as `domain`; `what` is the address or domain to name when not.
    fn sends_as(&self, hosts: &[Arc<str>], domain: &str, what: &str) -> (Option<Party>, Option<usize>, Decision) {
        let holder = self.find(domain);
        let outbound = holder.and_then(|domain| domain.outbound.as_ref().map(|way| (domain, way)));
        let Some((holder, way)) = outbound else {
            let hosts = some(hosts);
            let text = match holder {
                Some(_) => {
                    format!("{what}: mail from this domain does not leave here: its RelayDomain has no spec.outbound")
                }
                None => format!(
                    "{what}: relaying denied: no RelayDomain has this domain with {hosts} in spec.outbound.hosts"
                ),
            };
            let object = holder.map(|domain| field(domain, "spec.outbound"));
            return (None, None, Decision::refuse("not-our-sender", Reply::new(550, Enhanced(5, 7, 1), text), object));
        };
        let outbound = match way {
            Ok(outbound) => outbound,
            Err(reason) => return (None, None, unresolved(holder, what, reason)),
        };
        let Some(policy) = self.policy_index.get(&outbound.policy).copied() else {
            return (None, None, unresolved(holder, what, &format!("FilterPolicy {} is missing", outbound.policy)));
        };
        let listed: Vec<_> = hosts.iter().filter(|host| outbound.hosts.contains(host)).cloned().collect();
        let object = Some(field(holder, "spec.outbound.hosts"));
        if listed.is_empty() {
            let hosts = some(hosts);
            let text = format!(
                "{what}: relaying denied: add {hosts} to spec.outbound.hosts of RelayDomain {}, or send as another domain",
                holder.name
            );
            let refused = Decision::refuse("not-our-sender", Reply::new(550, Enhanced(5, 7, 1), text), object);
            return (None, None, refused);
        }
        let party = Party::Source { hosts: listed, domain: Some(domain.into()) };
        (Some(party), Some(policy), Decision::accept(object))
    }

    /// RCPT. An accepted recipient is added to the transaction.
    pub fn rcpt(&self, transaction: &mut Transaction, to: &ForwardPath) -> Decision {
        let recipient = match self.recipient(transaction, to) {
            Ok(recipient) => recipient,
            Err(refusal) => return refusal,
        };
        let decision = match self.find(recipient.domain().as_str()) {
            Some(domain) => self.rcpt_hosted(transaction, domain, &recipient),
            None => self.rcpt_foreign(transaction, &recipient),
        };
        if !decision.is_accepted() {
            return not_for_good(decision, transaction);
        }
        let limits = transaction.policy.map_or(self.widest, |policy| self.parts.policies[policy].limits);
        if transaction.recipients.len() >= limits.recipients {
            let object = self.limit_object(transaction.policy, "recipientsPerMessage");
            return Decision::refuse("too-many-recipients", too_many_recipients(limits.recipients), object);
        }
        transaction.recipients.push(recipient);
        decision
    }

    /// The mailbox that a path means: `<postmaster>` and `postmaster@[our address]` are the postmaster of the
    /// alphabetically first domain name of ours that takes mail now (a wildcard has none). Other literals mean nobody.
    fn recipient(&self, transaction: &Transaction, to: &ForwardPath) -> Result<Mailbox, Decision> {
        let refuse =
            |rule, code, text: &str| Err(Decision::refuse(rule, Reply::new(550, code, format!("{to}: {text}")), None));
        let ours = match to {
            ForwardPath::Postmaster => true,
            ForwardPath::Mailbox(mailbox) if !mailbox.domain().is_literal() => return Ok(mailbox.clone()),
            ForwardPath::Mailbox(mailbox) => {
                let postmaster = is_role(mailbox, &["postmaster"]);
                match literal(mailbox.domain().as_str()) == Some(transaction.local) {
                    true if postmaster => true,
                    true => return refuse("unknown-recipient", Enhanced(5, 1, 1), "no such recipient"),
                    false => false,
                }
            }
        };
        match &self.postmaster {
            Some(postmaster) if ours => Ok(postmaster.clone()),
            None if ours => refuse(
                "unknown-recipient",
                Enhanced(5, 1, 1),
                "no domain that is served here has a name without a wildcard",
            ),
            _ => {
                refuse("relaying-denied", Enhanced(5, 7, 1), "relaying denied: mail to an address literal is not taken")
            }
        }
    }

    /// To a domain of ours: it must exist, whoever asks; outsiders are then held to the domain's policy.
    fn rcpt_hosted(&self, transaction: &mut Transaction, domain: &Domain, recipient: &Mailbox) -> Decision {
        let what = format!("<{recipient}>");
        let inbound = match &domain.inbound {
            Ok(inbound) => inbound,
            Err(reason) => return unresolved(domain, &what, reason),
        };
        if inbound.tls_required
            && let Some(refusal) = unprotected(domain, &what, transaction.tls)
        {
            return refusal;
        }
        let Some(index) = self.policy_index.get(&inbound.policy).copied() else {
            return unresolved(domain, &what, &format!("FilterPolicy {} is missing", inbound.policy));
        };
        let object = Some(field(domain, "spec.recipients"));
        if known(inbound, recipient).is_none() {
            let reply = Reply::new(550, Enhanced(5, 1, 1), format!("{what}: no such recipient"));
            return Decision::refuse("unknown-recipient", reply, object);
        }
        if transaction.party != Party::Outsider {
            return Decision::accept(object);
        }
        self.hold_to_policy(transaction, index, &what).unwrap_or_else(|| Decision::accept(object))
    }

    /// The first accepted recipient of an outsider fixes the policy; it is checked against that policy once.
    fn hold_to_policy(&self, transaction: &mut Transaction, index: usize, what: &str) -> Option<Decision> {
        if transaction.policy == Some(index) {
            return None;
        }
        let policy = &self.parts.policies[index];
        let name = &policy.name;
        if let Some(sender) = transaction.sender.mailbox().filter(|sender| policy.senders.block(sender).is_some()) {
            let text = format!("{what}: mail from <{sender}> is refused here");
            let object = format!("FilterPolicy/{name} spec.senders.blocked");
            return Some(Decision::refuse(
                "blocked-sender",
                Reply::new(550, Enhanced(5, 7, 1), text),
                Some(object.into()),
            ));
        }
        let limit = policy.limits.message_size;
        if let Some(size) = transaction.declared_size.filter(|size| *size > limit) {
            let object = self.limit_object(Some(index), "messageSize");
            return Some(Decision::refuse("too-large", too_large(size, limit), object));
        }
        if transaction.policy.is_some() {
            let text = format!("{what}: has another policy than the recipients before it, send it in another message");
            let object = Some(format!("FilterPolicy/{name}").into());
            return Some(Decision::refuse("other-policy", Reply::new(452, Enhanced(4, 5, 3), text), object));
        }
        transaction.policy = Some(index);
        None
    }

    /// To a domain that is not ours: only for our own sources.
    fn rcpt_foreign(&self, transaction: &Transaction, recipient: &Mailbox) -> Decision {
        match &transaction.party {
            Party::Outsider => relaying_denied(recipient, transaction),
            Party::Source { domain: None, .. } => Decision::accept(None),
            Party::Source { domain: Some(domain), .. } => self
                .leaves(domain, recipient)
                .unwrap_or_else(|| Decision::accept(self.find(domain).map(|domain| field(domain, "spec.outbound")))),
        }
    }

    /// The refusal when mail from `domain`, which is ours, may not go to this recipient, which is not.
    fn leaves(&self, domain: &str, recipient: &Mailbox) -> Option<Decision> {
        let holder = self.find(domain)?;
        let Some(Ok(outbound)) = &holder.outbound else { return None };
        if !outbound.hosted_only {
            return None;
        }
        let text = format!("<{recipient}>: relaying denied: mail from {domain} goes only to domains served here");
        let object = Some(field(holder, "spec.outbound.recipients"));
        Some(Decision::refuse("hosted-only", Reply::new(550, Enhanced(5, 7, 1), text), object))
    }

    /// The whole message is here: the last decision before the spool.
    pub fn content(&self, transaction: &mut Transaction, facts: &ContentFacts) -> Decision {
        let mut decision = Decision::accept(None);
        if let Party::Source { hosts, domain: None } = &transaction.party {
            let hosts = hosts.clone();
            decision = self.null_sender(transaction, &hosts, &facts.from_domains);
        }
        if !decision.is_accepted() {
            return decision;
        }
        let limits = transaction.policy.map_or(self.widest, |policy| self.parts.policies[policy].limits);
        if facts.size > limits.message_size {
            let object = self.limit_object(transaction.policy, "messageSize");
            return Decision::refuse("too-large", too_large(facts.size, limits.message_size), object);
        }
        if facts.hops > limits.hops {
            let object = self.limit_object(transaction.policy, "hops");
            return Decision::refuse("looping", looping(facts.hops, limits.hops), object);
        }
        decision
    }

    /// The null sender of a source: each domain of header From must be one that it may send as; the first selects what
    /// holds for all recipients, which were taken on trust until now.
    fn null_sender(&self, transaction: &mut Transaction, hosts: &[Arc<str>], from: &[String]) -> Decision {
        let Some((first, others)) = from.split_first() else {
            let text = "a message from <> needs a From header field with a domain that is served here";
            return Decision::refuse("not-our-sender", Reply::new(550, Enhanced(5, 7, 1), text), None);
        };
        let what = |domain: &str| format!("header From, {domain}");
        for domain in others {
            let (_, _, decision) = self.sends_as(hosts, domain, &what(domain));
            if !decision.is_accepted() {
                return decision;
            }
        }
        let (party, policy, decision) = self.sends_as(hosts, first, &what(first));
        let (Some(party), Some(index)) = (party, policy) else { return decision };
        let foreign = transaction.recipients.iter().filter(|to| self.find(to.domain().as_str()).is_none());
        if let Some(refusal) = foreign.filter_map(|to| self.leaves(first, to)).next() {
            return refusal;
        }
        let limit = self.parts.policies[index].limits.recipients;
        if transaction.recipients.len() > limit {
            let text = format!("too many recipients: at most {limit} for one message");
            let object = self.limit_object(policy, "recipientsPerMessage");
            return Decision::refuse("too-many-recipients", Reply::new(554, Enhanced(5, 5, 3), text), object);
        }
        transaction.party = party;
        transaction.policy = policy;
        decision
    }

    /// For the envelope, once [`Rules::content`] has accepted. A source whose domain is not known is an outsider, who
    /// reaches only domains of ours.
    pub fn origin(&self, transaction: &Transaction) -> Origin {
        let client = transaction.client;
        match &transaction.party {
            Party::Source { hosts, domain: Some(domain) } => {
                let host = hosts.first().map(|host| host.to_string()).unwrap_or_default();
                Origin::Source { client, host, domain: domain.to_string() }
            }
            Party::Source { domain: None, .. } | Party::Outsider => Origin::Outsider { client },
        }
    }

    /// For EHLO's SIZE the largest of all policies; in a transaction that of its policy, once that is known.
    pub fn message_size_max(&self, transaction: Option<&Transaction>) -> u64 {
        let policy = transaction.and_then(|transaction| transaction.policy);
        policy.map_or(self.widest, |policy| self.parts.policies[policy].limits).message_size
    }

    /// The RelayDomains whose mail must come over TLS.
    pub fn tls_required(&self) -> impl Iterator<Item = &str> {
        let required = |domain: &&Arc<Domain>| domain.inbound.as_ref().is_ok_and(|inbound| inbound.tls_required);
        self.parts.domains.iter().filter(required).map(|domain| &*domain.name)
    }

    pub(super) fn find(&self, domain: &str) -> Option<&Domain> {
        self.parts.names.find(domain).map(|index| &*self.parts.domains[index])
    }

    fn limit_object(&self, policy: Option<usize>, field: &str) -> Option<Arc<str>> {
        policy.map(|policy| format!("FilterPolicy/{} spec.limits.{field}", self.parts.policies[policy].name).into())
    }
}

/// Whether the local part is one of these, in any case.
pub(super) fn is_role(mailbox: &Mailbox, roles: &[&str]) -> bool {
    let key = mailbox.key();
    key.rsplit_once('@').is_some_and(|(local_part, _)| roles.contains(&local_part))
}

/// The address in an address literal (RFC 5321, section 4.1.3).
fn literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    let address: IpAddr = match inner.strip_prefix("ipv6:") {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => IpAddr::V4(inner.parse().ok()?),
    };
    Some(address.to_canonical())
}
