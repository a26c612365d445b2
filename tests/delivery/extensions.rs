//! What a message needs of the next hop, and what happens where that is not offered: CHUNKING and BINARYMIME (RFC 3030),
//! SMTPUTF8 (RFC 6531), DSN (RFC 3461).

use postern_relay::envelope::{Dsn, Notify, OriginalRecipient, RecipientDsn, Return};
use postern_relay::metrics::Outcome;
use postern_tests::sink::{Mail, Sink};

use crate::hop::Hop;
use crate::post::{Letter, Post, SOON, Settings};

fn offering(extensions: &str) -> String {
    let lines: String = extensions.split(' ').map(|extension| format!("S 250-{extension}\n")).collect();
    format!("S 220 hop.test\nC EHLO\nS 250-hop.test\n{lines}S 250 PIPELINING\n")
}

/// Notifications about what `hop` does not take come to the sink.
fn with_returns(hop: &Hop) -> (Post, Sink) {
    let returns = Sink::start().unwrap();
    (Post::start(Settings::to(&[hop.address]).host("out", &[returns.address()]).bounces("out")), returns)
}

fn returned(returns: &Sink) -> String {
    let mails = returns.wait_for_mails(1, SOON).unwrap();
    String::from_utf8_lossy(&mails[0].content).into_owned()
}

const BINARY: &[u8] = b"Subject: x\r\n\r\n\0\n.\n\r.\r\r\n.\r\n\r\n.\r\n\xff no end of line";

