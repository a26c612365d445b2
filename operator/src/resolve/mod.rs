//! Inputs → Model: every reference looked up, every default filled in, every conflict decided. A total function.
//!
//! What is wrong with an object becomes a [`Problem`] of that object and closes as little as it can: an entry, a direction,
//! at most the object itself. No other object is touched. An object that cannot be decoded keeps its last good part, read
//! back from the published Snapshot; what is left of it there must stand on its own, like everything in the Model.
//!
//! No client, no async, no clock, no environment. Equal inputs, in any order, give an equal Model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use postern_crds::condition::Reason;
use postern_wire::Section;
use postern_wire::snapshot::{Domain, Host, Outbound, Policy, SecretFile, Way};

use crate::history::History;
use crate::inputs::{Anchor, Inputs, Kind, Meta, Object, ObjectRef, Place, SecretBytes, Written};
use crate::problem::{Effect, Problem, Problems, quoted};

mod conflict;
pub mod defaults;
mod domain;
mod host;
mod host_list;
mod mailbox;
pub(crate) mod name;
mod network;
pub(crate) mod node;
mod offer;
mod policy;
mod recipients;
mod secret;
mod service;
pub(crate) mod target;

/// What one DMZ means.
#[derive(Clone, Debug)]
pub struct Model {
    /// Where it will be in force.
    pub place: Place,
    /// The namespace.
    pub namespace: String,
    /// The namespace of the operator's pods.
    pub operator_namespace: String,
    /// Why nothing may be written now. `None`: everything may.
    pub hold: Option<Hold>,
    /// What owns the objects that concern the whole namespace.
    pub anchor: Option<Anchor>,
    /// Sorted by name. Every name in them is that of a section of this Model.
    pub domains: Vec<Section<Domain>>,
    /// Sorted by name.
    pub hosts: Vec<Section<Host>>,
    /// Sorted by name.
    pub policies: Vec<Section<Policy>>,
    /// The files that `hosts` refer to.
    pub secrets: BTreeMap<SecretFile, SecretBytes>,
    /// Where the relays may connect, sorted by host.
    pub paths: Vec<Path>,
    /// The RelayDomains whose mail leaves directly to the recipients' MX, sorted by name.
    pub direct: Vec<Direct>,
    /// The ranges of the nodes' addresses, none within another.
    pub nodes: BTreeSet<IpNet>,
    /// What DNS has answered, as it is written down on the policies that it feeds.
    pub history: History,
    /// What of the Internet's addresses is not the Internet, beside those that never are: the cluster's.
    pub cluster_ranges: BTreeSet<IpNet>,
    /// Addresses that are never a target.
    pub refused_targets: BTreeSet<IpAddr>,
    /// Names that the operator would write and somebody else holds.
    pub foreign: BTreeSet<Written>,
}

/// Why nothing, or not everything, is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The namespace could not be read.
    Unreadable,
    /// There is no relay workload.
    NoAnchor,
    /// The relay workload says `postern.io/paused: "true"`.
    Paused,
    /// The settings, or the secrets, are larger than an object may be.
    Full,
    /// An object that is not ours has the name of one without which no settings may be published.
    NameTaken,
}

impl Hold {
    /// The reason on the objects that the relays do not enforce because of it.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Unreadable => Reason::Forbidden,
            Self::NoAnchor => Reason::NoRelay,
            Self::Paused => Reason::Paused,
            Self::Full => Reason::SettingsFull,
            Self::NameTaken => Reason::NameTaken,
        }
    }

    /// The sentence on them.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unreadable => "nothing new is published, for the namespace cannot be read",
            Self::NoAnchor => "nothing is published without a relay",
            Self::Paused => {
                "nothing new is published, for the relay workload is annotated postern.io/paused: \"true\" (paused of \
                 charts/relay)"
            }
            Self::Full | Self::NameTaken => "nothing new is published, see the FilterPolicy default",
        }
    }
}

/// Where a RelayHost's endpoints are today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The name of the RelayHost.
    pub host: String,
    /// Its uid.
    pub uid: String,
    /// The addresses for each port. None is empty.
    pub ports: BTreeMap<u16, BTreeSet<IpAddr>>,
    /// The pods behind Services, and their ports. None is empty.
    pub pods: BTreeMap<Pods, BTreeSet<u16>>,
}

/// The pods behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pods {
    /// Their namespace.
    pub namespace: String,
    /// Their labels; never empty, which would be all of them.
    pub selector: BTreeMap<String, String>,
}

/// A RelayDomain whose mail leaves directly to the recipients' MX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The name of the RelayDomain.
    pub domain: String,
    /// Its uid.
    pub uid: String,
}

/// Objects for which there is no room as they are: they are taken as they were published last, or not at all.
pub type Withheld = BTreeSet<ObjectRef>;

/// What the objects mean, and what is wrong with them.
pub fn resolve(inputs: &Inputs) -> (Model, Vec<Problem>) {
    resolve_without(inputs, &Withheld::new())
}

