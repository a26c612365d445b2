//! What is wrong with a DMZ, and what to do about each thing. Pure.

use std::collections::BTreeMap;

use postern_operator::kept::{Back, said};
use postern_operator::render::ISOLATION;
use postern_relay::control::Standing;
use postern_wire::snapshot::HostName;
use postern_wire::status::Isolation as Reached;
use serde::Serialize;

use super::{Isolation, ObjectReport, RelayReport};
use crate::cluster::{Kept, Workload};

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    /// The object or the relay.
    pub(super) what: String,
    pub(super) says: String,
    /// What to do: often a command.
    pub(super) todo: String,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) namespace: Option<String>,
    pub(super) relays: Vec<RelayReport>,
    /// Only some of the relays are looked at.
    pub(super) is_narrowed: bool,
    /// What the relays are of.
    pub(super) workload: Option<Workload>,
    /// The digest of the published settings.
    pub(super) settings: Option<String>,
    pub(super) paused: bool,
    pub(super) isolation: Option<Isolation>,
    pub(super) objects: Vec<ObjectReport>,
    /// What relays have left that were scaled in.
    pub(super) kept: Kept,
    /// What could not be read, and why.
    pub(super) unread: Vec<Unread>,
    /// The kinds of objects among that.
    pub(super) unknown: Vec<String>,
}

/// What could not be read.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    pub(super) kind: String,
    pub(super) why: String,
    /// The right that is missing; `None`: something else is wrong.
    pub(super) right: Option<String>,
}

const OPERATOR: &str = "kubectl get pods -A -l app.kubernetes.io/name=postern-operator";

/// The gravest first: what stops all mail, then single relays, then single objects, then what is only not known.
pub(super) fn problems(facts: &Facts) -> Vec<Problem> {
    let mut all = Vec::new();
    if let Some(namespace) = &facts.namespace {
        dmz(facts, namespace, &mut all);
    }
    facts.relays.iter().for_each(|relay| self::relay(facts, relay, &mut all));
    faults(facts, &mut all);
    facts.objects.iter().for_each(|object| self::object(facts, object, &mut all));
    all.extend(facts.unread.iter().map(unread));
    all
}

/// One problem for each object, with what the relays say of it.
fn object(facts: &Facts, object: &ObjectReport, all: &mut Vec<Problem>) {
    let ObjectReport { kind, name, ready: _, troubles, is_unseen } = object;
    let (what, namespace) = (object.title(), facts.namespace.as_deref().unwrap_or_default());
    let mut says: Vec<String> = all.extract_if(.., |one| one.what == what).map(|one| one.says).collect();
    // That something is not done yet tells nothing beside the cause.
    let is_pending = |told: &&String| told.starts_with("Programmed=False, Pending");
    let has_cause = !says.is_empty() || troubles.iter().any(|told| !is_pending(&told) && !told.starts_with("MailKept"));
    says.splice(0..0, troubles.iter().filter(|told| !(has_cause && is_pending(told))).cloned());
    if !says.is_empty() {
        let todo = match is_unseen {
            true => OPERATOR.to_owned(),
            false => format!("kubectl -n {namespace} describe {} {name}", kind.to_lowercase()),
        };
        all.push(problem(what, says.join("; "), todo));
    }
}

fn unread(unread: &Unread) -> Problem {
    let Unread { kind, why, right } = unread;
    let todo = match right {
        Some(right) => format!("ask for the right: {right}"),
        None => "see whether the API server answers, and knows the kind: kubectl api-resources".to_owned(),
    };
    problem("not known".to_owned(), format!("{kind}: {why}"), todo)
}

fn problem(what: String, says: String, todo: String) -> Problem {
    Problem { what, says, todo }
}

fn dmz(facts: &Facts, namespace: &str, all: &mut Vec<Problem>) {
    let mut add = |what: &str, says: String, todo: String| all.push(problem(what.to_owned(), says, todo));
    if let Some((says, todo)) = too_few(facts, namespace) {
        add("relays", says, todo);
    }
    if facts.settings.is_none() && !facts.unread.iter().any(|unread| unread.kind == "ConfigMap") {
        let todo = format!("see whether the operator runs and may write here: {OPERATOR}");
        add("settings", "none are published: the relays take no mail before".to_owned(), todo);
    }
    if facts.paused {
        let todo = format!(
            "when it is over: kubectl -n {namespace} annotate statefulset -l postern.io/relay=true postern.io/paused-"
        );
        add("settings", "paused: no change is enforced while the StatefulSet says postern.io/paused".to_owned(), todo);
    }
    match &facts.isolation {
        Some(isolation) if !isolation.off && !isolation.stands() => {
            let says = format!("the relays are not isolated: of {} not all are there", ISOLATION.join(", "));
            add("isolation", says, format!("kubectl -n {namespace} describe filterpolicy default"));
        }
        _ => {}
    }
    for volume in facts.kept.full() {
        let back = match facts.kept.back([volume]) {
            Some(Back { workload, replicas, first: None }) => {
                let known = facts.workload.clone().filter(|known| known.name == workload);
                known.unwrap_or_else(|| Workload::named(&workload)).scale(namespace, replicas)
            }
            Some(back) => back.to_string(),
            None => format!("make the pod {} again", volume.relay),
        };
        let todo = format!(
            "to have them delivered: {back}; if they are not wanted: kubectl -n {namespace} delete persistentvolumeclaim {}",
            volume.claim
        );
        add("queue", format!("left behind when it was scaled in: {}", said(volume)), todo);
    }
}

