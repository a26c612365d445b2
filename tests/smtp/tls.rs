//! TLS as a mail server meets it: STARTTLS and TLS from the first octet, certificates by name, and files that change.

use anyhow::Result;
use postern_tests::clock::wait_until;
use postern_tests::relay::Relay;
use postern_tests::settings::relaying;
use postern_tests::smtp::Client;
use postern_wire::snapshot::{InboundTls, Section, Snapshot, Way};

use crate::secured::{SOON, Secured};

const CONTENT: &[u8] = b"Subject: a\r\n\r\nb\r\n";

fn send(client: &mut Client) -> Result<()> {
    assert_eq!(client.mail("a@stranger.test", &["bob@ours.test"], CONTENT)?.code, 250);
    Ok(())
}

/// `ours.test` takes mail over TLS only.
fn required(snapshot: &mut Snapshot) {
    let mut domain = snapshot.domains[0].spec.clone();
    if let Way::Open(inbound) = &mut domain.inbound {
        inbound.tls = InboundTls::Required;
    }
    snapshot.domains[0] = Section::new("ours", "uid-of-ours", 2, domain);
}

#[test]
fn a_message_over_starttls_and_over_implicit_tls_says_so_in_its_received_field_and_the_log() {
    let secured = Secured::open(&[]).unwrap();
    let mut plain = secured.scene.stranger().unwrap();
    assert!(plain.say("EHLO client.test", 250).unwrap().lines.contains(&"STARTTLS".to_owned()));
    send(&mut plain).unwrap();
    let mut client = secured.starttls().unwrap();
    assert!(!client.say("EHLO client.test", 250).unwrap().lines.contains(&"STARTTLS".to_owned()));
    send(&mut client).unwrap();
    let mut client = secured.implicit(None).unwrap();
    send(&mut client).unwrap();
    let (_, metrics) = secured.scene.relay.get("/metrics").unwrap();
    assert!(metrics.contains("postern_relay_smtp_tls_handshakes_total{result=\"ok\"} 2"), "{metrics}");
    let log = secured.scene.relay.log();
    assert_eq!(log.matches("\"tls\":\"TLSv1.3 TLS_").count(), 2, "{log}");
    let mails = secured.scene.survived(3).unwrap();
    let received: Vec<_> = mails.iter().map(|mail| String::from_utf8_lossy(&mail.content).into_owned()).collect();
    assert_eq!(received.iter().filter(|text| text.contains("by relay.test with ESMTP id")).count(), 1);
    let tls = "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\tby relay.test with ESMTPS id";
    assert_eq!(received.iter().filter(|text| text.contains(tls)).count(), 2, "{received:?}");
}

#[test]
fn the_certificate_follows_the_name_and_the_files_and_sessions_go_on() {
    let secured = Secured::open(&[]).unwrap();
    let mut session = secured.starttls().unwrap();
    let first = secured.shown("mx.test").unwrap();
    secured.certificates.mount("other", 1, &secured.authority.certify(&["other.test"]).unwrap()).unwrap();
    wait_until("another name is served", SOON, || secured.shown("other.test").is_ok()).unwrap();
    assert_eq!(secured.shown("mx.test").unwrap(), first);
    let renewed = secured.authority.certify(&["other.test", "mx.test"]).unwrap();
    secured.certificates.mount("other", 2, &renewed).unwrap();
    secured.certificates.remove("default").unwrap();
    let shown = renewed.chain().unwrap()[0].to_vec();
    wait_until("the new one is shown", SOON, || secured.shown("mx.test").is_ok_and(|now| now == shown)).unwrap();
    send(&mut session).unwrap();
    secured.scene.survived(1).unwrap();
}

#[test]
fn a_broken_pair_keeps_the_last_good_one_and_is_reported() {
    let secured = Secured::open(&[]).unwrap();
    let first = secured.shown("mx.test").unwrap();
    std::fs::write(secured.certificates.path().join("default/tls.key"), "nonsense").unwrap();
    let reported = || secured.scene.relay.log().contains("default/tls.key holds no private key in PEM form");
    wait_until("the file is named in the log", SOON, reported).unwrap();
    let (_, metrics) = secured.scene.relay.get("/metrics").unwrap();
    assert!(metrics.contains("postern_relay_tls_certificate_faults 1"), "{metrics}");
    assert_eq!(secured.shown("mx.test").unwrap(), first);
    secured.scene.survived(0).unwrap();
}

#[test]
fn without_a_certificate_there_is_no_starttls_and_no_listener_that_begins_with_it() {
    let mut relay = Relay::prepare().unwrap();
    let folder = tempfile::tempdir().unwrap();
    relay.volume.publish(&relaying("open.test", "127.0.0.1:9".parse().unwrap()), &[]).unwrap();
    relay.option("--tls", &folder.path().display().to_string());
    relay.start_again().unwrap();
    let mut client = relay.client().unwrap();
    assert!(!client.say("EHLO client.test", 250).unwrap().lines.contains(&"STARTTLS".to_owned()));
    client.say("STARTTLS", 502).unwrap();
    relay.stop().unwrap();
    relay.option("--smtps", "127.0.0.1:0");
    let refused = relay.start_again().unwrap_err().to_string();
    assert!(refused.contains("--smtps needs a certificate: there is none in --tls"), "{refused}");
}

#[test]
fn a_domain_that_requires_tls_takes_nothing_in_plain_text() {
    let secured = Secured::open(&[]).unwrap();
    secured.change(&[], required).unwrap();
    let mut plain = secured.scene.stranger().unwrap();
    plain.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    let reply = plain.say("RCPT TO:<bob@ours.test>", 530).unwrap();
    assert_eq!(reply.text(), "5.7.0 Must issue a STARTTLS command first");
    plain.say("RCPT TO:<anyone@open.test>", 250).unwrap();
    assert!(secured.scene.relay.log().contains("RelayDomain/ours spec.inboundTLS"));
    send(&mut secured.starttls().unwrap()).unwrap();
    // Without a certificate the sender can do no better: nothing is lost.
    secured.certificates.remove("default").unwrap();
    let offered = |lines: &[String]| lines.contains(&"STARTTLS".to_owned());
    wait_until("STARTTLS is not offered", SOON, || !offered(&plain.say("EHLO client.test", 250).unwrap().lines))
        .unwrap();
    plain.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    let reply = plain.say("RCPT TO:<bob@ours.test>", 451).unwrap();
    assert!(reply.text().starts_with("4.3.5 <bob@ours.test>: this domain needs TLS"), "{reply}");
    let (_, status) = secured.scene.relay.get("/status").unwrap();
    assert!(status.contains("inboundTLS is Required, and this relay has no certificate"), "{status}");
    // The bystander speaks plain text, and is innocent.
    secured.certificates.write("default", &secured.authority.certify(&["mx.test"]).unwrap()).unwrap();
    secured.change(&[], |_| {}).unwrap();
    secured.scene.survived(1).unwrap();
}
