use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::fixture::{dmz, object};
use crate::inputs::Report;
use crate::render::render;
use crate::resolve::resolve;

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-06-01T00:00:00.5Z";

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

/// The conditions of one object, when `relays` relays enforce everything.
fn conditions(inputs: &Inputs, object: &str, relays: usize, now: &str) -> Vec<Condition> {
    let (model, problems) = resolve(inputs);
    let rendered = render(&model, 1);
    let relays: Vec<_> = (0..relays).map(|number| enforcing(number, &rendered)).collect();
    let told = status(inputs, &problems, &rendered, &relays, at(now));
    let told = told.into_iter().find(|told| told.object.to_string() == object).expect("a status");
    match told.status {
        KindStatus::Domain(DomainStatus { conditions, .. })
        | KindStatus::Host(HostStatus { conditions, .. })
        | KindStatus::Policy(PolicyStatus { conditions, .. }) => conditions,
    }
}

fn enforcing(number: usize, rendered: &Rendered) -> Relay {
    let snapshot = json!(rendered.settings.snapshot);
    let kinds = [("RelayDomain", "domains"), ("RelayHost", "hosts"), ("FilterPolicy", "policies")];
    let objects = kinds.iter().flat_map(|(kind, field)| {
        snapshot[field].as_array().cloned().unwrap_or_default().into_iter().map(move |mut section| {
            section["kind"] = json!(kind);
            section
        })
    });
    let said = json!({"version": "0.1.0", "schema": 1, "objects": objects.collect::<Vec<_>>()});
    let report = Report::Answered(Arc::new(serde_json::from_value(said).expect("a status")));
    Relay { pod: format!("relay-{number}"), report }
}

fn one<'a>(conditions: &'a [Condition], of: &str) -> &'a Condition {
    conditions.iter().find(|condition| condition.type_ == of).expect("the condition")
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut inputs = dmz();
    let before = conditions(&inputs, "RelayDomain/contoso", 0, EARLY);
    assert_eq!(one(&before, "Programmed").reason, "NoRelay");
    inputs.domains[0].conditions = before.as_slice().into();
    let after = conditions(&inputs, "RelayDomain/contoso", 1, LATE);
    assert_eq!(one(&after, "Accepted").last_transition_time, Time(at(EARLY)));
    assert_eq!(one(&after, "Programmed").status, "True");
    assert_eq!(one(&after, "Programmed").last_transition_time, Time(at("2026-06-01T00:00:00Z")));
}

#[test]
fn a_new_reason_or_message_is_no_transition() {
    let mut inputs = dmz();
    let before = conditions(&inputs, "RelayDomain/contoso", 0, EARLY);
    inputs.domains[0].conditions = before.as_slice().into();
    inputs.anchor = None;
    let after = conditions(&inputs, "RelayDomain/contoso", 0, LATE);
    assert!(one(&after, "Programmed").message.contains("no StatefulSet"));
    assert_eq!(one(&after, "Programmed").last_transition_time, Time(at(EARLY)));
}

#[test]
fn partially_invalid_stands_only_while_it_is_so() {
    let mut inputs = dmz();
    inputs.policies = vec![object("default", json!({"limits": {"hops": 1}}))];
    let before = conditions(&inputs, "FilterPolicy/default", 1, EARLY);
    assert_eq!(one(&before, "PartiallyInvalid").reason, "Invalid");
    assert_eq!(one(&before, "Ready").status, "True");
    inputs.policies = vec![object("default", json!({}))];
    inputs.policies[0].conditions = before.as_slice().into();
    let after = conditions(&inputs, "FilterPolicy/default", 1, LATE);
    assert!(after.iter().all(|condition| condition.type_ != "PartiallyInvalid"));
}

#[test]
fn every_condition_is_about_the_generation_that_was_read() {
    let mut inputs = dmz();
    inputs.hosts[0].meta.generation = 7;
    let told = conditions(&inputs, "RelayHost/exchange", 1, EARLY);
    assert_eq!(told.iter().map(|condition| condition.observed_generation).collect::<Vec<_>>(), [Some(7); 4]);
}

#[test]
fn a_relay_that_enforces_a_namesake_does_not_count() {
    let mut inputs = dmz();
    let (model, _) = resolve(&inputs);
    let relay = enforcing(0, &render(&model, 1));
    inputs.hosts[0].meta.uid = "another".to_owned();
    let (model, problems) = resolve(&inputs);
    let told = status(&inputs, &problems, &render(&model, 1), &[relay], at(EARLY));
    let host = told.iter().find(|told| told.object.kind == Kind::RelayHost).expect("a status");
    let KindStatus::Host(host) = &host.status else { panic!("not of a host") };
    assert_eq!(one(&host.conditions, "Programmed").reason, "Pending");
}

#[test]
fn problems_found_while_writing_become_conditions_too() {
    let inputs = dmz();
    let (model, mut problems) = resolve(&inputs);
    problems.push(Problem::of_dmz(Effect::NotProgrammed, Reason::Forbidden, "the Secret postern-secrets: forbidden"));
    let rendered = render(&model, 1);
    let told = status(&inputs, &problems, &rendered, &[enforcing(0, &rendered)], at(EARLY));
    let KindStatus::Policy(policy) = &told.last().expect("a status").status else { panic!("not of a policy") };
    assert_eq!(one(&policy.conditions, "Programmed").reason, "Forbidden");
}

#[test]
fn a_message_is_never_longer_than_the_api_takes() {
    let mut inputs = dmz();
    let names: Vec<_> = (0..5000).map(|number| format!("name_{number}.example")).collect();
    let spec = json!({"domains": names, "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"}});
    inputs.domains = vec![object("contoso", spec)];
    for condition in conditions(&inputs, "RelayDomain/contoso", 1, EARLY) {
        assert!(condition.message.chars().count() < 2100, "{}", condition.type_);
    }
}