/// The same without what these objects say now.
pub fn resolve_without(inputs: &Inputs, withheld: &Withheld) -> (Model, Vec<Problem>) {
    let mut problems = Vec::new();
    let (hosts, secrets) = hosts(inputs, withheld, &mut problems);
    let policies = policies(inputs, withheld, &mut problems);
    let domains = domains(inputs, withheld, &hosts, &policies, &mut problems);
    let paths = paths(inputs, &hosts, &mut problems);
    if let Some(why) = &inputs.unreadable {
        unreadable(inputs, why, &mut problems);
    }
    let direct = direct(&domains);
    let model = Model {
        place: inputs.place,
        namespace: inputs.namespace.clone(),
        operator_namespace: inputs.operator_namespace.clone(),
        hold: hold(inputs),
        anchor: inputs.anchor.clone(),
        domains,
        hosts,
        policies,
        secrets,
        paths,
        direct,
        nodes: node::nodes(inputs),
        history: inputs.history.clone(),
        cluster_ranges: inputs.cluster_ranges.clone(),
        refused_targets: inputs.refused_targets.clone(),
        foreign: inputs.foreign.clone(),
    };
    (model, problems)
}

fn hold(inputs: &Inputs) -> Option<Hold> {
    match &inputs.anchor {
        _ if inputs.unreadable.is_some() => Some(Hold::Unreadable),
        None if inputs.place == Place::Cluster => Some(Hold::NoAnchor),
        Some(Anchor { paused: true, .. }) => Some(Hold::Paused),
        _ => None,
    }
}

/// Nothing that is named could be looked up: no reference is called missing for it.
fn unreadable(inputs: &Inputs, why: &str, problems: &mut Vec<Problem>) {
    problems.retain(|problem| problem.effect != Effect::Unresolved);
    let Inputs { domains, hosts, policies, .. } = inputs;
    let domains = domains.iter().map(|object| (Kind::RelayDomain, &object.meta));
    let hosts = hosts.iter().map(|object| (Kind::RelayHost, &object.meta));
    let policies = policies.iter().map(|object| (Kind::FilterPolicy, &object.meta));
    for (kind, meta) in domains.chain(hosts).chain(policies) {
        Problems::of(kind, &meta.name, problems).add(Effect::Unreadable, Reason::Forbidden, why);
    }
}

/// In the order of their names, which is that of the sections and of the problems.
fn sorted<S>(objects: &[Object<S>]) -> Vec<&Object<S>> {
    let mut sorted: Vec<_> = objects.iter().collect();
    sorted.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    sorted
}

/// What an object says, or said last.
enum Said<'a, S, T> {
    Now(&'a S),
    Once(&'a Section<T>),
}

/// What counts of an object: what it says now, if that can be decoded and there is room for it; or else what was published
/// last.
fn said<'a, S, T>(
    object: &'a Object<S>,
    withheld: bool,
    published: Option<&'a [Section<T>]>,
    problems: &mut Problems<'_>,
) -> Option<Said<'a, S, T>> {
    let Object { meta, spec, conditions: _ } = object;
    match spec {
        Ok(spec) if !withheld => Some(Said::Now(spec)),
        Ok(_) => last_good(published, meta).map(Said::Once),
        Err(error) => {
            let section = last_good(published, meta);
            let message = format!("cannot be read: {error}; {}", instead(section));
            problems.add(Effect::NotAccepted, Reason::Invalid, message);
            section.map(Said::Once)
        }
    }
}

/// The section that this very object has in what was published last; they are sorted.
pub(crate) fn last_good<'a, T>(sections: Option<&'a [Section<T>]>, meta: &Meta) -> Option<&'a Section<T>> {
    let sections = sections.unwrap_or_default();
    let found = sections.binary_search_by(|section| section.name.cmp(&meta.name)).ok()?;
    sections.get(found).filter(|section| section.uid == meta.uid)
}

/// What is in force of an object in place of what it says.
pub(crate) fn instead<T>(section: Option<&Section<T>>) -> String {
    match section {
        Some(section) => format!("what it said at generation {} stays in force", section.generation),
        None => "it has no part in the settings".to_owned(),
    }
}

fn is_withheld(withheld: &Withheld, kind: Kind, meta: &Meta) -> bool {
    !withheld.is_empty() && withheld.contains(&ObjectRef::new(kind, &meta.name))
}

fn hosts(inputs: &Inputs, withheld: &Withheld, all: &mut Vec<Problem>) -> (Vec<Section<Host>>, secret::SecretFiles) {
    let published = inputs.published.as_ref().map(|published| &*published.snapshot.hosts);
    let mut files = BTreeMap::new();
    let mut sections = Vec::with_capacity(inputs.hosts.len());
    for object in sorted(&inputs.hosts) {
        let meta = &object.meta;
        let mut problems = Problems::of(Kind::RelayHost, &meta.name, all);
        match said(object, is_withheld(withheld, Kind::RelayHost, meta), published, &mut problems) {
            Some(Said::Now(spec)) => {
                let spec = host::host(inputs, spec, &mut files, &mut problems);
                sections.push(Section::new(&meta.name, &meta.uid, meta.generation, spec));
            }
            Some(Said::Once(section)) => sections.push(host::revive(inputs, section, &mut files)),
            None => {}
        }
    }
    (sections, files)
}

