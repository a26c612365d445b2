//! What the resolver makes of answers, honest and hostile: rows J4, J5 and J6, and what is remembered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern_relay::dns::{Answer, Exchange, Failure, Lookup as _, Resolver};
use postern_relay::limits::Limits;
use postern_relay::metrics::Metrics;
use postern_tests::alone::alone;
use postern_tests::clock::wait_for;
use postern_tests::usage;
use tokio::runtime::Runtime;

use crate::liar::{self, Asked, mx, name, record};
use crate::zones::{Mood, Zones};

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// A resolver that asks this server.
struct Asker {
    runtime: Runtime,
    resolver: Resolver,
    metrics: Metrics,
}

impl Asker {
    fn of(server: SocketAddr) -> Self {
        Self::with(server, &[("dns-try-time", "1"), ("dns-time", "5"), ("dns-failure-time", "0")])
    }

    fn with(server: SocketAddr, limits: &[(&str, &str)]) -> Self {
        let limits = limits.iter().fold(Limits::default(), |limits, (name, value)| limits.with(name, value).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let metrics = Metrics::new();
        let resolver = runtime.block_on(async { Resolver::new(&[server], &limits, metrics.clone()) });
        Self { runtime, resolver, metrics }
    }

    fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, Failure> {
        self.runtime.block_on(self.resolver.addresses(name))
    }

    fn exchanges(&self, domain: &str) -> Result<Answer<Exchange>, Failure> {
        self.runtime.block_on(self.resolver.exchanges(domain))
    }

    fn found(&self, name: &str) -> Vec<String> {
        self.addresses(name).unwrap().records.iter().map(ToString::to_string).collect()
    }

    /// Fails for the moment.
    fn fails_for_now(&self, domain: &str) -> String {
        let failure = self.exchanges(domain).expect_err(domain);
        let Failure::Temporary(text) = failure else { panic!("{domain}: {failure:?}") };
        text
    }
}

fn is_temporary<T: std::fmt::Debug>(answer: Result<T, Failure>) -> bool {
    matches!(answer, Err(Failure::Temporary(_)))
}

#[test]
fn finds_addresses_and_exchanges_through_aliases() {
    let zones = Zones::start(
        "host 60 IN A 192.0.2.1\nhost 60 IN AAAA 2001:db8::1\nalias 60 IN CNAME other\nother 60 IN CNAME host\n\
         far 60 IN MX 20 b.test.\nfar 60 IN MX 10 A.TEST.\nnull 60 IN MX 0 .\nv6 60 IN AAAA 2001:db8::6\n",
    );
    let asker = Asker::of(zones.address);
    assert_eq!(asker.found("host.test"), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(asker.found("ALIAS.test"), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(asker.found("v6.test"), ["2001:db8::6"]);
    let found = asker.exchanges("far.test").unwrap();
    let pairs: Vec<_> = found.records.iter().map(|one| (one.preference, &*one.host)).collect();
    assert_eq!((pairs, found.complete), (vec![(10, "a.test"), (20, "b.test")], true));
    assert!(found.ttl <= Duration::from_secs(60) && found.ttl > Duration::from_secs(30), "{:?}", found.ttl);
    assert_eq!(asker.exchanges("null.test").unwrap().records, [Exchange { preference: 0, host: "".into() }]);
}

/// J6: only the DNS itself may say no.
#[test]
fn j6_a_no_is_told_apart_from_silence() {
    let zones = Zones::start("host 60 IN A 192.0.2.1\nhalf 60 IN A 192.0.2.2\n");
    let asker = Asker::of(zones.address);
    assert_eq!(asker.exchanges("gone.test"), Err(Failure::NoSuchName));
    assert_eq!(asker.addresses("gone.test"), Err(Failure::NoSuchName));
    assert_eq!(asker.exchanges("host.test"), Err(Failure::NoData));
    for name in ["fails.test", "silent.test"] {
        zones.mood(name, Some(if name == "fails.test" { Mood::Fails } else { Mood::Silent }));
        asker.fails_for_now(name);
        assert!(is_temporary(asker.addresses(name)), "{name}");
    }
    // Not our zone: the server refuses to say.
    assert!(is_temporary(asker.exchanges("far.example")));
    assert_eq!(asker.addresses("name.invalid"), Err(Failure::NoSuchName));
    for nonsense in ["", ".", "a..b", "1.2.3.4", "[192.0.2.1]", "x (evil) by mx", &"a.".repeat(200)] {
        assert_eq!(asker.exchanges(nonsense), Err(Failure::NoSuchName), "{nonsense}");
    }
    let counted = asker.metrics.encode().unwrap();
    let line = "postern_relay_dns_lookups_total{question=\"addresses\",result=\"no-such-name\"} 2";
    assert!(counted.lines().any(|found| found == line), "{counted}");
}

/// J6: NXDOMAIN without the SOA of a zone is nobody's word.
#[test]
fn j6_a_no_without_a_zone_is_not_believed() {
    let bare = Asker::of(liar::start(|asked| vec![asked.head(0x8183, 0, 0)]));
    assert_eq!(bare.fails_for_now("far.test"), "the name servers say no, and not for which zone");
    let nothing = Asker::of(liar::start(|asked| vec![asked.head(0x8180, 0, 0)]));
    nothing.fails_for_now("far.test");
    let soa = || [name("ns.test"), name("root.test"), vec![0; 20]].concat();
    let said = Asker::of(liar::start(move |asked| {
        vec![[asked.head(0x8183, 0, 1), record(&name("test"), SOA, 60, &soa())].concat()]
    }));
    assert_eq!(said.exchanges("far.test"), Err(Failure::NoSuchName));
}

/// J4: aliases that lead in a circle, within one answer and across answers, and without end.
#[test]
fn j4_aliases_without_end_fail_for_now() {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let circle = Asker::of(liar::start(move |asked| {
        counted.fetch_add(1, Ordering::SeqCst);
        let next = if asked.name() == "a.test" { "b.test" } else { "a.test" };
        vec![asked.answer(&[(CNAME, name(next))])]
    }));
    circle.fails_for_now("a.test");
    let inside = Asker::of(liar::start(|asked| {
        let records = [("a.test", "b.test"), ("b.test", "a.test")];
        let records = records.map(|(from, to)| record(&name(from), CNAME, 60, &name(to))).concat();
        vec![[asked.head(0x8180, 2, 0), records].concat()]
    }));
    inside.fails_for_now("a.test");
    let counted = Arc::clone(&questions);
    let endless = Asker::of(liar::start(move |asked| {
        counted.fetch_add(1, Ordering::SeqCst);
        let number: u32 = asked.name().trim_end_matches(".test").trim_start_matches('n').parse().unwrap();
        vec![asked.answer(&[(CNAME, name(&format!("n{}.test", number + 1)))])]
    }));
    endless.fails_for_now("n0.test");
    // Whoever leads us in circles does not keep us busy.
    assert!(questions.load(Ordering::SeqCst) < 100, "{questions:?} questions");
    let long = Asker::of(liar::start(|asked| {
        let link =
            |number: u32| record(&name(&format!("n{number}.test")), CNAME, 60, &name(&format!("n{}.test", number + 1)));
        let (_, data) = mx(10, &name("mx.test"));
        let records =
            [(0..65).map(link).collect::<Vec<_>>().concat(), record(&name("n65.test"), 15, 60, &data)].concat();
        vec![[asked.head(0x8180, 66, 0), records].concat()]
    }));
    long.fails_for_now("n0.test");
}

/// J5: answers that are none. Each fails for the moment, and the resolver lives on.
#[test]
fn j5_broken_answers_fail_for_now() {
    alone("answers::j5_broken_answers_fail_for_now", broken_answers);
}

fn broken_answers() {
    type Liar = fn(&Asked<'_>) -> Vec<Vec<u8>>;
    let good = |asked: &Asked<'_>| asked.answer(&[mx(10, &name("mx.test"))]);
    let lies: &[(&str, Liar)] = &[
        ("nothing at all", |_| vec![Vec::new()]),
        ("one octet", |_| vec![vec![0]]),
        ("half a header", |asked| vec![asked.octets[..6].to_vec()]),
        ("the question itself", |asked| vec![asked.octets.to_vec()]),
        ("another id", |asked| {
            let mut answer = asked.answer(&[mx(10, &name("evil.test"))]);
            answer[0] ^= 0x55;
            vec![answer]
        }),
        ("another question", |asked| {
            let mut answer = asked.answer(&[mx(10, &name("evil.test"))]);
            answer[13] ^= 1;
            vec![answer]
        }),
        ("about another name", |asked| {
            let (kind, data) = mx(10, &name("evil.test"));
            vec![[asked.head(0x8180, 1, 0), record(&name("other.test"), kind, 60, &data)].concat()]
        }),
        ("more counted than there is", |asked| {
            let mut answer = asked.answer(&[mx(10, &name("evil.test"))]);
            answer[7] = 200;
            vec![answer]
        }),
        ("a pointer to itself", |asked| {
            let at = u16::try_from(asked.head(0, 0, 0).len()).unwrap() | 0xc000;
            vec![[asked.head(0x8180, 1, 0), record(&at.to_be_bytes(), 15, 60, &[0, 10, 0])].concat()]
        }),
        ("pointers in a circle", |asked| {
            let target = u16::try_from(asked.head(0, 0, 0).len() + 12 + 2).unwrap() | 0xc000;
            vec![asked.answer(&[mx(10, &target.to_be_bytes())])]
        }),
        ("a pointer ahead", |asked| vec![asked.answer(&[mx(10, &[0xff, 0xff])])]),
        ("an MX of no octets", |asked| vec![asked.answer(&[(15, Vec::new())])]),
        ("an MX of one octet", |asked| vec![asked.answer(&[(15, vec![0])])]),
        ("an MX without a host", |asked| vec![asked.answer(&[(15, vec![0, 10])])]),
        ("an MX with half a label", |asked| vec![asked.answer(&[mx(10, &[40, b'a', b'b'])])]),
        ("hosts that are none", |asked| {
            let evil = [3, b'a', 0, b'b', 4, b't', b'e', b's', b't', 0];
            let spaces = name("x (evil) by mx.test");
            vec![asked.answer(&[mx(10, &evil), mx(10, &spaces), mx(20, &name("192.0.2.1"))])]
        }),
        ("an answer of another class", |asked| {
            let mut answer = asked.answer(&[mx(10, &name("evil.test"))]);
            let class = asked.head(0, 0, 0).len() + 5;
            answer[class] = 3;
            vec![answer]
        }),
        ("cut off, and over TCP too", |asked| vec![asked.head(0x8380, 0, 0)]),
        ("cut off, and nothing over TCP", |asked| if asked.tcp { Vec::new() } else { vec![asked.head(0x8380, 0, 0)] }),
        ("noise", |asked| vec![asked.octets.iter().rev().copied().cycle().take(1200).collect()]),
    ];
    let before = usage::of(std::process::id()).unwrap();
    for (what, lie) in lies {
        let asker =
            Asker::of(liar::start(
                move |asked| {
                    if asked.name() == "innocent.test" { vec![good(asked)] } else { lie(asked) }
                },
            ));
        let failure = asker.exchanges("far.test");
        assert!(is_temporary(failure.clone()), "{what}: {failure:?}");
        assert_eq!(asker.exchanges("innocent.test").unwrap().records.len(), 1, "{what}");
    }
    let after = usage::of(std::process::id()).unwrap();
    assert!(after.resident.saturating_sub(before.resident) < 64 << 20, "{before:?} {after:?}");
}

/// J5: a lie that comes first does not keep the truth out.
#[test]
fn j5_a_forged_answer_with_another_id_is_passed_over() {
    let asker = Asker::of(liar::start(|asked| {
        let mut forged = asked.answer(&[mx(10, &name("evil.test"))]);
        forged[1] ^= 1;
        vec![forged, asked.answer(&[mx(10, &name("mx.test"))])]
    }));
    assert_eq!(&*asker.exchanges("far.test").unwrap().records[0].host, "mx.test");
}

/// J3, J5: as much as fits into a message. What is kept of it is little.
#[test]
fn j3_a_thousand_records_are_cut_to_what_anybody_needs() {
    let asker = Asker::of(liar::start(|asked| {
        if !asked.tcp {
            return vec![asked.head(0x8380, 0, 0)];
        }
        let records: Vec<_> = (0..1000u16)
            .map(|number| match asked.kind() {
                15 => mx(2000 - number, &name(&format!("mx{number}.test"))),
                A => (A, vec![192, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]]),
                _ => (28, [&[0x20, 1, 0xd, 0xb8][..], &[0; 10], &number.to_be_bytes()].concat()),
            })
            .collect();
        vec![asked.answer(&records)]
    }));
    let found = asker.exchanges("many.test").unwrap().records;
    assert_eq!((found.len(), found[0].preference, &*found[0].host), (256, 1001, "mx999.test"));
    assert_eq!(asker.addresses("many.test").unwrap().records.len(), 512);
}

#[test]
fn an_answer_is_remembered_for_its_ttl_and_no_longer() {
    let zones = Zones::start("long 600 IN A 192.0.2.1\nshort 1 IN A 192.0.2.1\nzero 0 IN A 192.0.2.1\n");
    let asker = Asker::of(zones.address);
    for name in ["long.test", "short.test", "zero.test"] {
        assert_eq!(asker.found(name), ["192.0.2.1"]);
        assert_eq!(asker.found(name), ["192.0.2.1"]);
    }
    assert_eq!((zones.asked("long.test", "A"), zones.asked("zero.test", "A")), (1, 2));
    zones.set("long 600 IN A 192.0.2.9\nshort 1 IN A 192.0.2.9\n");
    wait_for("the end of the TTL", Duration::from_secs(20), || {
        (asker.found("short.test") == ["192.0.2.9"]).then_some(())
    })
    .unwrap();
    assert_eq!(asker.found("long.test"), ["192.0.2.1"]);
    assert_eq!(zones.asked("long.test", "A"), 1);
}

#[test]
fn the_bounds_of_memory_hold_over_any_ttl() {
    let zones = Zones::start("forever 86400 IN A 192.0.2.1\n");
    let limits = [("dns-ttl-max", "1"), ("dns-negative-ttl-max", "1"), ("dns-failure-time", "300")];
    let asker = Asker::with(zones.address, &limits);
    assert!(asker.addresses("forever.test").unwrap().ttl <= Duration::from_secs(1));
    assert_eq!(asker.addresses("new.test"), Err(Failure::NoSuchName));
    zones.mood("fails.test", Some(Mood::Fails));
    assert!(is_temporary(asker.addresses("fails.test")));
    zones.mood("fails.test", None);
    zones.set("forever 86400 IN A 192.0.2.2\nnew 60 IN A 192.0.2.3\nfails 60 IN A 192.0.2.4\n");
    wait_for("the bounds", Duration::from_secs(20), || {
        (asker.found("forever.test") == ["192.0.2.2"] && asker.addresses("new.test").is_ok()).then_some(())
    })
    .unwrap();
    // That nobody answered is remembered too, and nobody is asked again.
    assert!(is_temporary(asker.addresses("fails.test")));
}
