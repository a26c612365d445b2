//! Rows I: bounces and loops. Every test ends with a count of what reached a mailbox.

use std::time::Duration;

use postern_tests::relay::Relay;
use postern_tests::settings::relaying;
use postern_tests::sink::Sink;
use postern_wire::snapshot::{NextHop, Section, Snapshot, Way};

use crate::scene::{Scene, settings};

const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn i01_a_bad_recipient_is_refused_and_never_bounced() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<victim@open.test>", 250).unwrap();
    client.say("RCPT TO:<nobody@ours.test>", 550).unwrap();
    client.say("DATA", 554).unwrap();
    scene.survived(0).unwrap();
}

#[test]
fn i01_a_null_sender_gets_no_notification_and_any_other_gets_one_with_headers_only() {
    let scene = Scene::open().unwrap();
    scene.sink.answer("RCPT TO:<gone@open.test>", "550 5.1.1 gone");
    let mut client = scene.stranger().unwrap();
    let content = b"Subject: original\r\n\r\nthe body of the original\r\n";
    for sender in ["", "author@open.test"] {
        assert_eq!(client.mail(sender, &["gone@open.test"], content).unwrap().code, 250);
    }
    let mails = scene.survived(1).unwrap();
    let text = String::from_utf8_lossy(&mails[0].content).into_owned();
    assert!(mails[0].sender.starts_with("<>") && mails[0].recipients == ["<author@open.test>"], "{mails:?}");
    assert!(text.contains("Status: 5.1.1") && text.contains("Subject: original"), "{text}");
    assert!(!text.contains("the body of the original"), "{text}");
}

/// Settings by which `loop.test` goes to the given relay, and all else as in [`settings`].
fn towards(other: std::net::SocketAddr, sink: &Sink) -> Snapshot {
    let mut snapshot = settings(sink);
    let mut around = relaying("loop.test", other);
    let mut host = around.hosts.remove(0);
    host.name = "other".to_owned();
    let mut domain = around.domains.remove(0).spec;
    if let Way::Open(inbound) = &mut domain.inbound {
        inbound.deliver_to = vec![NextHop { preference: 10, host: "other".to_owned() }];
    }
    snapshot.domains.insert(0, Section::new("loop", "uid-of-loop", 1, domain));
    snapshot.hosts.push(host);
    snapshot
}

#[test]
fn i05_two_relays_that_name_each_other_stop_and_tell_the_sender_once() {
    let sink = Sink::start().unwrap();
    let (mut one, mut two) = (Relay::prepare().unwrap(), Relay::prepare().unwrap());
    one.volume.publish(&towards(two.smtp, &sink), &[]).unwrap();
    two.volume.publish(&towards(one.smtp, &sink), &[]).unwrap();
    one.start_again().unwrap();
    two.start_again().unwrap();
    let mut client = one.client().unwrap();
    let reply = client.mail("author@open.test", &["a@loop.test"], b"Subject: around\r\n\r\nand around\r\n").unwrap();
    assert_eq!(reply.code, 250);
    sink.wait_for_mails(1, PATIENCE).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let mails = sink.mails();
    assert_eq!(mails.len(), 1, "one notification, and no more: {mails:?}");
    let text = String::from_utf8_lossy(&mails[0].content).into_owned();
    assert!(text.contains("5.4.6") && mails[0].recipients == ["<author@open.test>"], "{text}");
    let hops = text.matches("\nReceived: from").count();
    assert!((20..=52).contains(&hops), "{hops} hops:\n{text}");
    assert!(one.is_alive() && two.is_alive());
}

#[test]
fn i05_a_relay_that_names_itself_stops_and_tells_the_sender_once() {
    let sink = Sink::start().unwrap();
    let mut relay = Relay::prepare().unwrap();
    relay.volume.publish(&towards(relay.smtp, &sink), &[]).unwrap();
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    let reply = client.mail("author@open.test", &["a@loop.test"], b"Subject: around\r\n\r\nand around\r\n").unwrap();
    assert_eq!(reply.code, 250);
    let mails = sink.wait_for_mails(1, PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&mails[0].content).into_owned();
    assert!(text.contains("5.4.6") && mails[0].recipients == ["<author@open.test>"], "{text}");
    // The innocent have their way all the same, and there is no second notification.
    assert_eq!(client.mail("author@open.test", &["b@open.test"], b"Subject: straight\r\n\r\nx\r\n").unwrap().code, 250);
    let mails = sink.wait_for_mails(2, PATIENCE).unwrap();
    assert_eq!((mails.len(), mails[1].recipients.as_slice()), (2, &["<b@open.test>".to_owned()][..]));
    assert!(relay.is_alive());
}
