//! What a host may be given at once, and that nobody is starved by it.

use std::time::Duration;

use jiff::Timestamp;
use postern_relay::metrics::Outcome;
use postern_tests::sink::Sink;
use postern_wire::snapshot::HostLimits;

use crate::hop::{Hop, TAKE_ALL};
use crate::post::{Letter, Plan, Post, SOON, Settings};

fn limited(settings: Settings, name: &str, limits: HostLimits) -> Settings {
    settings.change_host(name, |host| host.limits = limits)
}

#[test]
fn a_host_gets_no_more_connections_than_it_allows_from_all_its_destinations_together() {
    let slow = "S 220 slow.test\nC EHLO\nS 250 slow.test\nW 30\nSERVE";
    let (hop, backup) = (Hop::start(&[slow]), Sink::start().unwrap());
    let settings = Settings::to(&[hop.address]).host("backup", &[backup.address()]);
    let settings = settings.other(&[(10, "mailbox"), (20, "backup")]);
    let limits = HostLimits { connections: Some(2), ..HostLimits::default() };
    let post = Post::start(limited(settings, "mailbox", limits));
    for _ in 0..30 {
        post.post_one();
        post.post(&Letter::to(&["carol@other.test"]));
    }
    post.wait_until_empty();
    assert_eq!((hop.all("content:").len(), backup.mails().len()), (60, 0), "the backup is for when it is away");
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (60, 0));
    assert!(hop.most() <= 2, "{} connections at a time", hop.most());
}

#[test]
fn a_host_gets_a_new_connection_after_as_many_messages_as_it_allows() {
    let hop = Hop::start(&[TAKE_ALL]);
    let limits = HostLimits { connections: Some(1), messages_per_connection: Some(3), ..HostLimits::default() };
    let post = Post::start(limited(Settings::to(&[hop.address]), "mailbox", limits));
    for _ in 0..12 {
        post.post_one();
    }
    post.wait_until_empty();
    let connections = hop.heard();
    let messages = connections.iter().map(|heard| heard.iter().filter(|line| line.starts_with("content:")).count());
    assert_eq!(messages.filter(|count| *count > 0).collect::<Vec<_>>(), [3, 3, 3, 3]);
    assert_eq!(hop.most(), 1);
}

#[test]
fn mail_beyond_the_messages_of_a_minute_waits_without_an_attempt_and_holds_up_nobody() {
    let (slow, quick) = (Sink::start().unwrap(), Sink::start().unwrap());
    let settings = Settings::to(&[slow.address()]).host("quick", &[quick.address()]);
    let limits = HostLimits { messages_per_minute: Some(120), ..HostLimits::default() };
    let post = Post::start(limited(settings.other(&[(10, "quick")]), "mailbox", limits));
    let begun = Timestamp::now();
    for _ in 0..6 {
        post.post_one();
    }
    for _ in 0..20 {
        post.post(&Letter::to(&["carol@other.test"]));
    }
    quick.wait_for_mails(20, SOON).unwrap();
    slow.wait_for_mails(6, SOON).unwrap();
    // Two of them may go at once.
    let took = Duration::try_from(Timestamp::now().duration_since(begun)).unwrap();
    assert!(took >= Duration::from_millis(1900), "all of it in {took:?}");
    post.wait_until_empty();
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (26, 0));
}

#[test]
fn equal_hosts_share_what_they_may_have() {
    let sinks = [Sink::start().unwrap(), Sink::start().unwrap()];
    let settings = Settings::to(&[sinks[0].address()]).host("second", &[sinks[1].address()]);
    let limits = HostLimits { messages_per_minute: Some(60), ..HostLimits::default() };
    let settings = limited(limited(settings, "mailbox", limits), "second", limits);
    let post = Post::start(settings.deliver_to(&[(10, "mailbox"), (10, "second")]));
    for _ in 0..8 {
        post.post_one();
    }
    post.wait_until_empty();
    let taken = sinks.each_ref().map(|sink| sink.mails().len());
    assert!(taken.iter().all(|taken| *taken >= 2), "{taken:?}");
    assert_eq!(post.count(Outcome::Deferred), 0);
}

#[test]
fn too_many_connections_are_no_attempt_while_others_still_work() {
    let hop = Hop::start(&["MOST 3\nS 220 hop.test\nC EHLO\nS 250 hop.test\nW 20\nSERVE"]);
    let mut plan = Plan::new(Settings::to(&[hop.address]));
    plan.limits.delivery_idle_time = Duration::from_secs(5);
    let post = plan.start();
    post.post_one();
    post.wait_until_empty();
    for _ in 0..60 {
        post.post_one();
    }
    post.wait_until_empty();
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (61, 0));
    assert_eq!(hop.all("content:").len(), 61);
}

#[test]
fn a_destination_without_a_connection_gets_its_turn_while_all_are_busy() {
    let slow = "S 220 slow.test\nC EHLO\nS 250 slow.test\nSERVE";
    let (hop, sink) = (Hop::start(&[slow]), Sink::start().unwrap());
    let settings = Settings::to(&[hop.address]).host("small", &[sink.address()]);
    let mut plan = Plan::new(settings.other(&[(10, "small")]));
    // Half of them is all of them.
    plan.limits.delivery_connections = 1;
    plan.limits.delivery_idle_time = Duration::from_secs(60);
    let post = plan.start();
    for _ in 0..5 {
        post.post_one();
    }
    hop.wait_for("content:", 5);
    // Its connection is kept for a minute; this one does not wait for so long.
    post.post(&Letter::to(&["carol@other.test"]));
    sink.wait_for_mails(1, SOON).unwrap();
    post.wait_until_empty();
}
