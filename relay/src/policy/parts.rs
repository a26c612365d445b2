//! What the rules are compiled into: one part for each object, filled in by `config`, kept as long as the object does not
//! change. Every text in here is already checked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postern_wire::snapshot::HostName;

use super::client::Networks;
use super::limits::Limits;
use super::names::Names;
use super::recipient::Recipients;
use super::sender::Senders;

/// What a RelayDomain decides. A direction that cannot work says why, naming what is missing.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The object's name.
    pub name: Arc<str>,
    /// Mail to it.
    pub inbound: Result<Inbound, Arc<str>>,
    /// Mail from it. Absent: nothing leaves with it as sender.
    pub outbound: Option<Result<Outbound, Arc<str>>>,
}

/// Mail to a domain of ours.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Which recipients exist.
    pub recipients: Recipients,
    /// The policy that outsiders are held to.
    pub policy: Arc<str>,
    /// Mail to it must come over TLS.
    pub tls_required: bool,
}

/// Mail from a domain of ours.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Whose sources may send as it, sorted.
    pub hosts: Vec<Arc<str>>,
    /// Only to domains of ours.
    pub hosted_only: bool,
    /// The policy whose limits hold.
    pub policy: Arc<str>,
}

/// What a FilterPolicy decides about a message.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The object's name.
    pub name: Arc<str>,
    /// Sizes and counts.
    pub limits: Limits,
    /// Senders that outsiders may not use. Our own sources are held to their domain instead, so that blocking our own
    /// domain against forgers does not stop our own mail.
    pub senders: Senders,
}

/// What `Rules` are made of: already checked, each name known.
#[derive(Debug, Default)]
pub struct Parts {
    /// Clients that get 554.
    pub blocked_clients: Networks<()>,
    /// The ranges of every host's sources, with the host's name.
    pub sources: Networks<Arc<str>>,
    /// The names of every host's sources, with the hosts' names.
    pub source_names: HashMap<HostName, Vec<Arc<str>>>,
    /// The addresses of the cluster's nodes: nobody is a source by them.
    pub nodes: Networks<()>,
    /// Names of clients that get 554.
    pub blocked_names: HashSet<HostName>,
    /// Indexes of `domains`.
    pub names: Arc<Names>,
    /// In the order of the Snapshot.
    pub domains: Vec<Arc<Domain>>,
    /// In the order of the Snapshot.
    pub policies: Vec<Arc<Policy>>,
}
