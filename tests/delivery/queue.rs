//! Mail that waits: for a server that is away, for settings, for its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use postern_relay::metrics::Outcome;
use postern_tests::clock::wait_until;
use postern_tests::loopback;
use postern_tests::sink::Sink;
use postern_wire::snapshot::{Handshake, SecretFile, Tls, Verification, Way};

use crate::hop::Hop;
use crate::post::{Letter, PANICS, Plan, Post, SOON, Settings};

#[test]
fn mail_waits_while_the_server_is_away_and_arrives_when_it_is_back() {
    let (address, arrived) = (loopback::address(), Timestamp::now());
    let post = Post::start(Settings::to(&[address]));
    let first = post.post_one();
    post.wait_for_attempts(first, 1);
    for _ in 0..100 {
        post.post_one();
    }
    wait_until("some probes", SOON, || post.metrics().failed_connections.get() >= 4).unwrap();
    assert_eq!(post.metrics().destinations_down.get(), 1);
    let down = post.down().unwrap();
    assert!(down.failures >= 3 && down.problem.status == "4.4.1" && down.next_probe > arrived, "{down:?}");
    let (probes, deferred) = (post.metrics().failed_connections.get(), post.count(Outcome::Deferred));
    assert!(probes < 15 && deferred <= probes, "{probes} connections, {deferred} attempts for 101 messages");
    let sink = Sink::listen(address).unwrap();
    sink.wait_for_mails(101, SOON).unwrap();
    post.wait_until_empty();
    assert_eq!(sink.mails().len(), 101);
    wait_until("up again", SOON, || post.metrics().destinations_down.get() == 0).unwrap();
    assert_eq!(post.down(), None);
}

#[test]
fn a_deferred_message_is_tried_again() {
    let sink = Sink::start().unwrap();
    sink.answer("RCPT", "450 4.7.1 greylisted");
    let post = Post::start(Settings::to(&[sink.address()]));
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 2);
    assert_eq!((heard.reply.as_str(), heard.status.as_str()), ("450 4.7.1 greylisted", "4.7.1"));
    assert_eq!(heard.server, format!("{}[{}]:{}", sink.address().ip(), sink.address().ip(), sink.address().port()));
    sink.answer_normally();
    post.wait_until_empty();
    assert_eq!(sink.mails().len(), 1);
}

