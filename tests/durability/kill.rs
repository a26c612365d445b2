//! `kill -9` under load.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use postern_tests::clock::{wait_for, wait_until};
use postern_tests::sink::Sink;

use crate::load::{Load, arrived, lost, message};
use crate::{DELIVERED_WITHIN, relay_to};

const CLIENTS: usize = 20;
const KILLS: usize = 50;
const ACKNOWLEDGED_MIN: usize = 20_000;
/// Deliveries that are under way at once: a kill may repeat each of them, and nothing else.
const IN_FLIGHT: usize = 20;

#[test]
fn fifty_kills_under_the_load_of_twenty_clients_lose_nothing_and_repeat_only_what_was_under_way() {
    let sink = Sink::start().unwrap();
    let mut relay = relay_to(&sink);
    relay.option("--host-connections", &IN_FLIGHT.to_string());
    relay.start_again().unwrap();
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (load, server) = (Arc::clone(&load), relay.smtp);
            thread::spawn(move || load.client(server))
        })
        .collect();

    for kill in 0..KILLS {
        let enough = ACKNOWLEDGED_MIN.div_ceil(KILLS) * (kill + 1);
        wait_until("the relay acknowledges", DELIVERED_WITHIN, || load.count() >= enough).unwrap();
        // At another point of what the relay does each time.
        thread::sleep(Duration::from_millis(7 * kill as u64 % 50));
        relay.kill().unwrap();
        relay.start_again().unwrap();
    }
    load.stop();
    for client in clients {
        client.join().unwrap();
    }

    let acknowledged = Arc::try_unwrap(load).unwrap().acknowledged();
    assert!(acknowledged.len() >= ACKNOWLEDGED_MIN, "only {} were acknowledged", acknowledged.len());
    sink.wait_for_mails(acknowledged.len(), DELIVERED_WITHIN).unwrap();
    let missing = || {
        let arrived = arrived(&sink.mails(), message).unwrap();
        (lost(&acknowledged, &arrived), arrived)
    };
    let all = wait_for("all that was acknowledged arrives", DELIVERED_WITHIN, || {
        let (lost, arrived) = missing();
        thread::sleep(Duration::from_secs(if lost.is_empty() { 0 } else { 1 }));
        lost.is_empty().then_some(arrived)
    });
    let arrived = all.unwrap_or_else(|error| {
        let lost = missing().0;
        let log = relay.log();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        panic!("{error}: {} of {} are lost: {lost:?}\n{}", lost.len(), acknowledged.len(), tail.join("\n"))
    });
    let copies: usize = arrived.values().map(Vec::len).sum();
    let twice = copies - arrived.len();
    println!(
        "{KILLS} kills, {} acknowledged, 0 lost; {twice} came twice, {} came without having been acknowledged",
        acknowledged.len(),
        arrived.len() - acknowledged.len()
    );
    assert!(twice <= KILLS * IN_FLIGHT, "{twice} came twice");
    assert_eq!(std::fs::read_dir(relay.spool().join("corrupt")).unwrap().count(), 0, "a kill damages nothing");
}