/// Fewer relays than there should be: what that means, and what to do.
fn too_few(facts: &Facts, namespace: &str) -> Option<(String, String)> {
    let there = facts.relays.len();
    let describe = format!("kubectl -n {namespace} describe statefulset -l postern.io/relay=true");
    match &facts.workload {
        _ if facts.is_narrowed => None,
        None if there == 0 => {
            let todo = format!("helm install postern-relay charts/relay -n {namespace}");
            Some(("there is no relay pod: no mail is taken".to_owned(), todo))
        }
        Some(workload) if there == 0 && workload.replicas == 0 => {
            let says = format!("the StatefulSet {} has 0 replicas: no mail is taken", workload.name);
            Some((says, format!("raise `replicas`: {}", workload.scale(namespace, "N"))))
        }
        Some(workload) if there < workload.replicas => {
            let grave = if there == 0 { ": no mail is taken" } else { "" };
            Some((format!("{there} of {} pods are there{grave}", workload.replicas), describe))
        }
        _ => None,
    }
}

fn relay(facts: &Facts, relay: &RelayReport, all: &mut Vec<Problem>) {
    let RelayReport { name, pod, standing, unreachable } = relay;
    let mut add = |says: String, todo: String| all.push(problem(name.clone(), says, todo));
    let logs = match &facts.namespace {
        Some(namespace) => format!("kubectl -n {namespace} logs {name}"),
        None => "see its log".to_owned(),
    };
    if let Some(reason) = unreachable {
        let phase = pod.as_ref().filter(|pod| !pod.ready).map(|pod| format!("not ready ({}): ", pod.phase));
        let todo = match &facts.namespace {
            Some(namespace) => format!("kubectl -n {namespace} describe pod {name}"),
            None => logs,
        };
        return add(format!("{}it cannot be asked: {reason}", phase.unwrap_or_default()), todo);
    }
    let Some(Standing { status, not_ready, full, corrupt, .. }) = standing else { return };
    if status.draining {
        let waits = status.queue.as_ref().map(|queue| format!("; {} wait", queue.messages)).unwrap_or_default();
        let todo = "wait: unless it is scaled in, its pod comes back".to_owned();
        add(format!("is ending: it takes no more mail, and delivers what it can{waits}"), todo);
    } else if let Some(reason) = not_ready {
        add(format!("takes no mail: {reason}"), logs.clone());
    }
    if let Some(Reached { canary, reached: true }) = &status.isolation
        && !facts.isolation.as_ref().is_some_and(|isolation| isolation.off)
    {
        let says = format!("reaches {canary}, which no policy opens: nothing enforces the NetworkPolicies around it");
        add(says, "use a network plugin that enforces NetworkPolicies".to_owned());
    }
    if let Some(reason) = &status.rejected {
        add(format!("refuses the settings that it was given: {reason}"), logs.clone());
    }
    if let (Some(published), Some(enforced)) = (&facts.settings, &status.settings)
        && published != enforced.as_str()
    {
        let (enforced, published) = (short(enforced.as_str()), short(published));
        let todo = "wait: Kubernetes brings them within a minute or two";
        add(format!("enforces the settings {enforced}, not yet {published}"), todo.to_owned());
    }
    if *full {
        add(
            "its spool is full: new mail is answered 452".to_owned(),
            "postern queue summary; see what does not get away".to_owned(),
        );
    }
    if *corrupt > 0 {
        add(format!("{corrupt} damaged pieces of its spool were set aside"), logs);
    }
}

const CERTIFICATES: &str = "certificates";
const DELIVERY: &str = "delivery to ";

/// The same fault on several relays is one problem; so is a name that none can look up.
fn faults(facts: &Facts, all: &mut Vec<Problem>) {
    let mut found = BTreeMap::<(String, String), Vec<&str>>::new();
    for RelayReport { name, standing, .. } in &facts.relays {
        let Some(standing) = standing else { continue };
        for object in &standing.status.objects {
            if let Some(fault) = &object.fault {
                let what = format!("{}/{}", object.kind, object.name);
                found.entry((what, fault.clone())).or_default().push(name);
            }
        }
        for resolved in &standing.status.names {
            if let Some(problem) = &resolved.problem {
                let (HostName::A(text) | HostName::Mx(text)) = &resolved.name;
                found
                    .entry((format!("name {text}"), format!("cannot be looked up: {problem}")))
                    .or_default()
                    .push(name);
            }
        }
        for says in &standing.certificates {
            found.entry((CERTIFICATES.to_owned(), says.clone())).or_default().push(name);
        }
        for down in &standing.unreachable {
            let says = format!("its mail waits: {}", down.problem.reply);
            found.entry((format!("{DELIVERY}{}", down.name), says)).or_default().push(name);
        }
    }
    for ((what, says), relays) in found {
        let todo = match what.as_str() {
            CERTIFICATES => {
                "mend the Secret that the chart's value `certificates` names; the relays follow by themselves"
            }
            what if what.starts_with(DELIVERY) => {
                "see whether the server answers; the relays try it again by themselves"
            }
            what if what.starts_with("name ") => "see whether the name servers of the relays answer",
            _ => "mend what it names; the relays follow by themselves",
        };
        all.push(problem(what, format!("{says} (on {})", relays.join(", ")), todo.to_owned()));
    }
}

/// As a person compares digests.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

#[cfg(test)]
pub(super) mod tests;