#[test]
fn a_person_who_says_retry_does_not_wait() {
    let address = loopback::address();
    let mut plan = Plan::new(Settings::to(&[address]));
    (plan.limits.retry_first, plan.limits.retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    (plan.limits.host_retry_first, plan.limits.host_retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let post = plan.start();
    let id = post.post_one();
    post.wait_for_attempts(id, 1);
    let untried = post.post_one();
    let sink = Sink::listen(address).unwrap();
    // The one that waits for the server makes it be tried.
    assert!(post.retry(untried));
    sink.wait_for_mails(1, SOON).unwrap();
    assert!(post.retry(id));
    post.wait_until_empty();
}

#[test]
fn a_dead_server_does_not_hold_up_another_one() {
    let sink = Sink::start().unwrap();
    let silent = Hop::start(&["W 60000"]);
    let mut plan = Plan::new(Settings::to(&[silent.address]).host("other", &[sink.address()]));
    plan.limits.delivery_reply_time = Duration::from_secs(60);
    let mut other = plan.settings.snapshot.domains[0].clone();
    other.name = "zother".into();
    other.spec.names = vec!["other.test".into()];
    if let Way::Open(inbound) = &mut other.spec.inbound {
        inbound.deliver_to[0].host = "other".into();
    }
    plan.settings.snapshot.domains.push(postern_wire::Section::new("zother", "uid-zother", 1, other.spec));
    let post = plan.start();
    for _ in 0..50 {
        post.post_one();
    }
    for _ in 0..5 {
        post.post(&Letter::to(&["carol@other.test"]));
    }
    sink.wait_for_mails(5, SOON).unwrap();
}

#[test]
fn a_queued_message_asks_for_its_route_again() {
    let sink = Sink::start().unwrap();
    let settings = Settings::to(&[loopback::address()]);
    let mut plan = Plan::new(settings.clone());
    (plan.limits.host_retry_first, plan.limits.host_retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let post = plan.start();
    let tried = post.post_one();
    post.wait_for_attempts(tried, 1);
    for _ in 0..5 {
        post.post_one();
    }
    post.change(&settings.host("elsewhere", &[sink.address()]).deliver_to(&[(10, "elsewhere")]));
    // Those that never were tried go at once; the one that was has its own wait, which is long here.
    sink.wait_for_mails(5, SOON).unwrap();
    assert!(post.retry(tried));
    post.wait_until_empty();
    assert_eq!(sink.mails().len(), 6);
}

#[test]
fn mail_whose_domain_is_gone_is_held_and_goes_on_when_it_is_back() {
    let sink = Sink::start().unwrap();
    let settings = Settings::to(&[sink.address()]);
    let mut plan = Plan::new(settings.clone().without_domains());
    (plan.limits.retry_first, plan.limits.retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let post = plan.start();
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert_eq!((heard.status.as_str(), heard.server.as_str()), ("4.3.5", ""));
    assert_eq!(heard.reply, "example.test is not a domain of any RelayDomain");
    post.change(&settings);
    post.wait_until_empty();
    assert_eq!(sink.mails().len(), 1);
}

#[test]
fn a_host_without_its_certificate_is_not_dialled_and_gets_its_mail_when_it_is_mended() {
    let sink = Sink::start().unwrap();
    let settings = Settings::to(&[sink.address()]);
    let mut broken = settings.clone().change_host("mailbox", |host| {
        host.tls = Way::Open(Tls {
            client_certificate: None,
            handshake: Handshake::StartTls,
            verification: Verification::Verified,
            server_name: None,
            ca: Some(SecretFile("ca.crt".to_owned())),
        });
    });
    broken.secrets = vec![("ca.crt".to_owned(), b"not a certificate".to_vec())];
    let mut plan = Plan::new(broken);
    (plan.limits.retry_first, plan.limits.retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let post = plan.start();
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert_eq!(heard.status, "4.3.5");
    assert!(heard.reply.starts_with("RelayHost mailbox: secrets/ca.crt: "), "{}", heard.reply);
    assert_eq!(post.metrics().connections.get(), 0);
    post.change(&settings);
    post.wait_until_empty();
    assert_eq!(sink.mails().len(), 1);
}

#[test]
fn a_suspended_host_is_not_dialled_and_nothing_for_it_expires() {
    let sink = Sink::start().unwrap();
    let settings = Settings::to(&[sink.address()]);
    let suspended = settings.clone().change_host("mailbox", |host| host.suspend = true);
    let post = Post::start(suspended.clone());
    let long_ago = Timestamp::now() - jiff::Span::new().hours(24 * 20);
    post.post(&Letter { arrived: long_ago, ..Letter::to(&["bob@example.test"]) });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((post.spool.queue().len(), post.metrics().connections.get()), (1, 0));
    assert_eq!(post.spool.queue()[0].attempts, 0);
    post.change(&settings);
    post.wait_until_empty();
    assert_eq!((sink.mails().len(), post.count(Outcome::Failed)), (1, 0));
    post.change(&suspended);
    std::thread::sleep(Duration::from_millis(600));
    post.post_one();
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!((post.spool.queue().len(), sink.mails().len()), (1, 1));
}

#[test]
fn an_old_message_is_tried_before_it_is_given_up() {
    let sink = Sink::start().unwrap();
    let post = Post::start(Settings::to(&[sink.address()]));
    // As it is after a clock that jumped ahead by years.
    let long_ago = Timestamp::UNIX_EPOCH;
    post.post(&Letter { arrived: long_ago, ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert_eq!((sink.mails().len(), post.count(Outcome::Failed)), (1, 0));
}

#[test]
fn what_waits_for_a_dead_server_is_given_up_at_the_end_of_its_lifetime() {
    let returns = Sink::start().unwrap();
    let settings = Settings::to(&[loopback::address()]).host("out", &[returns.address()]).bounces("out");
    let settings = settings.change_host("mailbox", |host| host.queue.lifetime = 3600);
    let post = Post::start(settings);
    let long_ago = Timestamp::now() - jiff::Span::new().hours(2);
    for _ in 0..10 {
        post.post(&Letter { arrived: long_ago, ..Letter::to(&["bob@example.test"]) });
    }
    let mails = returns.wait_for_mails(10, SOON).unwrap();
    let text = String::from_utf8_lossy(&mails[0].content);
    assert!(text.contains("Status: 4.4.7\r\n") && text.contains("gave up after 1 h; the last try: 127."), "{text}");
    post.wait_until_empty();
    assert_eq!((post.count(Outcome::Failed), returns.mails().len()), (10, 10));
}

#[test]
fn an_attempt_that_panics_returns_its_claim_and_stops_nobody() {
    let sink = Sink::start().unwrap();
    let settings = Settings::to(&[]).host_by_name("mailbox", &[("panics.test".to_owned(), 25)]);
    let post = Post::start(settings.clone());
    let id = post.post_one();
    wait_until("an attempt", SOON, || PANICS.load(Ordering::SeqCst) > 0).unwrap();
    wait_until("its return", SOON, || !post.spool.queue()[0].claimed).unwrap();
    post.change(&settings.host("mailbox", &[sink.address()]));
    let other = post.post_one();
    sink.wait_for_mails(1, SOON).unwrap();
    wait_until("the other one is settled", SOON, || post.spool.queue().len() == 1).unwrap();
    assert!(id != other && post.spool.queue()[0].id == id);
}

const SLOW: &str = "S 220 slow.test\nC EHLO\nS 250 slow.test\nC MAIL\nS 250 ok\nC RCPT\nS 250 ok\nC DATA\nS 354 go\nB\nW 1000\nS 250 taken\nC QUIT\nS 221 bye";

/// A message that is being sent to a next hop that takes its time, and one behind it that has not begun.
fn one_under_way_and_one_behind(hop: &Hop) -> Post {
    let mut plan = Plan::new(Settings::to(&[hop.address]));
    plan.limits.host_connections = 1;
    plan.limits.connection_messages = 1;
    let post = plan.start();
    post.post_one();
    hop.wait_for("content:", 1);
    post.post_one();
    post
}

#[test]
fn settling_finishes_what_is_under_way_and_claims_nothing_more() {
    let hop = Hop::start(&[SLOW]);
    let spool = one_under_way_and_one_behind(&hop).settle();
    assert_eq!(hop.all("QUIT").len(), 1);
    let queue = spool.queue();
    assert_eq!((queue.len(), queue[0].claimed), (1, false), "the second one was not begun");
}

#[test]
fn draining_delivers_what_is_due() {
    let hop = Hop::start(&[SLOW, SLOW]);
    let spool = one_under_way_and_one_behind(&hop).drain();
    assert_eq!((hop.all("content:").len(), spool.queue().len()), (2, 0));
}

#[test]
fn draining_waits_for_no_connection_that_is_kept_open() {
    let hop = Hop::start(&["S 220 hop.test ESMTP\nSERVE"]);
    let mut plan = Plan::new(Settings::to(&[hop.address]));
    plan.limits.delivery_idle_time = Duration::from_secs(300);
    let post = plan.start();
    post.post_one();
    post.wait_until_empty();
    assert!(post.drain().queue().is_empty());
    assert_eq!(hop.all("QUIT").len(), 1);
}

#[test]
fn draining_waits_for_nothing_that_is_due_later() {
    let mut plan = Plan::new(Settings::to(&[loopback::address()]));
    (plan.limits.retry_first, plan.limits.retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    (plan.limits.host_retry_first, plan.limits.host_retry_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let post = plan.start();
    let id = post.post_one();
    post.wait_for_attempts(id, 1);
    let behind = post.post_one();
    let queue = post.drain().queue();
    let mut left: Vec<_> = queue.iter().map(|message| (message.id, message.claimed)).collect();
    left.sort();
    assert_eq!(left, [(id, false), (behind, false)]);
}
