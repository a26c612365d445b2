//! A relay that starts with a long queue, as after a night in which the next hop was away. `POSTERN_SPOOL_MESSAGES` sets how
//! long: a million takes some minutes.

use std::process::Command;
use std::thread;

use futures::StreamExt as _;
use jiff::Timestamp;
use postern_relay::address::ReversePath;
use postern_relay::envelope::{Envelope, Origin};
use postern_relay::spool::{Options, Spool};
use postern_tests::clock::wait_until;
use postern_tests::program::own;
use postern_tests::relay::{Relay, get};
use postern_tests::sink::Sink;

use crate::{DELIVERED_WITHIN, DOMAIN, relay_to};

/// What the process may grow by for each message, index and scheduler and all that starting takes: a gate against a copy of
/// each message, not a promise. With many messages it is far less.
const OCTETS_MAX: u64 = 2000;

fn messages() -> u64 {
    std::env::var("POSTERN_SPOOL_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000)
}

/// Puts messages into the spool of a relay that does not run.
fn fill(relay: &Relay, messages: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { size_max: 10 << 30, ..Options::new(relay.spool()) };
        let (spool, _arrivals) = Spool::open(options, Timestamp::now()).unwrap();
        let store = async |number: u64| {
            let mut intake = spool.admit(None).unwrap();
            intake.write(format!("X-Marker: {number}\r\n\r\nbody\r\n").as_bytes()).await.unwrap();
            let draft = intake.end().await.unwrap();
            let envelope = Envelope {
                arrived: Timestamp::now(),
                sender: ReversePath::Mailbox("sender@elsewhere.test".parse().unwrap()),
                recipients: vec![format!("r{number}@{DOMAIN}").parse().unwrap()],
                origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
                eight_bit: false,
                binary: false,
                utf8: false,
                dsn: None,
            };
            spool.commit(draft, envelope).await.unwrap();
        };
        futures::stream::iter(0..messages).map(store).buffer_unordered(1000).collect::<Vec<()>>().await;
        spool.close().await;
    });
}

/// Octets of memory that the relay's process has.
fn resident(relay: &Relay) -> u64 {
    relay.usage().unwrap().resident
}

fn queued(relay: &Relay) -> Option<u64> {
    let (_, metrics) = relay.get("/metrics").ok()?;
    metrics.lines().find_map(|line| line.strip_prefix("postern_relay_spool_messages "))?.parse().ok()
}

#[test]
fn a_relay_with_a_long_queue_starts_says_how_far_it_is_and_stays_small() {
    let sink = Sink::start().unwrap();
    sink.answer("EHLO", "421 4.3.2 later");
    sink.answer("HELO", "421 4.3.2 later");
    let mut empty = relay_to(&sink);
    empty.start_again().unwrap();
    let before = resident(&empty);
    let mut relay = relay_to(&sink);
    fill(&relay, messages());
    let http = relay.http;
    let mut told = Vec::new();
    thread::scope(|scope| {
        let starting = scope.spawn(|| relay.start_again().unwrap());
        while !starting.is_finished() {
            if let Ok((code, said)) = get(http, "/readyz") {
                assert_eq!(get(http, "/livez").unwrap().0, 200, "alive while it opens the spool");
                assert_eq!(code == 200, said == "ready\n");
                told.push(said);
            }
        }
    });
    let opening: Vec<_> = told.iter().filter(|said| said.starts_with("the spool is being opened: ")).collect();
    println!("/readyz: {:?} … {:?}", opening.first(), opening.last());
    assert!(!opening.is_empty() && opening.iter().all(|said| said.contains(" segments are read, with ")), "{told:?}");
    wait_until("all of them are announced and wait", DELIVERED_WITHIN, || {
        let view = |relay: &Relay| Some((queued(relay)?, resident(relay)));
        let first = view(&relay);
        thread::sleep(std::time::Duration::from_secs(2));
        first.is_some_and(|first| first.0 == messages() && resident(&relay).abs_diff(first.1) < 256 << 10)
    })
    .unwrap();
    let each = resident(&relay).saturating_sub(before) / messages();
    println!("{} messages: {each} octets of memory each, in index and scheduler", messages());
    assert!(each <= OCTETS_MAX, "{each} octets of memory for each of {} messages", messages());
    let mut list = Command::new(own("postern").unwrap());
    list.args(["queue", "list", "--limit", "3", "--sort", "next", "-o", "json", "--control"]).arg(relay.control());
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&list.output().unwrap().stdout).unwrap();
    assert_eq!(listed.len(), 3);
}