#[test]
fn binary_content_goes_octet_by_octet_in_one_chunk() {
    let script = format!(
        "{}C MAIL FROM:<alice@sender.test> BODY=BINARYMIME\nC RCPT\nS 250 ok\nS 250 ok\nK\nS 250 taken\nC QUIT",
        offering("CHUNKING BINARYMIME")
    );
    let hop = Hop::start(&[&script]);
    let post = Post::start(Settings::to(&[hop.address]));
    post.post(&Letter { content: BINARY.to_vec(), binary: true, ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert_eq!(post.count(Outcome::Delivered), 1);
    assert_eq!(hop.all("BDAT"), [format!("BDAT {} LAST", BINARY.len())]);
    assert_eq!(hop.all("chunk: "), [format!("chunk: {}", String::from_utf8_lossy(BINARY))]);
}

#[test]
fn a_large_binary_message_arrives_whole() {
    let script = format!("{}C MAIL\nC RCPT\nS 250 ok\nS 250 ok\nK\nS 250 taken", offering("CHUNKING BINARYMIME"));
    let hop = Hop::start(&[&script]);
    let post = Post::start(Settings::to(&[hop.address]));
    let body = (0..3_000_000u32).map(|place| b'a' + u8::try_from(place % 23).unwrap());
    let content: Vec<u8> = b"Subject: x\r\n\r\n".iter().copied().chain(body).collect();
    post.post(&Letter { content: content.clone(), binary: true, ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert!(hop.all("chunk: ")[0].as_bytes()["chunk: ".len()..] == content, "other octets");
}

#[test]
fn binary_content_is_returned_where_it_cannot_go_and_never_converted() {
    for offered in ["8BITMIME", "CHUNKING", "BINARYMIME"] {
        let hop = Hop::start(&[&format!("{}SERVE", offering(offered))]);
        let (post, returns) = with_returns(&hop);
        post.post(&Letter { content: BINARY.to_vec(), binary: true, ..Letter::to(&["bob@example.test"]) });
        let text = returned(&returns);
        assert!(text.contains("\r\nStatus: 5.6.3\r\n") && text.contains("this message is binary"), "{text}");
        assert!(hop.all("MAIL").is_empty());
    }
}

#[test]
fn a_refused_chunk_defers_or_returns_as_a_refused_final_dot_does() {
    let begin = format!("{}C MAIL\nC RCPT\nS 250 ok\nS 250 ok\n", offering("CHUNKING BINARYMIME"));
    let hop = Hop::start(&[&format!("{begin}K\nS 451 4.3.0 later"), &format!("{begin}K\nS 554 5.6.0 never")]);
    let (post, returns) = with_returns(&hop);
    let id = post.post(&Letter { content: BINARY.to_vec(), binary: true, ..Letter::to(&["bob@example.test"]) });
    assert_eq!(post.wait_for_attempts(id, 1).reply, "451 4.3.0 later");
    assert!(returned(&returns).contains("Diagnostic-Code: smtp; 554 5.6.0 never"));
}

#[test]
fn lines_that_begin_with_a_dot_go_as_a_chunk_where_one_is_offered() {
    let script = format!("{}C MAIL\nC RCPT\nS 250 ok\nS 250 ok\nK\nS 250 taken", offering("CHUNKING"));
    let hop = Hop::start(&[&script]);
    let post = Post::start(Settings::to(&[hop.address]));
    let content = b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n".to_vec();
    post.post(&Letter { content: content.clone(), ..Letter::to(&["bob@example.test"]) });
    post.wait_until_empty();
    assert_eq!(hop.all("chunk: "), [format!("chunk: {}", String::from_utf8(content).unwrap())]);
}

#[test]
fn a_message_in_utf8_is_returned_where_smtputf8_is_not_offered() {
    let hop = Hop::start(&[&format!("{}SERVE", offering("8BITMIME"))]);
    let (post, returns) = with_returns(&hop);
    post.post(&Letter {
        content: "Subject: gr\u{fc}n\r\n\r\nx\r\n".into(),
        utf8: true,
        ..Letter::to(&["bob@example.test"])
    });
    let text = returned(&returns);
    assert!(text.contains("\r\nStatus: 5.6.7\r\n") && text.contains("message/global-headers"), "{text}");
    assert!(text.contains("Subject: gr\u{fc}n\r\n") && hop.all("MAIL").is_empty(), "{text}");
}

#[test]
fn only_the_recipient_that_needs_smtputf8_is_returned_and_the_others_go() {
    let hop = Hop::start(&[&format!("{}SERVE", offering("8BITMIME"))]);
    let (post, returns) = with_returns(&hop);
    post.post(&Letter::to(&["bob@example.test", "j\u{fc}rgen@example.test", "eve@example.test"]));
    let text = returned(&returns);
    assert_eq!(hop.all("RCPT"), ["RCPT TO:<bob@example.test>", "RCPT TO:<eve@example.test>"]);
    assert_eq!(hop.all("MAIL"), ["MAIL FROM:<alice@sender.test>"]);
    assert!(text.contains("\r\nFinal-Recipient: utf-8; j\u{fc}rgen@example.test\r\n"), "{text}");
    assert!(text.contains("Content-Type: message/global-delivery-status\r\n"), "{text}");
    assert_eq!(text.matches("Status: 5.6.7").count(), 1, "{text}");
    post.wait_until_empty();
    // The third one delivered is the notification.
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Failed)), (3, 1));
}

#[test]
fn smtputf8_is_said_when_anything_needs_it_and_only_then() {
    let hop = Hop::start(&[&format!("{}SERVE", offering("SMTPUTF8 8BITMIME"))]);
    let post = Post::start(Settings::to(&[hop.address]));
    for (letter, expected) in [
        (Letter::to(&["bob@example.test"]), "MAIL FROM:<alice@sender.test>"),
        (Letter::to(&["bob@example.test", "j\u{fc}@example.test"]), "MAIL FROM:<alice@sender.test> SMTPUTF8"),
        (Letter { utf8: true, ..Letter::to(&["bob@example.test"]) }, "MAIL FROM:<alice@sender.test> SMTPUTF8"),
        (
            Letter { sender: "b\u{fc}cher@sender.test", ..Letter::to(&["bob@example.test"]) },
            "MAIL FROM:<b\u{fc}cher@sender.test> SMTPUTF8",
        ),
        (
            Letter { sender: "a@xn--bcher-kva.test", ..Letter::to(&["bob@example.test"]) },
            "MAIL FROM:<a@xn--bcher-kva.test>",
        ),
    ] {
        post.post(&letter);
        post.wait_until_empty();
        assert_eq!(hop.all("MAIL").last().unwrap(), expected);
    }
}

fn asking(notify: Notify, ret: Option<Return>) -> Option<Dsn> {
    let original = Some(OriginalRecipient { kind: "rfc822".into(), address: "first+one@example.test".into() });
    let recipients = [(0, RecipientDsn { notify: Some(notify), original })].into();
    Some(Dsn { envid: Some("QQ+314159".into()), ret, recipients })
}

const SUCCESS: Notify = Notify { success: true, failure: true, delay: false };
const NEVER: Notify = Notify { success: false, failure: false, delay: false };

#[test]
fn wishes_go_on_where_dsn_is_offered_and_nothing_is_told_here() {
    let hop = Hop::start(&[&format!("{}SERVE", offering("DSN"))]);
    let (post, returns) = with_returns(&hop);
    let dsn = asking(SUCCESS, Some(Return::Full));
    post.post(&Letter { dsn, ..Letter::to(&["bob@example.test", "eve@example.test"]) });
    post.wait_until_empty();
    assert_eq!(hop.all("MAIL"), ["MAIL FROM:<alice@sender.test> RET=FULL ENVID=QQ+2B314159"]);
    assert_eq!(
        hop.all("RCPT"),
        [
            "RCPT TO:<bob@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2Bone@example.test",
            "RCPT TO:<eve@example.test>"
        ]
    );
    assert!(returns.mails().is_empty());
}

fn told(mails: &[Mail]) -> Vec<String> {
    mails.iter().map(|mail| String::from_utf8_lossy(&mail.content).into_owned()).collect()
}

#[test]
fn success_is_told_here_where_dsn_is_not_offered() {
    let hop = Hop::start(&[&format!("{}SERVE", offering("8BITMIME"))]);
    let (post, returns) = with_returns(&hop);
    let dsn = asking(SUCCESS, Some(Return::Full));
    post.post(&Letter { dsn, ..Letter::to(&["bob@example.test", "eve@example.test"]) });
    let text = returned(&returns);
    post.wait_until_empty();
    assert_eq!(hop.all("RCPT"), ["RCPT TO:<bob@example.test>", "RCPT TO:<eve@example.test>"]);
    for line in [
        "Subject: Your message was passed on",
        "Original-Envelope-Id: QQ+314159",
        "Original-Recipient: rfc822; first+one@example.test",
        "Final-Recipient: rfc822; bob@example.test",
        "Action: relayed",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("eve") && !text.contains("The body."), "{text}");
    assert_eq!((returns.mails().len(), hop.all("content:").len()), (1, 1));
}

#[test]
fn a_failure_is_told_to_those_who_want_to_hear_of_it() {
    let mailbox = Sink::start().unwrap();
    mailbox.answer("RCPT", "550 5.1.1 nobody");
    let returns = Sink::start().unwrap();
    let post = Post::start(Settings::to(&[mailbox.address()]).host("out", &[returns.address()]).bounces("out"));
    for notify in [NEVER, Notify { success: true, ..NEVER }] {
        post.post(&Letter { dsn: asking(notify, None), ..Letter::to(&["bob@example.test"]) });
        post.wait_until_empty();
    }
    assert_eq!((post.count(Outcome::Failed), returns.mails().len()), (2, 0));
    post.post(&Letter { dsn: asking(SUCCESS, Some(Return::Full)), ..Letter::to(&["bob@example.test"]) });
    post.post(&Letter { dsn: asking(SUCCESS, Some(Return::Headers)), ..Letter::to(&["bob@example.test"]) });
    let texts = told(&returns.wait_for_mails(2, SOON).unwrap());
    assert_eq!(texts.iter().filter(|text| text.contains("The body.")).count(), 1, "{texts:?}");
    assert!(texts.iter().all(|text| text.contains("Original-Envelope-Id: QQ+314159\r\n")), "{texts:?}");
}
