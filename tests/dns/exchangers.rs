//! Mail that leaves directly, from a client to the mail exchangers that the DNS names: rows J1 to J3 and J6, and loops.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_tests::clock::wait_for;

use crate::liar::{self, mx, name};
use crate::office::{ALLOWED, APP, Office, SOON, by_the_mx_of, place, received};
use crate::zones::{Mood, Zones};

#[test]
fn the_best_mail_exchanger_gets_it_and_the_next_one_when_that_is_dead() {
    let (one, two) = (place(1), place(2));
    let zones = Zones::start(&format!(
        "far 60 IN MX 20 two\nfar 60 IN MX 10 one\none 60 IN A {one}\ntwo 60 IN A {two}\ntwo 60 IN AAAA 2001:db8::1\n"
    ));
    let office = Office::open(zones.address, &[]);
    let second = office.exchanger(2);
    office.send("someone@far.test");
    let mails = received(&second, &office);
    assert_eq!(mails[0].recipients, ["<someone@far.test>"]);
    assert!(mails[0].sender.starts_with("<robot@contoso.test>"), "{}", mails[0].sender);
    let first = office.exchanger(1);
    wait_for("the first choice", SOON, || {
        office.send("someone@far.test");
        (!first.mails().is_empty()).then_some(())
    })
    .unwrap();
}

#[test]
fn without_mx_the_domain_itself_gets_it() {
    let zones = Zones::start(&format!("plain 60 IN A {}\n", place(3)));
    let office = Office::open(zones.address, &[]);
    let exchanger = office.exchanger(3);
    office.send("someone@plain.test");
    received(&exchanger, &office);
}

/// J3: RFC 7505.
#[test]
fn j3_a_null_mx_takes_no_mail() {
    let zones = Zones::start(&format!("null 60 IN MX 0 .\nnull 60 IN A {}\n", place(4)));
    let office = Office::open(zones.address, &[]);
    let trap = office.exchanger(4);
    office.send("someone@null.test");
    let bounce = office.bounce();
    assert!(bounce.contains("Status: 5.1.10\r\n") && bounce.contains("null.test takes no mail"), "{bounce}");
    assert!(trap.mails().is_empty());
}

/// J6: what the DNS denies is final at once.
#[test]
fn j6_a_domain_that_does_not_exist_is_returned_at_once() {
    for (to, status, said) in [
        ("someone@gone.test", "5.1.2", "gone.test: there is no such domain"),
        ("someone@text.test", "5.4.4", "text.test: it has no mail exchanger with an address"),
        ("someone@hollow.test", "5.4.4", "hollow.test: it has no mail exchanger with an address"),
    ] {
        let zones = Zones::start("text 60 IN TXT hello\nhollow 60 IN MX 10 gone\nhollow 60 IN MX 20 text\n");
        let office = Office::open(zones.address, &[]);
        office.send(to);
        let bounce = office.bounce();
        assert!(bounce.contains(&format!("Status: {status}\r\n")) && bounce.contains(said), "{bounce}");
    }
}

/// J6: SERVFAIL and silence are not; mail waits until the DNS answers.
#[test]
fn j6_while_the_dns_fails_mail_waits() {
    for (mood, failing) in [(Mood::Fails, "far.test"), (Mood::Silent, "far.test"), (Mood::Fails, "mx.test")] {
        let zones = Zones::start(&format!("far 1 IN MX 10 mx\nmx 1 IN A {}\n", place(5)));
        zones.mood(failing, Some(mood));
        let office = Office::open(zones.address, &[]);
        let exchanger = office.exchanger(5);
        office.send("someone@far.test");
        let (status, reply) = office.deferred();
        assert_eq!(status, "4.4.3", "{reply}");
        assert!(reply.starts_with("far.test: "), "{reply}");
        zones.mood(failing, None);
        received(&exchanger, &office);
        assert!(office.mailbox.mails().is_empty());
    }
}

/// RFC 5321, section 5.1: whoever is an exchanger itself sends to better ones only, and to itself never.
#[test]
fn an_exchanger_that_is_ourselves_ends_the_list() {
    let zones = Zones::start("");
    let office = Office::open(zones.address, &[]);
    let ours = office.relay.smtp.ip();
    let (better, worse) = (place(6), place(7));
    zones.set(&format!(
        "name 60 IN MX 10 RELAY\nours 60 IN A {ours}\naddress 60 IN MX 10 ours\nplain 60 IN A {ours}\n\
         equal 60 IN MX 10 RELAY\nequal 60 IN MX 10 worse\nbackup 1 IN MX 10 better\nbackup 1 IN MX 20 ours\n\
         backup 1 IN MX 30 worse\nbetter 1 IN A {better}\nworse 1 IN A {worse}\n"
    ));
    let trap = office.exchanger(7);
    for (number, to) in ["name.test", "address.test", "plain.test", "equal.test"].into_iter().enumerate() {
        office.send(&format!("someone@{to}"));
        let mails = office.mailbox.wait_for_mails(number + 1, SOON).unwrap();
        let bounce = String::from_utf8(mails[number].content.clone()).unwrap();
        assert!(
            bounce.contains("Status: 5.4.6\r\n") && bounce.contains(&format!("{to}: its mail exchanger is this relay")),
            "{bounce}"
        );
    }
    office.send("someone@backup.test");
    assert_eq!(office.deferred().0, "4.4.1");
    let first = office.exchanger(6);
    received(&first, &office);
    assert!(trap.mails().is_empty(), "{:?}", trap.mails());
}

