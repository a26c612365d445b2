//! A real Postfix as the client: what it hands over comes in whole, and goes on whole to a mail server that can take it.
//!
//! (Postfix sends no BDAT; [`crate::chunks`] does.)

use std::time::Duration;

use postern_tests::clock::wait_until;
use postern_tests::postfix::Daemon;
use postern_tests::sink::{EVERYTHING, Mail};
use postern_tests::smtp::Client;

use crate::scene::{MESSAGE_SIZE, Scene};

const PATIENCE: Duration = Duration::from_secs(60);

/// Gives Postfix one message; what arrives at the mail server behind the relay.
fn through(scene: &Scene, mail: &str, rcpt: &[&str], content: &str) -> Mail {
    let before = scene.sink.mails().len();
    let postfix = Daemon::start(scene.relay.smtp, "").unwrap();
    let mut client = Client::greeted(postfix.address()).unwrap();
    client.say(mail, 250).unwrap();
    for rcpt in rcpt {
        client.say(rcpt, 250).unwrap();
    }
    client.say("DATA", 354).unwrap();
    client.send(content.as_bytes()).unwrap();
    client.say(".", 250).unwrap();
    let mails =
        scene.sink.wait_for_mails(before + 1, PATIENCE).unwrap_or_else(|error| panic!("{error:#}\n{}", postfix.log()));
    mails[before].clone()
}

#[test]
fn postfix_believes_the_size_limit_and_sends_nothing_above_it() {
    let scene = Scene::open().unwrap();
    let postfix = Daemon::start(scene.relay.smtp, "").unwrap();
    let mut client = Client::greeted(postfix.address()).unwrap();
    client.say("MAIL FROM:<>", 250).unwrap();
    client.say("RCPT TO:<bob@ours.test>", 250).unwrap();
    client.say("DATA", 354).unwrap();
    client.send(&b"x\r\n".repeat(MESSAGE_SIZE / 3 + 1)).unwrap();
    client.say(".", 250).unwrap();
    let bounced = || postfix.log().contains(&format!("exceeds size limit {MESSAGE_SIZE} of server"));
    wait_until("Postfix gives the message up", PATIENCE, bounced)
        .unwrap_or_else(|error| panic!("{error}\n{}", postfix.log()));
    scene.survived(0).unwrap();
}

/// The `with` of the Received field that the relay wrote: the first.
fn with(mail: &Mail) -> String {
    let text = String::from_utf8_lossy(&mail.content).into_owned();
    text.split(" with ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn postfix_hands_over_size_8bitmime_and_a_pipelined_envelope() {
    let scene = Scene::open().unwrap();
    scene.sink.answer("EHLO", EVERYTHING);
    let content = "Subject: gr\u{fc}n\r\n\r\n.\r\n..\r\ngr\u{fc}n\r\n".replace("\r\n.", "\r\n..");
    let recipients = ["RCPT TO:<bob@ours.test>", "RCPT TO:<one@open.test>", "RCPT TO:<two@open.test>"];
    let mail = through(&scene, "MAIL FROM:<a@stranger.test> BODY=8BITMIME", &recipients, &content);
    assert!(mail.sender.starts_with("<a@stranger.test>") && mail.sender.contains(" BODY=8BITMIME"), "{}", mail.sender);
    assert!(!mail.sender.contains("SMTPUTF8"), "not declared, so not needed: {}", mail.sender);
    let mut addresses: Vec<_> = mail.recipients.iter().map(|to| to.split(' ').next().unwrap_or_default()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["<bob@ours.test>", "<one@open.test>", "<two@open.test>"]);
    assert!(mail.content.ends_with("\r\n\r\n.\r\n..\r\ngr\u{fc}n\r\n".as_bytes()), "{mail:?}");
    assert_eq!(with(&mail), "ESMTP");
    scene.survived(1).unwrap();
}

#[test]
fn postfix_hands_over_addresses_in_unicode() {
    let scene = Scene::open().unwrap();
    scene.sink.answer("EHLO", EVERYTHING);
    let mail = through(
        &scene,
        "MAIL FROM:<j\u{fc}rgen@stra\u{df}e.test> SMTPUTF8",
        &["RCPT TO:<j\u{fc}rgen@b\u{fc}cher.test>"],
        "Subject: gr\u{fc}n\r\nFrom: J\u{fc}rgen <j\u{fc}rgen@stra\u{df}e.test>\r\n\r\nb\r\n",
    );
    assert!(mail.sender.starts_with("<j\u{fc}rgen@xn--strae-oqa.test>"), "{}", mail.sender);
    assert!(mail.sender.contains(" SMTPUTF8"), "{}", mail.sender);
    let recipient = &mail.recipients[0];
    assert!(recipient.starts_with("<j\u{fc}rgen@xn--bcher-kva.test>"), "{recipient}");
    assert!(recipient.contains(" ORCPT=utf-8;j\\x{FC}rgen@b\\x{FC}cher.test"), "{recipient}");
    assert_eq!(with(&mail), "UTF8SMTP");
    scene.survived(1).unwrap();
}

#[test]
fn postfix_hands_over_what_its_sender_asked_about_notifications() {
    let scene = Scene::open().unwrap();
    scene.sink.answer("EHLO", EVERYTHING);
    let mail = through(
        &scene,
        "MAIL FROM:<a@stranger.test> RET=HDRS ENVID=QQ+2B31",
        &[
            "RCPT TO:<bob@ours.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@ours.test",
            "RCPT TO:<one@open.test> NOTIFY=NEVER",
        ],
        "Subject: a\r\n\r\nb\r\n",
    );
    assert!(mail.sender.contains(" RET=HDRS") && mail.sender.contains(" ENVID=QQ+2B31"), "{}", mail.sender);
    let of = |address: &str| mail.recipients.iter().find(|to| to.starts_with(address)).cloned().unwrap_or_default();
    let bob = of("<bob@ours.test>");
    assert!(bob.contains(" NOTIFY=SUCCESS,DELAY") && bob.contains(" ORCPT=rfc822;Bob+2Bx@ours.test"), "{bob}");
    assert!(of("<one@open.test>").contains(" NOTIFY=NEVER"), "{:?}", mail.recipients);
    scene.survived(1).unwrap();
}
