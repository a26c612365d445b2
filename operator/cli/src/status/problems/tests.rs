use jiff::Timestamp;
use postern_crds::status::KeptVolume;
use postern_relay::control::Unreachable;
use postern_relay::envelope::Remote;
use postern_wire::status::{Object, Queue, ResolvedName};
use postern_wire::{Digest, Status};

use super::super::PodReport;
use super::*;

pub(in super::super) fn relay(name: &str, change: impl FnOnce(&mut RelayReport)) -> RelayReport {
    let status = Status {
        version: "0.1.0".to_owned(),
        schema: 1,
        settings: Some(Digest::of(&"new")),
        rejected: None,
        objects: Vec::new(),
        faults_only: false,
        names: Vec::new(),
        queue: None,
        draining: false,
        isolation: None,
    };
    let standing = Standing {
        status,
        not_ready: None,
        octets: 0,
        corrupt: 0,
        full: false,
        unreachable: Vec::new(),
        certificates: Vec::new(),
    };
    let pod = PodReport { ready: true, phase: "Running".to_owned(), restarts: 0, node: "n".to_owned() };
    let mut report = RelayReport { name: name.to_owned(), pod: Some(pod), standing: Some(standing), unreachable: None };
    change(&mut report);
    report
}

fn told(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = Facts {
        namespace: Some("dmz".to_owned()),
        relays: vec![relay("relay-0", |_| {}), relay("relay-1", |_| {})],
        workload: Some(Workload { replicas: 2, ..Workload::named("relay") }),
        settings: Some(Digest::of(&"new").to_string()),
        isolation: Some(Isolation { default_deny: true, ingress: true, egress: true, ..Isolation::default() }),
        ..Facts::default()
    };
    change(&mut facts);
    let told = problems(&facts);
    assert!(told.iter().all(|problem| !problem.todo.is_empty()), "{told:?}");
    told.into_iter().map(|problem| format!("{}: {}", problem.what, problem.says)).collect()
}

fn object(name: &str, troubles: &[&str]) -> ObjectReport {
    ObjectReport {
        kind: "RelayDomain".to_owned(),
        name: name.to_owned(),
        ready: "False".to_owned(),
        troubles: troubles.iter().map(|&told| told.to_owned()).collect(),
        is_unseen: false,
    }
}

#[test]
fn each_object_is_one_problem_that_names_its_cause() {
    let of = |troubles: &[&str]| told(|facts| facts.objects = vec![object("a", troubles)]);
    let (cause, pending) = ("ResolvedRefs=False, HostNotFound: no host", "Programmed=False, Pending: not yet");
    assert_eq!(of(&[cause, pending]), [format!("RelayDomain/a: {cause}")]);
    assert_eq!(of(&[pending]), [format!("RelayDomain/a: {pending}")]);
    assert_eq!(of(&[cause, "B=False, C: two"]), [format!("RelayDomain/a: {cause}; B=False, C: two")]);
}

#[test]
fn a_dmz_without_replicas_is_told_apart_from_none() {
    let nobody = |workload: Option<Workload>| {
        told(|facts| {
            facts.relays.clear();
            facts.workload = workload;
        })
    };
    assert_eq!(nobody(None), ["relays: there is no relay pod: no mail is taken"]);
    let none = Workload::named("relay");
    assert_eq!(nobody(Some(none)), ["relays: the StatefulSet relay has 0 replicas: no mail is taken"]);
    assert_eq!(
        told(|facts| (facts.workload, facts.is_narrowed) =
            (Some(Workload { replicas: 9, ..Workload::named("relay") }), true)),
        Vec::<String>::new()
    );
}

#[test]
fn what_helps_is_named() {
    let todo = |change: &dyn Fn(&mut Facts)| {
        let mut facts = Facts { relays: vec![relay("relay-0", |_| {})], ..Facts::default() };
        change(&mut facts);
        problems(&facts).pop().unwrap().todo
    };
    let unseen = ObjectReport { is_unseen: true, ..object("a", &["the operator has said nothing"]) };
    assert_eq!(todo(&|facts| facts.objects = vec![unseen.clone()]), OPERATOR);
    let unread = |right| Unread { kind: "RelayHost".to_owned(), why: "no".to_owned(), right };
    let right = "list on relayhosts.postern.io".to_owned();
    assert_eq!(
        todo(&|facts| facts.unread = vec![unread(Some(right.clone()))]),
        "ask for the right: list on relayhosts.postern.io"
    );
    assert!(!todo(&|facts| facts.unread = vec![unread(None)]).contains("right"));
    assert_eq!(told(|facts| facts.unread = vec![unread(None)]), ["not known: RelayHost: no"]);
}

fn standing(report: &mut RelayReport) -> &mut Standing {
    report.standing.as_mut().unwrap()
}