fn policies(inputs: &Inputs, withheld: &Withheld, all: &mut Vec<Problem>) -> Vec<Section<Policy>> {
    let published = inputs.published.as_ref().map(|published| &*published.snapshot.policies);
    let mut sections = Vec::with_capacity(inputs.policies.len());
    for object in sorted(&inputs.policies) {
        let meta = &object.meta;
        let mut problems = Problems::of(Kind::FilterPolicy, &meta.name, all);
        match said(object, is_withheld(withheld, Kind::FilterPolicy, meta), published, &mut problems) {
            Some(Said::Now(spec)) => {
                let spec = policy::policy(&meta.name, spec, &mut problems);
                sections.push(Section::new(&meta.name, &meta.uid, meta.generation, spec));
            }
            Some(Said::Once(section)) => sections.push(section.clone()),
            None => {}
        }
    }
    sections
}

fn paths(inputs: &Inputs, hosts: &[Section<Host>], all: &mut Vec<Problem>) -> Vec<Path> {
    let path =
        |section: &Section<Host>| target::path(inputs, section, &mut Problems::of(Kind::RelayHost, &section.name, all));
    hosts.iter().filter_map(path).collect()
}

fn direct(domains: &[Section<Domain>]) -> Vec<Direct> {
    let is_direct = |section: &&Section<Domain>| matches!(&section.spec.outbound, Some(Way::Open(Outbound { via, .. })) if via.is_empty());
    let direct = |section: &Section<Domain>| Direct { domain: section.name.clone(), uid: section.uid.clone() };
    domains.iter().filter(is_direct).map(direct).collect()
}

fn domains(
    inputs: &Inputs,
    withheld: &Withheld,
    hosts: &[Section<Host>],
    policies: &[Section<Policy>],
    all: &mut Vec<Problem>,
) -> Vec<Section<Domain>> {
    let published = inputs.published.as_ref().map(|published| &*published.snapshot.domains);
    let mut claims = Vec::with_capacity(inputs.domains.len());
    let mut all_said = Vec::with_capacity(inputs.domains.len());
    for object in sorted(&inputs.domains) {
        let meta = &object.meta;
        let mut problems = Problems::of(Kind::RelayDomain, &meta.name, all);
        let what = said(object, is_withheld(withheld, Kind::RelayDomain, meta), published, &mut problems);
        let names = match &what {
            Some(Said::Now(spec)) => names(&spec.domains, &mut problems),
            Some(Said::Once(section)) => section.spec.names.clone(),
            None => continue,
        };
        claims.push(conflict::Claim { object: &meta.name, created: meta.created, names });
        all_said.extend(what.map(|what| (meta, what)));
    }
    let mut outcome = conflict::settle(&claims);
    let offers = offer::Offers::of(inputs, withheld, hosts, policies);
    let mut sections = Vec::with_capacity(all_said.len());
    for ((meta, said), claim) in all_said.into_iter().zip(&claims) {
        let mut problems = Problems::of(Kind::RelayDomain, &meta.name, all);
        let held = outcome.remove(&meta.name).unwrap_or_default();
        if tell_lost(&held, &mut problems) {
            let context = domain::Context { inputs, offers: &offers, held: &held.names, claimed: &claim.names };
            sections.push(match said {
                Said::Now(spec) => {
                    let spec = domain::domain(&context, spec, &mut problems);
                    Section::new(&meta.name, &meta.uid, meta.generation, spec)
                }
                Said::Once(section) => domain::revive(section, &held.names, &offers),
            });
        }
    }
    sections
}

/// The valid names, sorted, each once.
fn names(written: &[String], problems: &mut Problems<'_>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (index, text) in written.iter().enumerate() {
        match name::domain_name(text) {
            Ok(name) => {
                names.insert(name);
            }
            Err(why) => problems.partial(Reason::Invalid, format!("spec.domains[{index}]: {} {why}", quoted(text))),
        }
    }
    names.into_iter().collect()
}

/// Whether an object still holds any name.
fn tell_lost(held: &conflict::Held, problems: &mut Problems<'_>) -> bool {
    let conflict::Held { names, lost } = held;
    let told: Vec<_> = lost
        .iter()
        .map(|(name, winner)| format!("{name} belongs to the RelayDomain {winner}, which was first"))
        .collect();
    let told = format!("spec.domains: {}", told.join(", "));
    match (names.is_empty(), lost.is_empty()) {
        (false, true) => {}
        (false, false) => problems.partial(Reason::Conflicted, told),
        (true, false) => {
            problems.add(Effect::NotAccepted, Reason::Conflicted, format!("{told}; no name is left to this object"));
        }
        (true, true) => {
            problems.add(Effect::NotAccepted, Reason::Invalid, "spec.domains: holds no valid name");
        }
    }
    !names.is_empty()
}

#[cfg(test)]
mod tests;
