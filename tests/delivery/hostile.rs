//! Next hops that lie, drip, flood and die (hostile inputs, J9). Each time: nobody counts as delivered who was not, the message
//! arrives once the hop behaves, nothing unprintable is kept, and an innocent destination goes on.

use postern_relay::metrics::Outcome;
use postern_tests::alone::alone;
use postern_tests::usage;

use crate::hop::{Hop, TAKE_ALL};
use crate::post::{Letter, Post, SOON, Settings};

const EHLO: &str = "S 220 hop.test\nC EHLO\nS 250-hop.test\nS 250 PIPELINING\n";
const TO_DATA: &str = "C MAIL\nC RCPT\nC DATA\n";

/// Plays the script once, sees the message deferred as `status` with a reply that holds `said`, then behaves.
fn defers(script: &str, status: &str, said: &str) {
    let hop = Hop::start(&[script, TAKE_ALL]);
    let post = Post::start(Settings::to(&[hop.address]));
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert!(heard.reply.contains(said), "{script:?}: {heard:?}");
    assert_eq!(heard.status, status, "{script:?}: {heard:?}");
    assert!(heard.reply.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{heard:?}");
    assert_eq!(post.count(Outcome::Delivered), 0, "{script:?}");
    post.wait_until_empty();
    assert_eq!(post.count(Outcome::Delivered), 1, "{script:?}");
    assert_eq!((hop.heard().len(), post.count(Outcome::Failed)), (2, 0), "{script:?}");
}

#[test]
fn greetings_that_are_none() {
    defers("R 2\\r\\n", "4.5.0", "not an SMTP reply");
    defers("R \\r\\n", "4.5.0", "not an SMTP reply");
    defers("S SSH-2.0-OpenSSH_9.2", "4.5.0", "not an SMTP reply");
    defers("S 554 5.7.1 go away", "4.7.1", "554 5.7.1 go away");
    defers("S 421 4.3.2 busy", "4.3.2", "421 4.3.2 busy");
    defers("W 1", "4.4.2", "closed the connection");
    defers("R 451 \\0\\x1b[31m\\xff\\r\\n", "4.0.0", "451 ??[31m?");
}

#[test]
fn replies_without_end() {
    defers("FLOOD 220-\\r\\n", "4.5.0", "more than 100 lines");
    defers(
        "FLOOD 220-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\r\\n",
        "4.5.0",
        "longer than 8 KiB",
    );
    defers("FLOOD 220 xxxxxxxxxxxxxxxx", "4.5.0", "longer than 8 KiB");
    defers(&format!("{EHLO}{TO_DATA}FLOOD 250-\\r\\n"), "4.5.0", "more than 100 lines");
    defers("S 220 hop.test\nC EHLO\nFLOOD 250-\\r\\n", "4.5.0", "more than 100 lines");
}

#[test]
fn a_drip_does_not_move_the_deadline() {
    defers("DRIP 220-one after the other, and never an end of the line", "4.4.2", "within 2 s");
    defers(&format!("{EHLO}{TO_DATA}DRIP 250-one after the other, and never an end"), "4.4.2", "within 2 s");
}

#[test]
fn silence() {
    defers("W 4000", "4.4.2", "within 2 s");
    defers(&format!("{EHLO}W 4000"), "4.4.2", "within 2 s");
    defers(
        &format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok\nS 354 go\nB\nW 4000"),
        "4.4.2",
        "the end of the message within 2 s",
    );
}

#[test]
fn a_yes_that_comes_too_early_is_none() {
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok\nS 250 queued"), "4.5.0", "answered DATA out of turn");
    defers(
        &format!("{EHLO}{TO_DATA}R 250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 queued\\r\\n"),
        "4.5.0",
        "out of turn: 250 queued",
    );
}

#[test]
fn two_codes_in_one_reply() {
    defers(&format!("{EHLO}{TO_DATA}R 450-no\\r\\n250 yes\\r\\n"), "4.5.0", "two different codes");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 450 not now\nS 354 go\nB\nS 250 nothing"), "4.0.0", "450 not now");
}

#[test]
fn deaths_at_every_step() {
    defers(&format!("{EHLO}C MAIL"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok\nS 354 go"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok\nS 354 go\nB"), "4.4.2", "");
    defers(&format!("{EHLO}{TO_DATA}S 250 ok\nS 421 4.3.2 stopping"), "4.3.2", "421 4.3.2 stopping");
    defers(
        &format!("{EHLO}{TO_DATA}R 250 ok\\r\\n250 ok\\r\\n354 go\\r\\n421 4.3.2 stopping\\r\\n"),
        "4.3.2",
        "421 4.3.2 stopping",
    );
}

/// More than the buffers of both ends hold, so that the script goes on while it is being sent.
fn large() -> Letter {
    let content = b"Subject: large\r\n\r\n".iter().copied().chain(b"a line of it\r\n".repeat(800_000)).collect();
    Letter { content, ..Letter::to(&["bob@example.test"]) }
}

#[test]
fn what_is_said_in_the_middle_of_the_content() {
    let begun = format!("{EHLO}{TO_DATA}S 250 ok\nS 250 ok\nS 354 go\n");
    for (then, status, said) in [
        ("S 421 4.3.2 stopping", "4.3.2", "421 4.3.2 stopping"),
        ("S 452 4.3.1 full", "4.3.1", "452 4.3.1 full"),
        ("S 250 queued", "4.5.0", "answered the message out of turn: 250 queued"),
        ("R nonsense\\r\\n", "4.4.2", "closed the connection in the middle of the message"),
        ("W 6000", "4.4.2", "did not take the next part of the message within 2 s"),
        ("W 1", "4.4.2", ""),
    ] {
        let hop = Hop::start(&[&format!("{begun}{then}"), TAKE_ALL]);
        let post = Post::start(Settings::to(&[hop.address]));
        let id = post.post(&large());
        let heard = post.wait_for_attempts(id, 1);
        assert_eq!(heard.status, status, "{then}: {heard:?}");
        assert!(heard.reply.contains(said), "{then}: {heard:?}");
        post.wait_until_empty();
        assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Failed)), (1, 0), "{then}");
    }
}

