//! Mail on its way: content, connections, fail-over.

use std::time::Duration;

use postern_relay::metrics::Outcome;
use postern_tests::clock::{wait_for, wait_until};
use postern_tests::loopback;
use postern_tests::sink::Sink;

use crate::hop::{Hop, TAKE_ALL};
use crate::post::{Letter, Names, Plan, Post, SOON, Settings};

const EHLO: &str = "S 220 hop.test\nC EHLO relay.test\nS 250-hop.test\nS 250 PIPELINING\n";

#[test]
fn hands_over_what_it_was_given_octet_by_octet() {
    let sink = Sink::start().unwrap();
    let post = Post::start(Settings::to(&[sink.address()]));
    let mut content = b"Subject: dots\r\n\r\n.\r\n..two\r\n.three\r\n\xc3\xa9 is eight bits\r\n".to_vec();
    content.extend(b"a long line that fills the buffers \r\n".repeat(20_000));
    post.post(&Letter { content: content.clone(), ..Letter::to(&["bob@example.test", "\"a b\"@example.test"]) });
    post.wait_until_empty();
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].content, content);
    assert_eq!(mails[0].recipients, ["<bob@example.test>", "<\"a b\"@example.test>"]);
    assert_eq!(mails[0].sender, format!("<alice@sender.test> SIZE={} BODY=8BITMIME", content.len()));
    assert_eq!(post.count(Outcome::Delivered), 2);
}

#[test]
fn one_connection_carries_many_messages_and_says_goodbye() {
    let hop = Hop::start(&[TAKE_ALL]);
    let mut plan = Plan::new(Settings::to(&[hop.address]));
    plan.limits.host_connections = 1;
    let post = plan.start();
    for _ in 0..20 {
        post.post_one();
    }
    post.wait_until_empty();
    hop.wait_for("QUIT", 1);
    assert_eq!(hop.heard().len(), 1);
    assert_eq!(hop.all("content:").len(), 20);
    assert_eq!(post.metrics().connections.get(), 1);
    wait_until("its end", SOON, || post.metrics().open_connections.get() == 0).unwrap();
}

#[test]
fn a_new_connection_is_made_after_so_many_messages() {
    let hop = Hop::start(&[TAKE_ALL]);
    let mut plan = Plan::new(Settings::to(&[hop.address]));
    (plan.limits.host_connections, plan.limits.connection_messages) = (1, 5);
    let post = plan.start();
    for _ in 0..20 {
        post.post_one();
    }
    post.wait_until_empty();
    assert_eq!(hop.heard().iter().filter(|connection| !connection.is_empty()).count(), 4);
}

#[test]
fn everything_goes_in_one_write_where_pipelining_is_offered() {
    // The answers come only after DATA was read: a client that waits in between would wait for ever.
    let pipelined = format!(
        "{EHLO}C MAIL FROM:<alice@sender.test>\nC RCPT TO:<bob@example.test>\nC RCPT TO:<eve@example.test>\nC DATA\n\
         S 250 ok\nS 250 ok\nS 550 5.1.1 no eve\nS 354 go\nB\nS 250 taken"
    );
    let hop = Hop::start(&[&pipelined]);
    let post = Post::start(Settings::to(&[hop.address]));
    post.post(&Letter::to(&["bob@example.test", "eve@example.test"]));
    hop.wait_for("content:", 1);
    // The notification for eve has no way to leave, and is held.
    let queue = wait_for("the notification alone", SOON, || {
        let queue = post.spool.queue();
        (queue.len() == 1 && post.count(Outcome::Failed) == 1).then_some(queue)
    });
    assert_eq!((queue.unwrap().len(), post.count(Outcome::Delivered)), (1, 1));
}

#[test]
fn falls_back_to_helo() {
    let hop = Hop::start(&["S 220 old.test\nC EHLO relay.test\nS 500 what?\nC HELO relay.test\nS 250 hello\nSERVE"]);
    let post = Post::start(Settings::to(&[hop.address]));
    post.post_one();
    post.wait_until_empty();
    assert_eq!(hop.all("MAIL"), ["MAIL FROM:<alice@sender.test>"]);
}

