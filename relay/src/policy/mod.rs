//! Every decision about a message, in the order of the API's "Meaning of a decision". Pure: settings and facts in, a
//! [`Decision`] out, which names the object and the field that made it. The server, and whoever explains, ask the same
//! questions here.
//!
//! Nothing here accepts when in doubt: what cannot be known now is answered 451, and all that no rule lets through is
//! answered `550 5.7.1 relaying denied`.

pub mod client;
pub mod evidence;
pub mod limits;
pub mod names;
mod parts;
pub mod recipient;
mod refusals;
pub mod resolved;
mod rules;
pub mod sender;

use std::net::IpAddr;
use std::sync::Arc;

pub use parts::{Domain, Inbound, Outbound, Parts, Policy};
pub use rules::Rules;

use self::evidence::Veil;
use crate::address::{Mailbox, ReversePath};
use crate::smtp::Reply;

/// One decision, as the log and an explanation tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `None`: go on. Otherwise the refusal that the client is told.
    pub refusal: Option<Reply>,
    /// A word for the log and the metrics: `relaying-denied`, `unknown-recipient`, `accepted`, …
    pub rule: &'static str,
    /// The object that decided and its field, `RelayDomain/contoso spec.recipients`; for what is missing also which
    /// reference. Absent: a rule of the relay itself.
    pub object: Option<Arc<str>>,
}

impl Decision {
    fn accept(object: Option<Arc<str>>) -> Self {
        Self { refusal: None, rule: "accepted", object }
    }

    fn refuse(rule: &'static str, reply: Reply, object: Option<Arc<str>>) -> Self {
        Self { refusal: Some(reply), rule, object }
    }

    /// Whether the client may go on.
    pub fn is_accepted(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Who is connected, as far as it is known.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Our own address that it connected to: `postmaster@[this]` is ours.
    pub local: IpAddr,
    /// Its address is, or may be, that of something between it and us, and makes it no source.
    pub masked: bool,
    /// How its connection is protected.
    pub tls: Tls,
    /// The hosts that it has proven to be by a client certificate: names of host sections.
    pub certified: Vec<Arc<str>>,
}

impl Client {
    /// At its own address, in plain text, without any certificate, theirs or ours.
    pub fn plain(address: IpAddr, local: IpAddr) -> Self {
        Self { address, local, masked: false, tls: Tls::Unavailable, certified: Vec::new() }
    }
}

/// Whether a connection is protected by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// No, and it cannot be: the relay has no certificate.
    Unavailable,
    /// No, though STARTTLS is offered.
    Unused,
    /// Yes.
    Active,
}

/// What is known of a transaction between MAIL and the end of its content. Made by [`Rules::mail`].
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The connected client; IPv4 when it came as an IPv4-mapped IPv6 address.
    pub client: IpAddr,
    /// Our own address that it connected to: `postmaster@[this]` is ours.
    pub local: IpAddr,
    /// How the connection is protected.
    pub tls: Tls,
    /// The sender as MAIL named it.
    pub sender: ReversePath,
    /// The SIZE that MAIL declared (RFC 1870).
    pub declared_size: Option<u64>,
    /// By which right it may go on; at the null sender of a source, the domain is found only in header From.
    pub party: Party,
    /// The policy that holds: an outsider's is fixed by the first accepted recipient, a source's by its domain. An index
    /// into the rules that made it.
    pub policy: Option<usize>,
    /// Those accepted so far, as they will stand in the envelope.
    pub recipients: Vec<Mailbox>,
    /// A name that may be the client's, who knows: its addresses are not known yet. An outsider is not sent away for good
    /// while there is one.
    pub unknown_name: Option<Arc<str>>,
    /// Why the client is an outsider although its address is a source's, and the host whose it is.
    pub veiled: Option<(Veil, Arc<str>)>,
}

/// Who the client is, decided at MAIL, before anything about recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Anyone.
    Outsider,
    /// In the sources of these hosts; with a domain, those of them that may send as it.
    Source {
        /// Names of host sections, sorted.
        hosts: Vec<Arc<str>>,
        /// The domain of ours that it sends as; `None` for the null sender until header From is seen.
        domain: Option<Arc<str>>,
    },
}

/// What the content showed, for the last decision before the spool.
#[derive(Clone, Debug, Default)]
pub struct ContentFacts {
    /// Octets, as they will be relayed.
    pub size: u64,
    /// Received header fields that were there when it came.
    pub hops: u32,
    /// The domain of each address in header From, lower-case A-labels.
    pub from_domains: Vec<String>,
}

#[cfg(test)]
mod tests;
