//! Every decision about a message, in the order of the API's "Meaning of a decision". Pure: settings and facts in, a
//! [`Decision`] out, which names the object and the field that made it. The server, and whoever explains, ask the same
//! questions here.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{Mailbox, ReversePath};
use crate::smtp::Reply;

/// One decision, as the log and an explanation tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `None`: go on. Otherwise the refusal that the client is told.
    pub refusal: Option<Reply>,
    /// A word for the log and the metrics: `relaying-denied`, `unknown-recipient`, `accepted`, …
    pub rule: &'static str,
    /// The object that decided, `RelayDomain/contoso`, and its field, `spec.recipients`. Absent: a rule of the relay itself.
    pub object: Option<Arc<str>>,
}

/// What is known of a transaction between MAIL and the end of its content.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The connected client.
    pub client: IpAddr,
    /// The sender as MAIL named it.
    pub sender: ReversePath,
    /// The SIZE that MAIL declared (RFC 1870).
    pub declared_size: Option<u64>,
    /// By which right it may go on; at the null sender of a source, the domain is found only in header From.
    pub party: Party,
    /// The policy that the first accepted recipient fixed: an index into the rules.
    pub policy: Option<usize>,
    /// Those accepted so far, as they will stand in the envelope.
    pub recipients: Vec<Mailbox>,
}

/// Who the client is, decided at MAIL, before anything about recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Anyone.
    Outsider,
    /// In the sources of these hosts that may send as the sender's domain.
    Source {
        /// Names of host sections.
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
