//! What each object is told about itself: its conditions, from its problems and from what the relays report. A total
//! function; writing them is somebody else's.
//!
//! A condition keeps its `lastTransitionTime` as long as its status stays; so that, with nothing new, the answer is the one
//! that is there already, and nothing is written.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use postern_crds::condition::{ConditionType, Reason};
use postern_crds::status::{DomainStatus, DomainSummary, HostStatus, HostSummary, KeptVolume, PolicyStatus, Summary};
use postern_crds::{RelayDomainSpec, RelayHostSpec};
use postern_wire::Section;
use postern_wire::snapshot::{Domain, Endpoint, Host, Way};

use crate::inputs::{Inputs, Kind, Meta, Object, ObjectRef, Place, Relay};
use crate::kept::volumes;
use crate::problem::{DEFAULT_POLICY, Effect, Problem};
use crate::render::Rendered;
use crate::resolve::defaults::PORT;
use crate::resolve::node;
use programmed::{Enforced, Expected, Reports};

mod isolation;
mod kept;
mod programmed;

/// Characters of a condition's message; the API takes 32,768.
const MESSAGE_CHARS_MAX: usize = 2000;

/// The status of one object, to be written if it differs from what is there.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStatus {
    /// Which object.
    pub object: ObjectRef,
    /// Its uid: the status of another object of that name is not to be overwritten with this.
    pub uid: String,
    /// The status.
    pub status: KindStatus,
}

/// A status by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum KindStatus {
    /// Of a RelayDomain.
    Domain(DomainStatus),
    /// Of a RelayHost.
    Host(HostStatus),
    /// Of a FilterPolicy.
    Policy(PolicyStatus),
}

/// The status of every object, sorted by kind and name. `problems` are those of resolve, and whatever else came up while
/// the objects were written; those of render are taken from `rendered`.
pub fn status(
    inputs: &Inputs,
    problems: &[Problem],
    rendered: &Rendered,
    relays: &[Relay],
    now: Timestamp,
) -> Vec<ObjectStatus> {
    let mut mine: HashMap<(Kind, &str), Vec<&Problem>> = HashMap::new();
    for problem in problems.iter().chain(&rendered.problems) {
        mine.entry((problem.object.kind, &problem.object.name)).or_default().push(problem);
    }
    let late = problems.iter().filter(|problem| problem.effect == Effect::Late).map(|problem| &*problem.message);
    let (late, reports, kept) = (late.collect(), Reports::of(relays), volumes(inputs));
    let scene = Scene { inputs, problems: mine, late, rendered, relays, reports, kept, now };
    let snapshot = &rendered.settings.snapshot;
    let domains = inputs.domains.iter().map(|object| {
        let section = section(&snapshot.domains, &object.meta.name);
        let (conditions, relays) = scene.conditions(Kind::RelayDomain, object, section.map(Expected::of), || {
            held_back(section.map(|section| &section.spec)).into_iter().collect()
        });
        let summary = DomainSummary { deliver_to: deliver_to(object.spec.as_deref().ok()), relays };
        let observed_generation = Some(object.meta.generation);
        let status = DomainStatus { observed_generation, summary: Some(summary), conditions };
        answer(Kind::RelayDomain, &object.meta, KindStatus::Domain(status))
    });
    let hosts = inputs.hosts.iter().map(|object| {
        let section = section(&snapshot.hosts, &object.meta.name);
        let (conditions, relays) = scene.conditions(Kind::RelayHost, object, section.map(Expected::of), || {
            let among = section.and_then(|section| among_nodes(inputs, &section.spec));
            suspended(object.spec.as_deref().ok()).into_iter().chain(among).collect()
        });
        let endpoint = section.and_then(|section| endpoint(&section.spec));
        let (observed_generation, summary) = (Some(object.meta.generation), Some(HostSummary { endpoint, relays }));
        let status = HostStatus { observed_generation, summary, conditions };
        answer(Kind::RelayHost, &object.meta, KindStatus::Host(status))
    });
    let policies = inputs.policies.iter().map(|object| {
        let section = section(&snapshot.policies, &object.meta.name);
        let (conditions, relays) = scene.conditions(Kind::FilterPolicy, object, section.map(Expected::of), || {
            (object.meta.name == DEFAULT_POLICY).then(|| nodes_unknown(inputs)).flatten().into_iter().collect()
        });
        let (observed_generation, summary) = (Some(object.meta.generation), Some(Summary { relays }));
        let kept = if object.meta.name == DEFAULT_POLICY { scene.kept.as_slice() } else { &[] };
        let kept_volumes = kept.iter().take(KeptVolume::LISTED_MAX).cloned().collect();
        let status = PolicyStatus { observed_generation, summary, conditions, kept_volumes };
        answer(Kind::FilterPolicy, &object.meta, KindStatus::Policy(status))
    });
    let mut all: Vec<_> = domains.chain(hosts).chain(policies).collect();
    all.sort_by(|a, b| a.object.cmp(&b.object));
    all
}

