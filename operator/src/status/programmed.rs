//! Whether the relays enforce an object: their own account of its section, compared by digest.
//!
//! Not by generation alone: a changed ConfigMap of recipients changes a section and no generation. A relay that is not ready
//! takes no mail and counts for nothing; one that is ready and cannot be asked leaves the answer open.

use std::collections::HashMap;

use postern_crds::condition::Reason;
use postern_wire::status::Object;
use postern_wire::{Digest, Section, Status};

use crate::inputs::{Kind, Relay, Report};
use crate::resolve::Hold;

/// What a relay has to report about an object.
pub(super) struct Expected<'a> {
    name: &'a str,
    uid: &'a str,
    pub(super) generation: i64,
    digest: &'a Digest,
}

impl<'a> Expected<'a> {
    pub(super) fn of<T>(section: &'a Section<T>) -> Self {
        let Section { name, uid, generation, digest, spec: _ } = section;
        Self { name, uid, generation: *generation, digest }
    }
}

/// How it stands with the relays.
#[derive(Debug, Default)]
pub(super) struct Enforced {
    /// Ready relays that enforce it.
    by: usize,
    /// Ready relays.
    ready: usize,
    /// Relays that are not.
    not_ready: usize,
    /// For each reason, a phrase for each relay that does not enforce it.
    unreachable: Vec<String>,
    too_old: Vec<String>,
    rejected: Vec<String>,
    pending: Vec<String>,
}

/// What the relays report, ready to be asked about one object after the other.
pub(super) struct Reports<'a>(Vec<(&'a Relay, ByName<'a>)>);

/// Objects by kind and name.
type ByName<'a> = HashMap<(&'a str, &'a str), &'a Object>;

impl<'a> Reports<'a> {
    pub(super) fn of(relays: &'a [Relay]) -> Self {
        let by_name = |relay: &'a Relay| {
            let objects = match &relay.report {
                Report::Answered(status) => status.objects.as_slice(),
                Report::NotReady(_) | Report::Unreachable(_) => &[],
            };
            (relay, objects.iter().map(|object| ((&*object.kind, &*object.name), object)).collect())
        };
        Self(relays.iter().map(by_name).collect())
    }
}

pub(super) fn enforced(kind: Kind, expected: Option<&Expected<'_>>, schema: u32, reports: &Reports<'_>) -> Enforced {
    let mut enforced = Enforced::default();
    for (Relay { pod, report }, objects) in &reports.0 {
        match report {
            Report::NotReady(_) => enforced.not_ready += 1,
            Report::Unreachable(why) => {
                enforced.ready += 1;
                enforced.unreachable.push(format!("{pod}: {why}"));
            }
            Report::Answered(status) => {
                enforced.ready += 1;
                if let Some(expected) = expected {
                    let found = objects.get(&(kind.as_str(), expected.name)).copied();
                    let found = found.filter(|object| object.uid == expected.uid);
                    enforced.compare(expected, schema, pod, status, found);
                }
            }
        }
    }
    enforced
}

impl Enforced {
    fn compare(&mut self, expected: &Expected<'_>, schema: u32, pod: &str, status: &Status, found: Option<&Object>) {
        let current = |object: &&Object| object.digest == *expected.digest && object.generation == expected.generation;
        match (found.filter(current), &status.rejected) {
            (Some(Object { fault: Some(fault), .. }), _) => self.rejected.push(format!("{pod}: {fault}")),
            (Some(_), _) => self.by += 1,
            (None, _) if status.schema < schema => {
                let Status { version, schema: reads, .. } = status;
                self.too_old
                    .push(format!("{pod}, version {version}, reads settings up to schema {reads}, not {schema}"));
            }
            (None, Some(why)) => self.rejected.push(format!("{pod}: {why}")),
            (None, None) => self.pending.push(match found {
                Some(object) if object.generation != expected.generation => {
                    format!("{pod} still enforces generation {}", object.generation)
                }
                Some(_) => format!("{pod} still enforces this generation with older content"),
                None => format!("{pod} does not have it yet"),
            }),
        }
    }

    /// What it comes to when the object itself is of a newer generation, which nobody can enforce.
    pub(super) fn of_older(&self, generation: i64) -> String {
        format!("{}/{} relays enforce what it said at generation {generation}", self.by, self.ready)
    }

    /// `2/3`: of the ready ones, how many enforce the object, if what they have is the whole of what it says now. None
    /// without a ready one, or a part.
    pub(super) fn count(&self, is_whole: Option<bool>) -> Option<String> {
        let by = if is_whole? { self.by } else { 0 };
        (self.ready > 0).then(|| format!("{by}/{}", self.ready))
    }

    /// The condition: `None` is Unknown. `hold` is why newer settings were not published, if they were not.
    pub(super) fn verdict(&self, hold: Option<Hold>) -> (Option<bool>, Reason, String) {
        let Self { by, ready, not_ready, unreachable, too_old, rejected, pending } = self;
        let so_far = format!("{by}/{ready} relays");
        if *ready == 0 {
            let message = match not_ready {
                0 => "there is no relay pod".to_owned(),
                1 => "the only relay pod is not ready".to_owned(),
                _ => format!("none of the {not_ready} relay pods is ready"),
            };
            return (Some(false), Reason::NoRelay, message);
        }
        let told = |phrases: &[String]| format!("{so_far}: {}", phrases.join("; "));
        if !too_old.is_empty() {
            (Some(false), Reason::RelayTooOld, told(too_old))
        } else if !rejected.is_empty() {
            (Some(false), Reason::RelayRejected, told(rejected))
        } else if !pending.is_empty() {
            match hold {
                None => (Some(false), Reason::Pending, told(pending)),
                Some(hold) => (Some(false), hold.reason(), format!("{}; {}", told(pending), hold.sentence())),
            }
        } else if !unreachable.is_empty() {
            (None, Reason::RelayUnreachable, told(unreachable))
        } else {
            (Some(true), Reason::Programmed, so_far)
        }
    }
}