/// J1: nothing but the public Internet is dialled for a stranger, and the addresses that the flag allows.
#[test]
fn j1_an_exchanger_inside_is_refused() {
    let hidden = [
        "A 127.0.0.1",
        "A 10.0.0.1",
        "A 169.254.169.254",
        "A 192.168.7.7",
        "A 172.16.0.1",
        "A 100.64.0.1",
        "A 0.0.0.0",
        "A 224.0.0.1",
        "AAAA ::1",
        "AAAA ::ffff:127.0.0.1",
        "AAAA 64:ff9b::7f00:1",
        "AAAA 2002:7f00:1::",
        "AAAA fe80::1",
        "AAAA fd00::1",
        "AAAA ::",
    ];
    let zone: String = hidden
        .iter()
        .enumerate()
        .map(|(number, record)| format!("d{number} 60 IN MX 10 h{number}\nh{number} 60 IN {record}\n"))
        .collect();
    let all: String = hidden.iter().map(|record| format!("all 60 IN {record}\n")).collect();
    let zones = Zones::start(&format!("{zone}{all}open 60 IN MX 10 all\nall 60 IN A {}\n", place(8)));
    let office = Office::open(zones.address, &[("--mx-addresses", "50")]);
    let trap = TcpListener::bind(("127.0.0.1", office.port)).unwrap();
    trap.set_nonblocking(true).unwrap();
    for number in 0..hidden.len() {
        office.send(&format!("someone@d{number}.test"));
    }
    let mails = office.mailbox.wait_for_mails(hidden.len(), SOON).unwrap();
    for mail in &mails {
        let bounce = String::from_utf8_lossy(&mail.content);
        assert!(bounce.contains("Status: 5.4.4\r\n") && bounce.contains("no mail is sent to such"), "{bounce}");
    }
    // Beside them, an allowed one is the only one that is dialled.
    let exchanger = office.exchanger(8);
    office.send("someone@open.test");
    received(&exchanger, &office);
    assert_eq!(office.metric("postern_relay_delivery_failed_connections_total"), 0);
    assert!(trap.accept().is_err(), "somebody was there");
}

/// J2: what was checked is dialled, whatever the DNS says a moment later.
#[test]
fn j2_an_answer_that_changes_is_not_asked_for_twice() {
    let (good, asked) = (place(9), Arc::new(AtomicUsize::new(0)));
    let server = liar::start({
        let asked = Arc::clone(&asked);
        move |question| match question.kind() {
            15 => vec![question.answer(&[mx(10, &name("mx.test"))])],
            1 => {
                let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                let std::net::IpAddr::V4(address) = (if first { good } else { [127, 0, 0, 1].into() }) else {
                    panic!()
                };
                let mut answer = question.head(0x8180, 1, 0);
                answer.extend(liar::record(&[0xc0, 12], 1, 0, &address.octets()));
                vec![answer]
            }
            _ => vec![question.head(0x8182, 0, 0)],
        }
    });
    let office = Office::open(server, &[]);
    let exchanger = office.exchanger(9);
    let trap = TcpListener::bind(("127.0.0.1", office.port)).unwrap();
    trap.set_nonblocking(true).unwrap();
    office.send("someone@far.test");
    received(&exchanger, &office);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The next connection asks again, and is told the truth about what it was answered.
    drop(exchanger);
    office.send("someone@far.test");
    let bounce = office.bounce();
    assert!(bounce.contains("mx.test is at 127.0.0.1, a loopback address"), "{bounce}");
    assert!(trap.accept().is_err(), "somebody was there");
}

/// J3: a thousand exchangers with many addresses each cost five tries, not a million.
#[test]
fn j3_a_thousand_exchangers_cost_five_tries() {
    let server = liar::start(|question| {
        if !question.tcp {
            return vec![question.head(0x8380, 0, 0)];
        }
        let records: Vec<_> = match question.kind() {
            15 => (0..1000).map(|number| mx(number / 300, &name(&format!("mx{number}.test")))).collect(),
            1 => (0..250).map(|last| (1, vec![127, 200, 7, last])).collect(),
            _ => return vec![question.head(0x8182, 0, 0)],
        };
        vec![question.answer(&records)]
    });
    let office = Office::open(
        server,
        &[("--retry-first", "1h"), ("--retry-max", "1h"), ("--host-retry-first", "10m"), ("--host-retry-max", "10m")],
    );
    office.send("someone@many.test");
    assert_eq!(office.deferred().0, "4.4.1");
    assert_eq!(office.metric("postern_relay_delivery_failed_connections_total"), 5);
}