/// The section of this name: they are sorted.
fn section<'a, T>(sections: &'a [Section<T>], name: &str) -> Option<&'a Section<T>> {
    sections.binary_search_by(|section| section.name.as_str().cmp(name)).ok().map(|found| &sections[found])
}

fn answer(kind: Kind, meta: &Meta, status: KindStatus) -> ObjectStatus {
    ObjectStatus { object: ObjectRef::new(kind, &meta.name), uid: meta.uid.clone(), status }
}

/// `exchange-a +1`: in the order in which they are tried.
fn deliver_to(spec: Option<&RelayDomainSpec>) -> Option<String> {
    let hops = &spec?.deliver_to;
    let preference = |hop: &postern_crds::reference::NextHop| {
        (hop.preference.unwrap_or(crate::resolve::defaults::PREFERENCE), hop.name.clone())
    };
    let (_, first) = hops.iter().map(preference).min()?;
    Some(if hops.len() > 1 { format!("{first} +{}", hops.len() - 1) } else { first })
}

/// `10.20.0.11`, `mail.corp.example:587 +1`, `mx:example.com`: in the order in which they are written, but MX behind.
fn endpoint(host: &Host) -> Option<String> {
    let Host { endpoints, mx, .. } = host;
    let named = endpoints.first().map(|Endpoint { address, port }| match (*port, address.contains(':')) {
        (PORT, _) => address.clone(),
        (port, false) => format!("{address}:{port}"),
        (port, true) => format!("[{address}]:{port}"),
    });
    let first = named.or_else(|| Some(format!("mx:{}", mx.first()?)))?;
    let more = endpoints.len() + mx.len() - 1;
    Some(if more > 0 { format!("{first} +{more}") } else { first })
}

/// What a working RelayDomain should know all the same.
fn held_back(domain: Option<&Domain>) -> Option<&'static str> {
    let Domain { inbound, bounces, outbound, .. } = domain?;
    (matches!(inbound, Way::Open(_)) && bounces.is_none() && outbound.is_none()).then_some(
        "notifications to senders elsewhere are held, for no way out is given: set spec.bounces or spec.outbound",
    )
}

/// What a working RelayHost should know all the same.
fn suspended(spec: Option<&RelayHostSpec>) -> Option<&'static str> {
    (spec?.suspend == Some(true)).then_some("it is suspended: its mail is kept, and nothing is sent to it")
}

/// What a DMZ should know in which nobody can be told from a node.
fn nodes_unknown(inputs: &Inputs) -> Option<&'static str> {
    (inputs.place == Place::Cluster && inputs.nodes.is_none()).then_some(
        "which addresses are nodes' is not known, for the operator may not list nodes or looks after single namespaces: \
         name them with the relays' --never-source (neverSource of charts/relay), or whoever is hidden behind one may be \
         taken for a source",
    )
}

/// What a RelayHost whose sources are among the nodes should know, or may be among them.
fn among_nodes(inputs: &Inputs, host: &Host) -> Option<&'static str> {
    let Some(nodes) = &inputs.nodes else {
        let by_address = !host.sources.is_empty() || !host.source_names.is_empty();
        return nodes_unknown(inputs).filter(|_| by_address).map(|_| {
            "spec.sources may have addresses of nodes, which are not known (see the FilterPolicy default): then anybody \
             whom a node hides could relay"
        });
    };
    let among = host.sources.iter().any(|network| node::some_of(network, nodes));
    among.then_some("among spec.sources are addresses of nodes, by which nobody is a source")
}