#[test]
fn a_storm_of_421_costs_a_few_probes_and_no_innocent_destination() {
    let storm = ["S 421 4.3.2 too busy"; 4];
    let hop = Hop::start(&[&storm[..], &[TAKE_ALL]].concat());
    let innocent = postern_tests::sink::Sink::start().unwrap();
    let settings = Settings::to(&[hop.address]).host("ok", &[innocent.address()]);
    let post = Post::start(settings.other(&[(10, "ok")]));
    for _ in 0..50 {
        post.post_one();
        post.post(&Letter::to(&["carol@other.test"]));
    }
    innocent.wait_for_mails(50, SOON).unwrap();
    post.wait_until_empty();
    assert_eq!(post.count(Outcome::Delivered), 100);
    assert!(post.count(Outcome::Deferred) <= 4, "{} attempts", post.count(Outcome::Deferred));
    assert_eq!(post.metrics().failed_connections.get(), 4);
}

#[test]
fn an_enhanced_code_without_text_is_a_reply() {
    let hop = Hop::start(&[&format!("{EHLO}{TO_DATA}S 250 ok\nS 554 5.7.2\nS 503 5.5.1\nSERVE")]);
    let returns = postern_tests::sink::Sink::start().unwrap();
    let post = Post::start(Settings::to(&[hop.address]).host("out", &[returns.address()]).bounces("out"));
    post.post_one();
    let mails = returns.wait_for_mails(1, SOON).unwrap();
    let text = String::from_utf8_lossy(&mails[0].content);
    assert!(
        text.contains("\r\nStatus: 5.7.2\r\n") && text.contains("\r\nDiagnostic-Code: smtp; 554 5.7.2\r\n"),
        "{text}"
    );
}

#[test]
fn a_flood_costs_neither_memory_nor_an_innocent_session() {
    alone("hostile::a_flood_costs_neither_memory_nor_an_innocent_session", flood);
}

fn flood() {
    let flood = Hop::start(&["FLOOD 220-x\\r\\n"]);
    let innocent = postern_tests::sink::Sink::start().unwrap();
    let settings = Settings::to(&[flood.address]).host("ok", &[innocent.address()]);
    let post = Post::start(settings.deliver_to(&[(10, "mailbox"), (20, "ok")]));
    let before = usage::of(std::process::id()).unwrap();
    for _ in 0..200 {
        post.post_one();
    }
    innocent.wait_for_mails(200, SOON).unwrap();
    let after = usage::of(std::process::id()).unwrap();
    assert!(after.resident.saturating_sub(before.resident) < 64 << 20, "{before:?} {after:?}");
}
