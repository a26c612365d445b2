//! Names as sources and as blocked clients: they follow the DNS, and outlive its failures.

use std::net::IpAddr;

use postern_tests::clock::wait_for;
use postern_wire::Section;
use postern_wire::snapshot::HostName;

use crate::office::{Office, SOON, direct, named};
use crate::zones::{Mood, Zones};

const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 78, 1));
const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 78, 2));
const QUICK: &[(&str, &str)] = &[("--name-ttl-min", "1s"), ("--name-ttl-max", "1s")];

fn a(name: &str) -> HostName {
    HostName::A(name.to_owned())
}

/// What a client from there is told about mail to a foreign domain.
fn code(office: &Office, from: IpAddr) -> u16 {
    office.submit(from, "someone@gone.test").unwrap().code
}

fn wait_for_code(office: &Office, from: IpAddr, expected: u16) {
    wait_for("the answer", SOON, || (code(office, from) == expected).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {from} is told {}\n{}", code(office, from), office.relay.log()));
}

/// Waits until this name was looked up twice more: what was under way is over then.
fn wait_for_look_ups(zones: &Zones, name: &str, kind: &str) {
    let before = zones.asked(name, kind);
    wait_for("look-ups", SOON, || (zones.asked(name, kind) >= before + 2).then_some(())).unwrap();
}

#[test]
fn a_source_follows_its_name() {
    let zones = Zones::start(&format!("app 1 IN A {OLD}\n"));
    let office = Office::with(zones.address, QUICK, |mailbox| named(mailbox, a("app.test")));
    assert_eq!((code(&office, OLD), code(&office, NEW)), (250, 550));
    zones.set(&format!("app 1 IN A {NEW}\n"));
    wait_for_code(&office, NEW, 250);
    assert_eq!(code(&office, OLD), 550);

    // The DNS fails: what it told last stays.
    zones.mood("app.test", Some(Mood::Fails));
    wait_for("the report", SOON, || {
        let names = office.status().names;
        (names.len() == 1 && names[0].addresses == 1 && names[0].problem.is_some()).then_some(())
    })
    .unwrap();
    assert_eq!((code(&office, NEW), code(&office, OLD)), (250, 550));
    assert_eq!(office.metric("postern_relay_dns_failing_names"), 1);
    assert_eq!(office.metric("postern_relay_dns_addresses"), 1);
    assert!(!office.relay.get("/metrics").unwrap().1.contains("app.test"));

    // The DNS says that there is no such name: nobody is it.
    zones.set("");
    zones.mood("app.test", None);
    wait_for_code(&office, NEW, 550);
    assert_eq!(office.status().names[0].problem, None);
}

#[test]
fn a_source_may_be_every_mx_of_a_domain() {
    let zones =
        Zones::start(&format!("corp 1 IN MX 10 one\ncorp 1 IN MX 20 two\none 1 IN A {OLD}\ntwo 1 IN A {NEW}\n"));
    let office = Office::with(zones.address, QUICK, |mailbox| named(mailbox, HostName::Mx("corp.test".to_owned())));
    assert_eq!((code(&office, OLD), code(&office, NEW)), (250, 250));
    // One of the two cannot be told: it stays. The other is gone: so is its address.
    zones.mood("two.test", Some(Mood::Fails));
    wait_for_look_ups(&zones, "two.test", "A");
    assert_eq!((code(&office, OLD), code(&office, NEW)), (250, 250));
    zones.mood("two.test", None);
    zones.set(&format!("corp 1 IN MX 20 two\none 1 IN A {OLD}\ntwo 1 IN A {NEW}\n"));
    wait_for_code(&office, OLD, 550);
    assert_eq!(code(&office, NEW), 250);
}

/// What is not known is never accepted, and never refused for good.
#[test]
fn a_source_that_was_never_known_is_told_to_come_again() {
    let zones = Zones::start(&format!("app 1 IN A {OLD}\n"));
    zones.mood("app.test", Some(Mood::Silent));
    let office = Office::with(zones.address, QUICK, |mailbox| named(mailbox, a("app.test")));
    let reply = office.submit(OLD, "someone@gone.test").unwrap();
    assert_eq!(
        (reply.code, reply.text().as_str()),
        (451, "4.4.3 it is not known yet who may relay here, try again later")
    );
    // Mail for us is taken all the same.
    assert_eq!(office.submit(OLD, "bob@contoso.test").unwrap().code, 250);
    zones.mood("app.test", None);
    wait_for_code(&office, OLD, 250);
    assert_eq!(code(&office, NEW), 550);
}

#[test]
fn a_name_that_comes_with_new_settings_is_known_soon() {
    let zones = Zones::start(&format!("app 60 IN A {OLD}\nother 60 IN A {NEW}\n"));
    let office = Office::with(zones.address, QUICK, |mailbox| named(mailbox, a("app.test")));
    office.relay.volume.publish(&named(office.mailbox.address(), a("other.test")), &[]).unwrap();
    wait_for_code(&office, NEW, 250);
    assert_eq!(code(&office, OLD), 550);
}

#[test]
fn a_blocked_client_follows_its_name_and_cannot_end_its_block() {
    let zones = Zones::start(&format!("spam 1 IN A {OLD}\n"));
    let office = Office::with(zones.address, QUICK, |mailbox| {
        let mut snapshot = direct(mailbox);
        let mut policy = snapshot.policies[0].spec.clone();
        policy.blocked_names = vec![a("spam.test")];
        snapshot.policies = vec![Section::new("default", "uid-of-default", 1, policy)];
        snapshot
    });
    assert_eq!((code(&office, OLD), code(&office, NEW)), (554, 550));
    zones.set(&format!("spam 1 IN A {NEW}\n"));
    wait_for_code(&office, NEW, 554);
    assert_eq!(code(&office, OLD), 550);
    zones.set("");
    wait_for_look_ups(&zones, "spam.test", "A");
    zones.mood("spam.test", Some(Mood::Fails));
    wait_for_look_ups(&zones, "spam.test", "A");
    assert_eq!(code(&office, NEW), 554);
}