#[test]
fn a_dmz_that_works_has_none() {
    assert_eq!(told(|_| {}), Vec::<String>::new());
    assert_eq!(
        told(|facts| facts.isolation = Some(Isolation { off: true, ..Isolation::default() })),
        Vec::<String>::new()
    );
}

#[test]
fn what_stops_all_mail_comes_first() {
    let all = told(|facts| {
        facts.relays.clear();
        facts.settings = None;
        facts.isolation = Some(Isolation::default());
        facts.paused = true;
    });
    let whats: Vec<&str> = all.iter().filter_map(|told| Some(told.split_once(": ")?.0)).collect();
    assert_eq!(whats, ["relays", "settings", "settings", "isolation"], "{all:?}");
}

#[test]
fn a_pod_that_is_missing_late_or_silent_is_named() {
    for (number, (change, said)) in [
        (
            Box::new(|facts: &mut Facts| facts.workload = Some(Workload { replicas: 3, ..Workload::named("relay") })) as Box<dyn FnOnce(&mut Facts)>,
            "relays: 2 of 3 pods are there",
        ),
        (
            Box::new(|facts| {
                facts.relays[1] = relay("relay-1", |relay| {
                    relay.standing = None;
                    relay.unreachable = Some("forbidden".to_owned());
                });
            }),
            "relay-1: it cannot be asked: forbidden",
        ),
        (
            Box::new(|facts| {
                facts.relays[1] = relay("relay-1", |relay| {
                    standing(relay).status.settings = Some(Digest::of(&"old"));
                });
            }),
            "relay-1: enforces the settings ",
        ),
        (
            Box::new(|facts| {
                facts.relays[1] =
                    relay("relay-1", |relay| standing(relay).not_ready = Some("no settings yet".to_owned()));
            }),
            "relay-1: takes no mail: no settings yet",
        ),
        (
            Box::new(|facts| {
                let volume = |number: u32, messages| KeptVolume {
                    claim: format!("spool-postern-relay-{number}"),
                    relay: format!("postern-relay-{number}"),
                    messages,
                };
                facts.kept.volumes = vec![volume(2, Some(5)), volume(3, Some(0))];
            }),
            "queue: left behind when it was scaled in: 5 messages of postern-relay-2 on the claim spool-postern-relay-2",
        ),
        (
            Box::new(|facts| {
                facts.relays[1] = relay("relay-1", |relay| {
                    standing(relay).not_ready = Some("stopping".to_owned());
                    let status = &mut standing(relay).status;
                    (status.draining, status.queue) = (true, Some(Queue { messages: 3, oldest: 0 }));
                });
            }),
            "relay-1: is ending: it takes no more mail, and delivers what it can; 3 wait",
        ),
        (
            Box::new(|facts| {
                facts.relays[1] = relay("relay-1", |relay| {
                    let canary = "10.96.0.1:443".to_owned();
                    standing(relay).status.isolation = Some(Reached { canary, reached: true });
                });
            }),
            "relay-1: reaches 10.96.0.1:443, which no policy opens",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let told = told(change);
        assert!(told.len() == 1 && told[0].starts_with(said), "{number}: {told:?}");
    }
}

#[test]
fn servers_and_certificates_that_several_relays_cannot_use_are_told_once() {
    let change = |name: &str| {
        relay(name, |relay| {
            let standing = standing(relay);
            standing.certificates.push("certificate default has expired".to_owned());
            let reply = "connection refused".to_owned();
            let problem = Remote { server: String::new(), reply, status: "4.4.1".to_owned() };
            let (name, next_probe) = ("exchange-a, exchange-b".to_owned(), Timestamp::UNIX_EPOCH);
            standing.unreachable.push(Unreachable { name, problem, failures: 1, next_probe });
        })
    };
    let all = told(|facts| facts.relays = vec![change("relay-0"), change("relay-1")]);
    let certificate = "certificates: certificate default has expired (on relay-0, relay-1)";
    let server = "delivery to exchange-a, exchange-b: its mail waits: connection refused (on relay-0, relay-1)";
    assert_eq!(all, [certificate, server]);
}

#[test]
fn a_fault_of_several_relays_is_told_once() {
    let broken = |name: &str| {
        relay(name, |relay| {
            let status = &mut standing(relay).status;
            status.objects.push(Object {
                kind: "RelayHost".to_owned(),
                name: "exchange".to_owned(),
                uid: String::new(),
                generation: 1,
                digest: Digest::of(&""),
                fault: Some("no certificate".to_owned()),
            });
            let name = HostName::A("mail.corp.example".to_owned());
            status.names.push(ResolvedName { name, addresses: 0, problem: Some("SERVFAIL".to_owned()) });
        })
    };
    let all = told(|facts| facts.relays = vec![broken("relay-0"), broken("relay-1")]);
    assert_eq!(
        all,
        [
            "RelayHost/exchange: no certificate (on relay-0, relay-1)",
            "name mail.corp.example: cannot be looked up: SERVFAIL (on relay-0, relay-1)"
        ]
    );
}