/// What all objects have in common.
struct Scene<'a> {
    inputs: &'a Inputs,
    problems: HashMap<(Kind, &'a str), Vec<&'a Problem>>,
    /// Why what is pending takes longer than it should.
    late: Vec<&'a str>,
    rendered: &'a Rendered,
    relays: &'a [Relay],
    reports: Reports<'a>,
    /// The volumes that relays have left.
    kept: Vec<KeptVolume>,
    now: Timestamp,
}

/// A condition before it has a time.
struct Verdict {
    of: ConditionType,
    /// `None`: Unknown.
    holds: Option<bool>,
    reason: Reason,
    message: String,
}

impl Scene<'_> {
    /// The conditions of an object, and how many relays enforce it. `remarks` are added to what is ready.
    fn conditions<S>(
        &self,
        kind: Kind,
        object: &Object<S>,
        expected: Option<Expected<'_>>,
        remarks: impl FnOnce() -> Vec<&'static str>,
    ) -> (Vec<Condition>, Option<String>) {
        let Object { meta, spec, conditions } = object;
        let mine = Mine(self.problems.get(&(kind, &*meta.name)).map(Vec::as_slice).unwrap_or_default());
        let accepted = mine.accepted();
        let resolved = mine.resolved(spec.is_ok());
        let enforced = programmed::enforced(kind, expected.as_ref(), self.rendered.settings.schema, &self.reports);
        // Relays that were told less than the object says enforce what they were told.
        let less = [Reason::RelayTooOld, Reason::SettingsFull];
        let told_less = mine.0.iter().any(|it| it.effect == Effect::NotProgrammed && less.contains(&it.reason));
        let count = enforced.count(expected.as_ref().map(|it| !told_less && it.generation == meta.generation));
        let programmed = self.programmed(&mine, meta.generation, expected.as_ref(), &enforced);
        let partial = mine.partial();
        let mut remarks = remarks();
        remarks.extend(partial.as_ref().map(|_| "a part of it is not in force, see PartiallyInvalid"));
        let is_dmz = kind == Kind::FilterPolicy && meta.name == DEFAULT_POLICY;
        let isolated = is_dmz.then(|| isolation::isolated(self.inputs, self.relays)).flatten();
        let kept = is_dmz.then(|| kept::mail_kept(self.inputs, &self.kept)).flatten();
        let left = kept.as_ref().filter(|kept| kept.holds == Some(true));
        remarks.extend(left.map(|_| "relays that were scaled in have left mail, see MailKept"));
        let open = isolated.as_ref().filter(|isolated| isolated.holds == Some(false));
        let open = open.filter(|_| isolation::writes_policies(self.inputs));
        let all: Vec<&Verdict> = [&accepted, &resolved, &programmed].into_iter().chain(open).collect();
        let ready = ready(&all, &remarks);
        let verdicts = [Some(ready), Some(accepted), Some(resolved), Some(programmed), partial, isolated, kept];
        let before = conditions.decoded();
        let stamp = |verdict: Verdict| self.stamp(verdict, meta.generation, &before);
        (verdicts.into_iter().flatten().map(stamp).collect(), count)
    }

    fn programmed(
        &self,
        mine: &Mine<'_>,
        generation: i64,
        expected: Option<&Expected<'_>>,
        enforced: &Enforced,
    ) -> Verdict {
        let not = |reason, message| Verdict { of: ConditionType::Programmed, holds: Some(false), reason, message };
        if let Some((reason, message)) = mine.told(Effect::NotProgrammed) {
            return not(reason, message);
        }
        if let (None, Some(_)) = (&self.inputs.anchor, &self.inputs.unreadable) {
            let message = "which relays there are cannot be known, see ResolvedRefs".to_owned();
            return Verdict { of: ConditionType::Programmed, holds: None, reason: Reason::Forbidden, message };
        }
        if self.inputs.anchor.is_none() {
            let message = "there is no relay: no StatefulSet in this namespace is labelled postern.io/relay: \"true\"";
            return not(Reason::NoRelay, message.to_owned());
        }
        let Some(expected) = expected else {
            return not(Reason::NotAccepted, "it has no part in the settings, so no relay enforces it".to_owned());
        };
        let (holds, reason, mut message) = enforced.verdict(self.rendered.hold);
        if reason == Reason::Pending {
            message.extend(self.late.iter().map(|why| format!("; {why}")));
        }
        if holds == Some(true) && expected.generation != generation {
            return not(Reason::NotAccepted, enforced.of_older(expected.generation));
        }
        Verdict { of: ConditionType::Programmed, holds, reason, message }
    }

    fn stamp(&self, verdict: Verdict, generation: i64, before: &[Condition]) -> Condition {
        let Verdict { of, holds, reason, message } = verdict;
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = before.iter().find(|condition| condition.type_ == of.as_str() && condition.status == status);
        Condition {
            type_: of.as_str().to_owned(),
            status: status.to_owned(),
            observed_generation: Some(generation),
            reason: reason.as_str().to_owned(),
            message: shown(&message),
            last_transition_time: same
                .map_or_else(|| Time(seconds(self.now)), |same| same.last_transition_time.clone()),
        }
    }
}

