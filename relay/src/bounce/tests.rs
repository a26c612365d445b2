use super::*;

fn remote(server: &str, reply: &str, status: &str) -> Remote {
    Remote { server: server.into(), reply: reply.into(), status: status.into() }
}

fn envelope(sender: ReversePath) -> Envelope {
    Envelope {
        arrived: "2026-11-22T16:00:00Z".parse().unwrap(),
        sender,
        recipients: vec!["bob@contoso.com".parse().unwrap(), "\"a b\"@contoso.com".parse().unwrap()],
        origin: Origin::Outsider { client: "192.0.2.1".parse().unwrap() },
        eight_bit: false,
        binary: false,
        utf8: false,
        dsn: None,
    }
}

fn alice() -> ReversePath {
    ReversePath::Mailbox("alice@example.com".parse().unwrap())
}

fn composed(envelope: &Envelope, remotes: &[Remote], original: &[u8]) -> Option<String> {
    let about = QueueId::new(1_795_363_200_000, 7);
    let failures: Vec<_> =
        envelope.recipients.iter().zip(remotes).map(|(recipient, remote)| Failure { recipient, remote }).collect();
    let notice = Notice {
        hostname: "relay.example.org",
        id: id(about, &[0], 0),
        about,
        envelope,
        failures: &failures,
        original,
        now: "2026-11-22T16:05:00Z".parse().unwrap(),
    };
    compose(&notice).map(|message| String::from_utf8_lossy(&message).into_owned())
}

/// The golden file is what a person receives: read the diff before it is renewed (`POSTERN_BLESS=1`).
#[test]
fn reads_as_it_should() {
    let remotes = [
        remote("mail.contoso.com[10.20.0.11]:25", "550 5.1.1 no such user here", "5.1.1"),
        remote(
            "",
            "gave up after 120 h; the last try: mail.contoso.com[10.20.0.11]:25 cannot be reached: connection refused",
            EXPIRED,
        ),
    ];
    let original =
        b"Subject: hello\r\nFrom: Alice <alice@example.com>\r\nMessage-ID: <1@example.com>\r\n\r\nsecret body\r\n";
    let message = composed(&envelope(alice()), &remotes, original).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bounce/notification.eml");
    let plain = message.replace("\r\n", "\n");
    if std::env::var_os("POSTERN_BLESS").is_some() {
        std::fs::write(path, &plain).unwrap();
    }
    assert_eq!(plain, std::fs::read_to_string(path).unwrap());
    assert!(message.lines().all(|line| line.len() <= 998) && !message.replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn nobody_is_told_about_a_notification_or_a_null_sender() {
    let remotes = [remote("", "x", "5.0.0")];
    assert_eq!(composed(&envelope(ReversePath::Null), &remotes, b""), None);
    let about = QueueId::new(1, 1);
    let notification = Envelope { origin: Origin::Notification { about, domain: None }, ..envelope(alice()) };
    assert_eq!(composed(&notification, &remotes, b""), None);
}

#[test]
fn returns_the_header_and_nothing_else() {
    let remotes = [remote("", "x", "5.0.0")];
    let message = composed(&envelope(alice()), &remotes, b"\r\nbody only\r\n").unwrap();
    assert!(!message.contains("body only"));
    let long = "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(2000);
    let message = composed(&envelope(alice()), &remotes, format!("{long}\r\nbody").as_bytes()).unwrap();
    assert!(message.len() < HEADER_MAX + 4000 && message.len() > HEADER_MAX - 1000);
    assert!(message.contains("aaa\r\n\r\n--"), "cut at the end of a line");
    assert_eq!(header("x".repeat(HEADER_MAX + 1).as_bytes()), b"");
}

#[test]
fn says_when_the_header_has_octets_above_127() {
    let remotes = [remote("", "x", "5.0.0")];
    let seven = composed(&envelope(alice()), &remotes, b"Subject: a\r\n\r\n").unwrap();
    let eight = composed(&envelope(alice()), &remotes, "Subject: \u{e4}\r\n\r\n".as_bytes()).unwrap();
    assert!(seven.contains("Content-Transfer-Encoding: 7bit") && eight.contains("Content-Transfer-Encoding: 8bit"));
}

#[test]
fn only_a_servers_own_words_are_an_smtp_diagnostic() {
    let remotes =
        [remote("mx[192.0.2.1]:25", "552 5.3.4 too big", "5.3.4"), remote("mx[192.0.2.1]:25", "takes less", "5.3.4")];
    let message = composed(&envelope(alice()), &remotes, b"").unwrap();
    assert!(message.contains("\r\nDiagnostic-Code: smtp; 552 5.3.4 too big\r\n"));
    assert!(message.contains("\r\nDiagnostic-Code: x-postern; takes less\r\n"));
    assert!(message.contains("\r\nRemote-MTA: dns; mx\r\n"));
}

#[test]
fn the_id_depends_on_the_original_and_the_recipients_only() {
    let (one, two) = (QueueId::new(5, 1), QueueId::new(5, 2));
    assert_eq!(id(one, &[0, 1], 0), id(one, &[0, 1], 0));
    let ids = [id(one, &[0, 1], 0), id(one, &[0], 0), id(one, &[1], 0), id(two, &[0], 0), id(one, &[0], 1)];
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id));
    }
    assert_eq!(ids[0].unix_millis(), 5);
}

#[test]
fn the_route_of_a_notification_is_that_of_the_domain_whose_mail_failed() {
    let inbound = envelope(alice());
    assert_eq!(domain(&inbound, &inbound.recipients[0]), "contoso.com");
    let origin =
        Origin::Source { client: "192.0.2.1".parse().unwrap(), host: "crm".into(), domain: "contoso.com".into() };
    let outbound = Envelope { origin, ..envelope(alice()) };
    assert_eq!(domain(&outbound, &"x@elsewhere.test".parse().unwrap()), "contoso.com");
}

#[test]
fn every_kind_of_failure_has_advice() {
    let general = advice("5.0.0");
    for status in ["5.1.1", "5.1.8", "5.2.2", "5.3.4", "5.4.6", "4.4.7", "5.7.1", "5.7.26"] {
        assert_ne!(advice(status), general, "{status}");
    }
    for status in ["", "x", "5", "5.9.9", "4.4.1"] {
        assert_eq!(advice(status), general, "{status}");
    }
}
