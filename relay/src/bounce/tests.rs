use super::wording::advice;
use super::*;
use crate::envelope::Dsn;

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

fn composed_as(kind: Kind, envelope: &Envelope, remotes: &[Remote], original: &[u8]) -> Option<String> {
    let about = QueueId::new(1_795_363_200_000, 7);
    let places = 0u32..;
    let recipients: Vec<_> = envelope
        .recipients
        .iter()
        .zip(remotes)
        .zip(places)
        .map(|((mailbox, remote), place)| Recipient {
            mailbox,
            remote,
            original: original_recipient(envelope, place),
            attempts: 1 + 11 * place,
        })
        .collect();
    let notice = Notice {
        kind,
        hostname: "relay.example.org",
        id: id(about, Kind::Failed, &[0], 0),
        about,
        envelope,
        recipients: &recipients,
        original,
        complete: true,
        now: "2026-11-22T16:05:00Z".parse().unwrap(),
    };
    let message = compose(&notice).map(|message| String::from_utf8_lossy(&message).into_owned());
    if let Some(message) = &message {
        assert!(message.lines().all(|line| line.len() <= 998) && !message.replace("\r\n", "").contains(['\r', '\n']));
    }
    message
}

fn composed(envelope: &Envelope, remotes: &[Remote], original: &[u8]) -> Option<String> {
    composed_as(Kind::Failed, envelope, remotes, original)
}

/// The golden files are what a person receives: read the diff before they are renewed (`POSTERN_BLESS=1`).
fn reads(name: &str, message: &str) {
    let path = format!("{}/src/bounce/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let plain = message.replace("\r\n", "\n");
    if std::env::var_os("POSTERN_BLESS").is_some() {
        std::fs::write(&path, &plain).unwrap();
    }
    assert_eq!(plain, std::fs::read_to_string(&path).unwrap());
}

const UNTIL: &str = "2026-11-27T16:00:00Z";

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
    reads("notification", &composed(&envelope(alice()), &remotes, original).unwrap());
    let waiting = [
        remote("mail.contoso.com[10.20.0.11]:25", "451 4.3.0 the mailbox is being moved", "4.3.0"),
        remote("mail.contoso.com[10.20.0.11]:25", "cannot be reached: connection refused", "4.4.1"),
    ];
    let kind = Kind::Delayed { until: UNTIL.parse().unwrap() };
    reads("delayed", &composed_as(kind, &envelope(alice()), &waiting, original).unwrap());
    let taken = [remote("mail.contoso.com[10.20.0.11]:25", "250 2.0.0 queued", "2.0.0")];
    let dsn = Dsn { envid: Some("QQ314159".into()), ..Dsn::default() };
    let asked = Envelope { dsn: Some(Box::new(dsn)), ..envelope(alice()) };
    reads("relayed", &composed_as(Kind::Relayed, &asked, &taken, original).unwrap());
}

#[test]
fn tells_what_the_sender_asked_to_be_told() {
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    let kinds = [Kind::Failed, Kind::Delayed { until: UNTIL.parse().unwrap() }, Kind::Relayed];
    for (notify, expected) in [
        (None, [true, true, false]),
        (notify(false, false, false), [false, false, false]),
        (notify(true, false, false), [false, false, true]),
        (notify(false, true, false), [true, false, false]),
        (notify(false, true, true), [true, true, false]),
    ] {
        let recipients = [(0, RecipientDsn { notify, original: None })].into();
        let asked = Envelope { dsn: Some(Box::new(Dsn { recipients, ..Dsn::default() })), ..envelope(alice()) };
        assert_eq!(kinds.map(|kind| is_wanted(&asked, 0, kind)), expected, "{notify:?}");
        assert_eq!(kinds.map(|kind| is_wanted(&asked, 1, kind)), [true, true, false]);
    }
}

#[test]
fn names_the_envelope_and_the_recipient_as_the_sender_did() {
    let original = |kind: &str, address: &str| {
        let original = OriginalRecipient { kind: kind.into(), address: address.into() };
        RecipientDsn { notify: None, original: Some(original) }
    };
    let recipients = [(0, original("rfc822", "list@contoso.com")), (1, original("x400", "a\r\nb"))].into();
    let dsn = Dsn { envid: Some("id 1+2".into()), ret: None, recipients };
    let asked = Envelope { dsn: Some(Box::new(dsn)), ..envelope(alice()) };
    let remotes = [remote("", "x", "5.0.0"), remote("", "y", "5.0.0")];
    let message = composed(&asked, &remotes, b"").unwrap();
    assert!(message.contains("\r\n\r\nOriginal-Envelope-Id: id 1+2\r\nReporting-MTA: dns;"), "{message}");
    assert!(
        message.contains("\r\n\r\nOriginal-Recipient: rfc822; list@contoso.com\r\nFinal-Recipient: rfc822; bob@"),
        "{message}"
    );
    assert!(message.contains("\r\nOriginal-Recipient: x400; a??b\r\n"), "{message}");
}

#[test]
fn returns_the_whole_message_only_when_asked_and_when_it_is_small() {
    let remotes = [remote("", "x", "5.0.0")];
    let (small, large) = (b"Subject: s\r\n\r\nthe body\r\n".to_vec(), b"x: y\r\n".repeat(RETURNED_MAX / 6 + 1));
    let asking = |ret| Envelope { dsn: Some(Box::new(Dsn { ret, ..Dsn::default() })), ..envelope(alice()) };
    for (envelope, kind, original, whole) in [
        (asking(Some(Return::Full)), Kind::Failed, &small, true),
        (asking(Some(Return::Full)), Kind::Failed, &large, false),
        (asking(Some(Return::Full)), Kind::Relayed, &small, false),
        (asking(Some(Return::Headers)), Kind::Failed, &small, false),
        (asking(None), Kind::Failed, &small, false),
        (Envelope { binary: true, ..asking(Some(Return::Full)) }, Kind::Failed, &small, false),
    ] {
        let message = composed_as(kind, &envelope, &remotes, original).unwrap();
        assert_eq!(message.contains("Content-Type: message/rfc822\r\n"), whole, "{message}");
        assert_eq!(message.contains("the body"), whole, "{message}");
        assert!(message.len() < RETURNED_MAX + 4000);
    }
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
    assert!(message.len() < RETURNED_MAX + 4000 && message.len() > RETURNED_MAX - 1000);
    assert!(message.contains("aaa\r\n\r\n--"), "cut at the end of a line");
    assert_eq!(header("x".repeat(RETURNED_MAX + 1).as_bytes()), b"");
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
    assert_eq!(id(one, Kind::Failed, &[0, 1], 0), id(one, Kind::Failed, &[0, 1], 0));
    let ids = [
        id(one, Kind::Failed, &[0, 1], 0),
        id(one, Kind::Failed, &[0], 0),
        id(one, Kind::Failed, &[1], 0),
        id(two, Kind::Failed, &[0], 0),
        id(one, Kind::Failed, &[0], 1),
        id(one, Kind::Relayed, &[0], 0),
    ];
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