/// Whoever has many names for one address leaves room for the next server.
#[test]
fn an_address_of_many_names_is_one_try() {
    let names: String =
        (0..8).map(|number| format!("far 60 IN MX 10 m{number}\nm{number} 60 IN A {}\n", place(17))).collect();
    let zones = Zones::start(&format!("{names}far 60 IN MX 20 last\nlast 60 IN A {}\n", place(18)));
    let office = Office::open(zones.address, &[("--retry-first", "1h"), ("--retry-max", "1h")]);
    let last = office.exchanger(18);
    office.send("someone@far.test");
    received(&last, &office);
    assert_eq!(office.metric("postern_relay_delivery_failed_connections_total"), 1);
}

/// J3: at most two of them are talked to in one attempt.
#[test]
fn j3_two_exchangers_that_say_later_are_enough() {
    let places: Vec<_> = (10..14).map(place).collect();
    let zone: String = places
        .iter()
        .enumerate()
        .map(|(number, address)| format!("far 60 IN MX {number} m{number}\nm{number} 60 IN A {address}\n"))
        .collect();
    let zones = Zones::start(&zone);
    let office = Office::open(zones.address, &[("--retry-first", "1h"), ("--retry-max", "1h")]);
    let exchangers: Vec<_> = (10..14).map(|number| office.exchanger(number)).collect();
    for exchanger in &exchangers {
        exchanger.answer("RCPT TO:", "451 4.7.1 later");
    }
    office.send("someone@far.test");
    let (status, reply) = office.deferred();
    assert_eq!((status.as_str(), reply.as_str()), ("4.7.1", "451 4.7.1 later"));
    assert_eq!(office.metric("postern_relay_delivery_connections_total"), 2);
}

#[test]
fn a_domain_whose_dns_is_dead_holds_up_no_other() {
    let zones = Zones::start(&format!("far 60 IN MX 10 mx\nmx 60 IN A {}\n", place(15)));
    zones.mood("dead.test", Some(Mood::Silent));
    // Four connections in all: twenty messages to a dead domain may hold one of them, for its probe.
    let office = Office::open(
        zones.address,
        &[("--delivery-connections", "4"), ("--dns-time", "60s"), ("--dns-try-time", "30s")],
    );
    let exchanger = office.exchanger(15);
    for _ in 0..20 {
        office.send("someone@dead.test");
    }
    for _ in 0..5 {
        office.send("someone@far.test");
    }
    let mails = exchanger.wait_for_mails(5, SOON);
    assert!(mails.is_ok(), "{:?}\n{}", office.pending(), office.relay.log());
    assert_eq!(office.pending().len(), 20);
}

/// A RelayHost names its servers itself: they may be private, but link-local they never are.
#[test]
fn the_mx_of_a_relay_host_may_be_inside() {
    let zones = Zones::start(&format!("inside 1 IN MX 10 mx\nmx 1 IN A 169.254.1.1\nmx 1 IN A {}\n", place(16)));
    let office = Office::with(zones.address, &[], |mailbox| by_the_mx_of(mailbox, "inside.test"));
    let exchanger = office.exchanger(16);
    office.send("someone@far.test");
    assert_eq!(received(&exchanger, &office)[0].recipients, ["<someone@far.test>"]);
    assert_eq!(office.metric("postern_relay_delivery_failed_connections_total"), 0);
}

/// What is wrong with a RelayHost's domain can be mended: mail waits.
#[test]
fn a_relay_host_whose_domain_is_gone_keeps_its_mail() {
    let zones = Zones::start("null 1 IN MX 0 .\nlinked 1 IN MX 10 mx\nmx 1 IN A 169.254.1.1\n");
    for (domain, status) in [("gone.test", "4.1.2"), ("null.test", "4.1.10"), ("linked.test", "4.4.4")] {
        let office = Office::with(zones.address, &[("--mx-allow", ALLOWED)], |mailbox| by_the_mx_of(mailbox, domain));
        office.send("someone@far.test");
        let (found, reply) = office.deferred();
        assert_eq!(found, status, "{reply}");
    }
}

#[test]
fn mail_to_an_address_is_not_taken() {
    let zones = Zones::start("");
    let office = Office::open(zones.address, &[]);
    let refused = office.submit(APP, "someone@[127.128.0.1]").unwrap();
    assert_eq!(refused.code, 550, "{refused}");
    let taken = office.submit(APP, "someone@1.2.3.4").map(|reply| reply.code);
    assert!(!taken.is_ok_and(|code| code == 250));
}
