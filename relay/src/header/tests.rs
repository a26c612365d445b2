use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn from(value: &str) -> Vec<String> {
    scan(format!("Subject: a\r\nFrom: {value}\r\nTo: b\r\n\r\nFrom: body@evil.test\r\n").as_bytes()).from_domains
}

const NONE: &[&str] = &[];

#[test]
fn counts_received_fields_of_the_header_only() {
    let message =
        b"Received: a\r\n b\r\nreceived : c\r\nX-Received: d\r\nReceived-SPF: e\r\nRECEIVED:\r\n\r\nReceived: body\r\n";
    assert_eq!(scan(message).hops, 3);
    assert_eq!(scan(b"").hops, 0);
    assert_eq!(scan(b"\r\nReceived: body").hops, 0);
}

#[test]
fn finds_the_domain_of_from() {
    assert_eq!(from("a@Ours.Test"), ["ours.test"]);
    assert_eq!(from("Mail System <MAILER-DAEMON@ours.test>"), ["ours.test"]);
    assert_eq!(from("\"evil, <x@evil.test>\" <a@ours.test>"), ["ours.test"]);
    assert_eq!(from("=?utf-8?q?a?= (a (nested\\) comment) <x@evil.test>)\r\n <a@ours.test>"), ["ours.test"]);
    assert_eq!(from("a@ours.test, <b@ours.test>,\r\n\tc@other.test"), ["ours.test", "other.test"]);
    assert_eq!(from("<\"a>b\"@ours.test>"), ["ours.test"]);
    assert_eq!(from("Jürgen <a@ours.test>"), ["ours.test"]);
    assert_eq!(from("a@[192.0.2.1]"), ["[192.0.2.1]"]);
    assert_eq!(from("Jürgen <jürgen@bücher.example>"), ["xn--bcher-kva.example"]);
    assert_eq!(from("a@раураl.test"), ["xn--l-7sba6dbr.test"], "not paypal.test");
}