/// As precise as the API keeps it: anything finer would differ from what is read back.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// As a condition may have it: `kubectl describe` shows it as it is, and a part of it may be a relay's own words, which are
/// not to steer a terminal.
fn shown(message: &str) -> String {
    let printable = |letter: char| if letter.is_control() { '?' } else { letter };
    let mut shown: String = message.chars().take(MESSAGE_CHARS_MAX).map(printable).collect();
    if message.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        shown.push_str(" …");
    }
    shown
}

/// The problems of one object.
struct Mine<'a>(&'a [&'a Problem]);

impl Mine<'_> {
    /// The reason of the first problem with this effect, and the messages of all.
    fn told(&self, effect: Effect) -> Option<(Reason, String)> {
        let problems: Vec<_> = self.0.iter().filter(|problem| problem.effect == effect).collect();
        let reason = problems.first()?.reason;
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        Some((reason, messages.join(". ")))
    }

    fn accepted(&self) -> Verdict {
        let of = ConditionType::Accepted;
        match self.told(Effect::NotAccepted) {
            Some((reason, message)) => Verdict { of, holds: Some(false), reason, message },
            None => {
                let message = "valid, and a part of the settings".to_owned();
                Verdict { of, holds: Some(true), reason: Reason::Accepted, message }
            }
        }
    }

    fn resolved(&self, readable: bool) -> Verdict {
        let of = ConditionType::ResolvedRefs;
        if let Some((reason, message)) = self.told(Effect::Unresolved) {
            return Verdict { of, holds: Some(false), reason, message };
        }
        if let Some((reason, message)) = self.told(Effect::Unreadable) {
            return Verdict { of, holds: None, reason, message };
        }
        if !readable {
            let message = "the object cannot be read, so what it names is not known".to_owned();
            return Verdict { of, holds: None, reason: Reason::Invalid, message };
        }
        let message = "everything that it names was found".to_owned();
        Verdict { of, holds: Some(true), reason: Reason::ResolvedRefs, message }
    }

    fn partial(&self) -> Option<Verdict> {
        let (reason, message) = self.told(Effect::Partial)?;
        Some(Verdict { of: ConditionType::PartiallyInvalid, holds: Some(true), reason, message })
    }
}

/// The summary: the first of them that does not hold says why.
fn ready(all: &[&Verdict], remarks: &[&str]) -> Verdict {
    let of = ConditionType::Ready;
    let culprit = all.iter().find(|verdict| verdict.holds == Some(false)).or(all.iter().find(|v| v.holds.is_none()));
    let Some(culprit) = culprit else {
        let remarks = remarks.iter().map(|remark| format!("; {remark}"));
        let message = format!("enforced by every ready relay{}", remarks.collect::<String>());
        return Verdict { of, holds: Some(true), reason: Reason::Ready, message };
    };
    let reason = match culprit.of {
        ConditionType::Accepted => Reason::NotAccepted,
        ConditionType::ResolvedRefs => Reason::UnresolvedRefs,
        ConditionType::Isolated => Reason::NotIsolated,
        _ => Reason::NotProgrammed,
    };
    Verdict { of, holds: culprit.holds, reason, message: culprit.message.clone() }
}

#[cfg(test)]
mod tests;