#[test]
fn eight_bit_content_goes_as_it_is_to_a_server_that_is_silent_about_it() {
    let hop = Hop::start(&["S 220 old.test\nC EHLO\nS 250 old.test\nSERVE"]);
    let post = Post::start(Settings::to(&[hop.address]));
    post.post(&Letter { content: "Subject: x\r\n\r\n\u{e4}\r\n".into(), ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert_eq!(hop.all("MAIL"), ["MAIL FROM:<alice@sender.test>"]);
    assert!(hop.all("content:")[0].contains('\u{e4}'));
}

#[test]
fn a_kept_connection_that_dies_before_the_reply_to_mail_costs_no_attempt() {
    let take_one = format!("{EHLO}C MAIL\nC RCPT\nC DATA\nS 250 ok\nS 250 ok\nS 354 go\nB\nS 250 taken\n");
    for death in ["C MAIL", "C MAIL\nS 421 too late", "W 1", "S 421 idle too long"] {
        let hop = Hop::start(&[&format!("{take_one}{death}"), TAKE_ALL]);
        let mut plan = Plan::new(Settings::to(&[hop.address]));
        plan.limits.delivery_idle_time = Duration::from_secs(10);
        let post = plan.start();
        post.post_one();
        hop.wait_for("content:", 1);
        post.wait_until_empty();
        post.post_one();
        post.wait_until_empty();
        assert_eq!((hop.heard().len(), post.count(Outcome::Delivered)), (2, 2), "{death}");
        assert_eq!(post.count(Outcome::Deferred), 0, "{death}");
    }
}

#[test]
fn fails_over_by_preference_when_nobody_is_there() {
    let backup = Sink::start().unwrap();
    let settings = Settings::to(&[loopback::address(), loopback::address()])
        .host("backup", &[backup.address()])
        .deliver_to(&[(10, "mailbox"), (20, "backup")]);
    let post = Post::start(settings);
    for _ in 0..5 {
        post.post_one();
    }
    backup.wait_for_mails(5, SOON).unwrap();
    post.wait_until_empty();
    assert_eq!(post.count(Outcome::Deferred), 0);
}

#[test]
fn tries_every_address_of_a_name() {
    let sink = Sink::start().unwrap();
    let port = sink.address().port();
    let mut plan = Plan::new(Settings::to(&[]).host_by_name("mailbox", &[("mx.test".to_owned(), port)]));
    plan.names = Names([("mx.test".to_owned(), vec![[127, 0, 0, 77].into(), sink.address().ip()])].into());
    let post = plan.start();
    post.post_one();
    post.wait_until_empty();
    assert_eq!((sink.mails().len(), post.count(Outcome::Deferred)), (1, 0));
}

#[test]
fn a_name_without_address_defers() {
    let post = Post::start(Settings::to(&[]).host_by_name("mailbox", &[("nowhere.test".to_owned(), 25)]));
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert_eq!((heard.status.as_str(), heard.server.as_str()), ("4.4.3", "nowhere.test:25"));
    assert!(heard.reply.starts_with("has no address"), "{}", heard.reply);
}

#[test]
fn fails_over_on_4xx_for_those_recipients_only_and_never_on_5xx() {
    let (first, second, returns) = (Sink::start().unwrap(), Sink::start().unwrap(), Sink::start().unwrap());
    first.answer("RCPT TO:<later@", "450 4.2.0 later");
    first.answer("RCPT TO:<never@", "550 5.1.1 never");
    let settings = Settings::to(&[first.address()])
        .host("backup", &[second.address()])
        .host("out", &[returns.address()])
        .bounces("out")
        .deliver_to(&[(10, "mailbox"), (20, "backup")]);
    let post = Post::start(settings);
    post.post(&Letter::to(&["now@example.test", "later@example.test", "never@example.test"]));
    assert_eq!(second.wait_for_mails(1, SOON).unwrap()[0].recipients, ["<later@example.test>"]);
    assert_eq!(first.wait_for_mails(1, SOON).unwrap()[0].recipients, ["<now@example.test>"]);
    post.wait_until_empty();
    // The third one delivered is the notification about `never`.
    let counts = [Outcome::Delivered, Outcome::Deferred, Outcome::Failed].map(|outcome| post.count(outcome));
    assert_eq!((counts, returns.mails().len()), ([3, 0, 1], 1));
}

#[test]
fn never_asks_another_server_after_the_final_dot_was_sent() {
    let dies = format!("{EHLO}C MAIL\nC RCPT\nC DATA\nS 250 ok\nS 250 ok\nS 354 go\nB");
    let (first, second) = (Hop::start(&[&dies, TAKE_ALL]), Sink::start().unwrap());
    let settings = Settings::to(&[first.address])
        .host("backup", &[second.address()])
        .deliver_to(&[(10, "mailbox"), (20, "backup")]);
    let post = Post::start(settings);
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert_eq!(heard.status, "4.4.2");
    post.wait_until_empty();
    assert_eq!((second.mails().len(), first.all("content:").len()), (0, 2));
}

#[test]
fn too_many_recipients_go_in_a_second_transaction_at_once() {
    let two = format!(
        "{EHLO}C MAIL\nC RCPT TO:<a@\nC RCPT TO:<b@\nC DATA\nS 250 ok\nS 250 ok\nS 452 4.5.3 too many\nS 354 go\nB\nS 250 one\n\
         C MAIL\nC RCPT TO:<b@\nC DATA\nS 250 ok\nS 250 ok\nS 354 go\nB\nS 250 two\nSERVE"
    );
    let hop = Hop::start(&[&two]);
    let post = Post::start(Settings::to(&[hop.address]));
    post.post(&Letter::to(&["a@example.test", "b@example.test"]));
    post.wait_until_empty();
    assert_eq!((hop.heard().len(), post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (1, 2, 0));
}

#[test]
fn says_a_lone_dot_when_nobody_was_taken_and_data_was() {
    let odd = format!("{EHLO}C MAIL\nC RCPT\nC DATA\nS 250 ok\nS 450 later\nS 354 go\nB\nS 250 nothing\nSERVE");
    let hop = Hop::start(&[&odd, TAKE_ALL]);
    let post = Post::start(Settings::to(&[hop.address]));
    let id = post.post_one();
    assert_eq!(post.wait_for_attempts(id, 1).reply, "450 later");
    assert_eq!(hop.all("content:")[0], "content: .\r\n");
    post.wait_until_empty();
}

#[test]
fn equal_endpoints_share() {
    let sinks = [Sink::start().unwrap(), Sink::start().unwrap()];
    let mut plan = Plan::new(Settings::to(&[sinks[0].address(), sinks[1].address()]));
    (plan.limits.host_connections, plan.limits.connection_messages) = (1, 1);
    let post = plan.start();
    for _ in 0..10 {
        post.post_one();
    }
    post.wait_until_empty();
    assert_eq!(sinks.each_ref().map(|sink| sink.mails().len()), [5, 5]);
}

#[test]
fn a_message_too_large_for_the_next_hop_is_returned_without_being_sent() {
    let hop = Hop::start(&["S 220 small.test\nC EHLO\nS 250-small.test\nS 250 SIZE 10\nSERVE"]);
    let returns = Sink::start().unwrap();
    let post = Post::start(Settings::to(&[hop.address]).host("out", &[returns.address()]).bounces("out"));
    post.post_one();
    let mails = returns.wait_for_mails(1, SOON).unwrap();
    let text = String::from_utf8_lossy(&mails[0].content);
    assert!(text.contains("Status: 5.3.4") && text.contains("takes messages of at most 10 octets"), "{text}");
    assert!(hop.all("MAIL").is_empty());
}
