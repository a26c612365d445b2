//! By what a decision comes out as it does: the entries that the rules find, by the functions that they find them by. It
//! decides nothing; whoever explains a decision tells its reader of these.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use postern_wire::snapshot::HostName;

use super::client::Holding;
use super::recipient::Found;
use super::resolved::Resolved;
use super::rules::{Rules, is_role};
use super::{Client, Domain, Inbound, Policy, Transaction};
use crate::address::Mailbox;

/// Something by which a client is a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// The name of the host section.
    pub host: &'a Arc<str>,
    /// Which of its sources.
    pub entry: Entry<'a>,
}

/// An entry that means a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A range that holds its address.
    Range(IpNet),
    /// A name that stands for its address now.
    Name(&'a HostName),
    /// A certificate that it has shown.
    Certificate,
}

/// Why an address says nothing about who is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Veil {
    /// It is a node's, which a Service or a load balancer may have put in place of a client's own.
    Node,
    /// It may be that of a proxy, or of something else that this relay was told of.
    Between,
}

/// Behind the address, in a reply.
impl fmt::Display for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "is the address of a node, behind which anybody may be",
            Self::Between => "is an address behind which anybody may be",
        })
    }
}

/// By what a recipient of a domain of ours is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The postmaster, or abuse@ (RFC 2142): never looked for in a list.
    Role,
    /// As the domain's settings say.
    Found(Found),
}

/// Which RelayDomain has a domain name.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// The RelayDomain.
    pub domain: &'a Domain,
    /// Its name that means this one: itself, or a wildcard.
    pub name: String,
}

/// By what this recipient is taken; `None`: it does not exist.
pub(super) fn known(inbound: &Inbound, recipient: &Mailbox) -> Option<Known> {
    match is_role(recipient, &["postmaster", "abuse"]) {
        true => Some(Known::Role),
        false => inbound.recipients.find(recipient).map(Known::Found),
    }
}

impl Rules {
    /// The entries by which an address is refused as soon as it connects.
    pub fn blocking<'a>(&'a self, address: IpAddr, resolved: &'a Resolved) -> impl Iterator<Item = Entry<'a>> {
        let ranges = self.parts.blocked_clients.holding(address).filter(|range| range.except.is_none());
        let names = resolved.blocked(address).iter().filter(|name| self.parts.blocked_names.contains(*name));
        ranges.map(|range| Entry::Range(range.range)).chain(names.map(Entry::Name))
    }

    /// All by which a client is a source.
    pub fn evidence<'a>(&'a self, client: &'a Client, resolved: &'a Resolved) -> impl Iterator<Item = Evidence<'a>> {
        let veiled = self.veil(client).is_some();
        let by_address = self.by_address(client.address, resolved).filter(move |_| !veiled);
        by_address.chain(client.certified.iter().map(|host| Evidence { host, entry: Entry::Certificate }))
    }

    /// Why a client is no source by its address, whatever says that it were.
    pub fn veil(&self, client: &Client) -> Option<Veil> {
        if self.parts.nodes.hold(client.address) { Some(Veil::Node) } else { client.masked.then_some(Veil::Between) }
    }

    /// All by which an address is a source's, if the client is really there.
    pub fn by_address<'a>(&'a self, address: IpAddr, resolved: &'a Resolved) -> impl Iterator<Item = Evidence<'a>> {
        let ranges = self.parts.sources.holding(address).filter(|range| range.except.is_none());
        let ranges = ranges.map(|range| Evidence { host: range.value, entry: Entry::Range(range.range) });
        let names = resolved.sources(address).iter().flat_map(|name| {
            let hosts = self.parts.source_names.get(name).into_iter().flatten();
            hosts.map(move |host| Evidence { host, entry: Entry::Name(name) })
        });
        ranges.chain(names)
    }

    /// The ranges of sources that hold an address, and the exceptions by which it is none all the same.
    pub fn excepted(&self, address: IpAddr) -> impl Iterator<Item = Holding<'_, Arc<str>>> {
        self.parts.sources.holding(address).filter(|range| range.except.is_some())
    }

    /// Which RelayDomain has this domain name.
    pub fn holder(&self, domain: &str) -> Option<Holder<'_>> {
        let (index, wildcard) = self.parts.names.find_name(domain)?;
        let name = wildcard.map_or_else(|| domain.to_owned(), |parent| format!("*.{parent}"));
        Some(Holder { domain: &self.parts.domains[index], name })
    }

    /// By what a recipient of a domain of ours is taken.
    pub fn known(&self, recipient: &Mailbox) -> Option<Known> {
        known(self.find(recipient.domain().as_str())?.inbound.as_ref().ok()?, recipient)
    }

    /// The policy that a transaction is held to, once there is one.
    pub fn policy(&self, transaction: &Transaction) -> Option<&Policy> {
        transaction.policy.map(|index| &*self.parts.policies[index])
    }

    /// A policy by its name.
    pub fn policy_named(&self, name: &str) -> Option<&Policy> {
        self.parts.policies.iter().find(|policy| &*policy.name == name).map(|policy| &**policy)
    }
}