#[test]
fn what_can_be_read_in_two_ways_names_no_domain() {
    for value in [
        "",
        " ",
        "a",
        "a@",
        "undisclosed-recipients:;",
        "group: a@ours.test;",
        "a@ours.test,",
        ",a@ours.test",
        "<a@ours.test> b",
        "<a@ours.test> <b@evil.test>",
        "<a@ours.test",
        "a@ours.test>",
        "(a@ours.test",
        "\"a@ours.test",
        "<<a@ours.test>>",
        "<@evil.test:a@ours.test>",
        "a@evil.test@ours.test",
        "<any@evil.test(>@ours.test)",
        "a@ours.test b@evil.test",
        "a\\@ours.test",
        "a@ours.test\0",
        "a@ⓔxample.test",
        "a@xn--",
        "[a@ours.test",
        "=?utf-8?q?a=40ours.test?=",
    ] {
        assert_eq!(from(value), NONE, "{value:?}");
    }
    assert_eq!(scan(b"From: a@ours.test\r\nFrom: a@ours.test\r\n\r\n").from_domains, NONE);
    assert_eq!(scan(b"From: a@ours.test\r\nfRoM : b@evil.test\r\n\r\n").from_domains, NONE);
    assert_eq!(scan(b"From: \xff <a@ours.test>\r\n\r\n").from_domains, NONE);
    assert_eq!(from(&vec!["a@ours.test"; FROM_MAX].join(",")), ["ours.test"]);
    assert_eq!(from(&vec!["a@ours.test"; FROM_MAX + 1].join(",")), NONE);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn no_header_is_slow() {
    let huge = |piece: &str| piece.repeat((1 << 20) / piece.len());
    for value in [
        huge("("),
        huge("a@b.test,"),
        huge("<"),
        huge("\""),
        huge("a:"),
        huge("\r\n "),
        huge("From: a@b.test\r\n"),
        huge("()"),
    ] {
        let begun = Instant::now();
        from(&value);
        // Linear work takes milliseconds, quadratic work minutes: the bound tells them apart on any busy machine.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", &value[..10]);
    }
}

fn trace(hello: &str, recipient: Option<&Mailbox>) -> String {
    secured(hello, recipient, None)
}

fn secured(hello: &str, recipient: Option<&Mailbox>, tls: Option<&Protection>) -> String {
    let (client, by, id) = ("2001:db8::1".parse().unwrap(), "mx.test", QueueId::new(1_790_000_000_000, 7));
    let now = "2026-11-02T03:04:05.678Z".parse().unwrap();
    let protocol = Protocol::Esmtp;
    String::from_utf8(received(&Trace { hello, client, by, protocol, tls, id, recipient, now })).unwrap()
}

#[test]
fn names_what_was_spoken_as_the_registry_does() {
    let protection = Protection { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384".to_owned() };
    let tls = Some(&protection);
    for (protocol, tls, with) in [
        (Protocol::Smtp, None, "SMTP"),
        (Protocol::Esmtp, None, "ESMTP"),
        (Protocol::Esmtp, tls, "ESMTPS"),
        (Protocol::Utf8Smtp, None, "UTF8SMTP"),
        (Protocol::Utf8Smtp, tls, "UTF8SMTPS"),
    ] {
        let (client, id, now) = ("192.0.2.1".parse().unwrap(), QueueId::new(0, 7), Timestamp::UNIX_EPOCH);
        let trace = Trace { hello: "a", client, by: "mx.test", protocol, tls, id, recipient: None, now };
        let field = String::from_utf8(received(&trace)).unwrap();
        assert!(field.contains(&format!("\r\n\tby mx.test with {with} id ")), "{field}");
        let using = "\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n";
        assert_eq!(field.contains(using), tls.is_some(), "{field}");
    }
}

#[test]
fn an_address_outside_ascii_stays_out_of_the_header() {
    assert!(!trace("a", Some(&"\u{fc}@ours.test".parse().unwrap())).contains("for"));
    assert!(trace("a", Some(&"a@\u{fc}rs.test".parse().unwrap())).contains("for <a@xn--rs-wka.test>"));
}

#[test]
fn writes_where_a_message_came_from() {
    let recipient = "a@ours.test".parse().unwrap();
    assert_eq!(
        trace("client.test", Some(&recipient)),
        "Received: from client.test ([IPv6:2001:db8::1])\r\n\tby mx.test with ESMTP id 1M2YBQMY000000007\r\n\tfor <a@ours.test>;\r\n\tMon, 02 Nov 2026 03:04:05 +0000\r\n"
            .replace("1M2YBQMY000000007", &QueueId::new(1_790_000_000_000, 7).to_string())
    );
    assert!(!trace("a", None).contains("for"));
}

#[test]
fn tells_how_the_connection_was_protected() {
    for (version, cipher, bits) in [
        ("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256),
        ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", 256),
        ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 128),
    ] {
        let field = secured("a", None, Some(&Protection { version, cipher: cipher.to_owned() }));
        let said = format!(
            "\r\n\t(using {version} with cipher {cipher} ({bits}/{bits} bits))\r\n\tby mx.test with ESMTPS id "
        );
        assert!(field.contains(&said), "{field}");
    }
}

#[test]
fn content_never_continues_our_field() {
    assert_eq!(separator(b" evil\r\nSubject: a\r\n"), b"\r\n");
    assert_eq!(separator(b"\tevil"), b"\r\n");
    assert_eq!(separator(b"Subject: a\r\n"), b"");
    assert_eq!(separator(b""), b"");
}

#[test]
fn received_never_holds_a_raw_control_character() {
    let field = trace("a\r\nBcc: victim\0\u{7f}\u{85}(x)", None);
    assert!(field.starts_with("Received: from a??Bcc:?victim????x? ("), "{field:?}");
    for line in field.split_terminator("\r\n") {
        assert!(
            line.len() <= LINE_MAX && line.trim_start_matches('\t').bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line:?}"
        );
    }
    assert!(trace(&"a".repeat(5000), None).lines().all(|line| line.len() <= LINE_MAX));
}

proptest! {
    #[test]
    fn never_panics(octets in "(From ?:|Received:|[a@<>,:;()\"\\\\ \r\n\t]){0,40}") {
        scan(octets.as_bytes());
    }
}
