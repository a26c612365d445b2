use proptest::prelude::*;

use super::*;
use crate::envelope::{Notify, OriginalRecipient};

fn code(line: &str) -> u16 {
    match parse(line.as_bytes(), false) {
        Ok(command) => panic!("{line:?} was taken for {command:?}"),
        Err(malformed) => malformed.reply().code,
    }
}

fn sender(line: &str) -> Mail {
    match parse(line.as_bytes(), false) {
        Ok(Command::Mail(mail)) => mail,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn reads_every_command_in_any_case() {
    let name = |name: &str| name.parse::<HeloName>().unwrap();
    for (line, command) in [
        ("HELO a", Command::Helo(name("a"))),
        ("ehlo [192.0.2.1]", Command::Ehlo(name("[192.0.2.1]"))),
        ("EHLO  MY_PC ", Command::Ehlo(name("MY_PC"))),
        ("EHLO 2001:db8::1", Command::Ehlo(name("2001:db8::1"))),
        ("Data", Command::Data),
        ("RSET ", Command::Rset),
        ("NOOP anything at all", Command::Noop),
        ("VRFY a@b.test", Command::Vrfy),
        ("help", Command::Help),
        ("qUIT", Command::Quit),
    ] {
        assert_eq!(parse(line.as_bytes(), false), Ok(command), "{line}");
    }
}

#[test]
fn reads_mail_with_its_parameters() {
    let mail = sender("MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME");
    assert_eq!((mail.sender.to_string(), mail.size, mail.body), ("<a@b.test>".into(), Some(1000), Body::EightBit));
    let mail = sender("mail from: <>  body=7bit ");
    assert_eq!((mail.sender, mail.size, mail.body), (ReversePath::Null, None, Body::SevenBit));
    assert_eq!(sender("MAIL FROM:<a@b.test> SIZE=99999999999999999999").size, Some(u64::MAX));
    assert_eq!(sender("MAIL FROM:<\"a> b\\\">\"@b.test>").sender.to_string(), "<\"a> b\\\">\"@b.test>");
}

fn rcpt(line: &str, utf8: bool) -> Rcpt {
    match parse(line.as_bytes(), utf8) {
        Ok(Command::Rcpt(rcpt)) => rcpt,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn reads_recipients() {
    assert_eq!(rcpt("RCPT TO:<PostMaster>", false).to, ForwardPath::Postmaster);
    match rcpt("rcpt to:<\"x@evil.test x\"@ours.test>", false).to {
        ForwardPath::Mailbox(mailbox) => assert_eq!(mailbox.domain().as_str(), "ours.test"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_chunks() {
    for (line, bytes, last) in [
        ("BDAT 0", 0, false),
        ("bdat 86 last", 86, true),
        ("BDAT  007  LAST ", 7, true),
        ("BDAT 99999999999999999999", u64::MAX, false),
    ] {
        assert_eq!(parse(line.as_bytes(), false), Ok(Command::Bdat { bytes, last }), "{line}");
    }
}

#[test]
fn reads_what_is_asked_about_notifications() {
    let mail = sender("MAIL FROM:<a@b.test> RET=hdrs ENVID=QQ+2B31+20x SMTPUTF8 BODY=binarymime");
    assert_eq!((mail.ret, mail.envid.as_deref()), (Some(Return::Headers), Some("QQ+31 x")));
    assert_eq!((mail.utf8, mail.body), (true, Body::Binary));
    assert_eq!(sender(&format!("MAIL FROM:<> ENVID={} RET=FULL", "a".repeat(100))).ret, Some(Return::Full));
    let of = |parameters: &str| rcpt(&format!("RCPT TO:<a@b.test> {parameters}"), false).dsn;
    assert_eq!(of(""), RecipientDsn::default());
    assert_eq!(of("NOTIFY=NEVER").notify, Some(Notify::default()));
    let notify = Notify { success: true, failure: false, delay: true };
    assert_eq!(of("NOTIFY=delay,SUCCESS").notify, Some(notify));
    let original = |kind: &str, address: &str| Some(OriginalRecipient { kind: kind.into(), address: address.into() });
    assert_eq!(of("ORCPT=rfc822;Bob+2BX@b.test").original, original("rfc822", "Bob+X@b.test"));
    assert_eq!(of("orcpt=RFC822;a+3db+20c@b.test NOTIFY=FAILURE").original, original("rfc822", "a=b c@b.test"));
    assert_eq!(of("ORCPT=x-odd;anything/at;all").original, original("x-odd", "anything/at;all"));
    assert_eq!(of("ORCPT=utf-8;\\x{FC}\\x{2B}x@b.test").original, original("utf-8", "\u{fc}+x@b.test"));
    assert_eq!(of("ORCPT=utf-8;\\x{1F600}@b.test").original, original("utf-8", "\u{1f600}@b.test"));
    let raw = rcpt("RCPT TO:<a@b.test> ORCPT=utf-8;\u{fc}@b.test", true).dsn.original;
    assert_eq!(raw, original("utf-8", "\u{fc}@b.test"));
    let from_postfix = rcpt("RCPT TO:<a@b.test> ORCPT=rfc822;j+C3+BCrgen@b.test", true).dsn.original;
    assert_eq!(from_postfix, original("utf-8", "j\u{fc}rgen@b.test"));
    for broken in ["rfc822;j+C3@b.test", "rfc822;a+C2+85", "x-odd;+C3+BC", "rfc822;\u{fc}"] {
        assert!(parse(format!("RCPT TO:<a@b.test> ORCPT={broken}").as_bytes(), true).is_err(), "{broken}");
    }
}

#[test]
fn takes_utf8_only_where_it_was_declared() {
    for line in [
        "MAIL FROM:<\u{fc}@b.test>",
        "MAIL FROM:<a@b\u{fc}cher.test> BODY=8BITMIME",
        "VRFY \u{fc}",
        "VRFY SMTPUTF8 \u{fc}",
    ] {
        assert_eq!(code(line), 553, "{line}");
    }
    assert_eq!(
        sender("MAIL FROM:<\u{fc}@b\u{fc}cher.test> SMTPUTF8").sender.to_string(),
        "<\u{fc}@xn--bcher-kva.test>"
    );
    assert_eq!(code("RCPT TO:<\u{fc}@b.test>"), 553);
    assert!(matches!(rcpt("RCPT TO:<\u{fc}@b.test>", true).to, ForwardPath::Mailbox(_)));
    assert_eq!(parse("VRFY \u{fc} SMTPUTF8".as_bytes(), false), Ok(Command::Vrfy));
    for line in ["EHLO b\u{fc}cher.test", "NOOP \u{fc}", "HELP \u{fc}", "RSET \u{fc}", "QU\u{cd}T"] {
        assert!(code(line) >= 500, "{line}");
    }
    for line in ["MAIL FROM:<a\u{85}b@b.test> SMTPUTF8", "MAIL FROM:<a\u{2028}@b.test> SMTPUTF8"] {
        assert_eq!(code(line), 501, "{line:?}");
    }
    assert!(parse(b"MAIL FROM:<\xff@b.test> SMTPUTF8", false).is_err());
}

#[test]
fn tells_the_unknown_from_what_is_not_offered_and_from_other_protocols() {
    for line in ["", "XCLIENT ADDR=127.0.0.1", "XFORWARD", "EHLOA", " NOOP", "\tNOOP", "FOO", "DATA\t"] {
        assert_eq!(code(line), 500, "{line:?}");
    }
    for line in ["AUTH PLAIN =", "EXPN a", "ETRN a", "TURN"] {
        assert_eq!(code(line), 502, "{line:?}");
    }
    for line in [
        "GET / HTTP/1.1",
        "POST / HTTP/1.0",
        "CONNECT a:25 HTTP/1.1",
        "PRI * HTTP/2.0",
        "SSH-2.0-OpenSSH_9.6",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 25",
    ] {
        assert_eq!(code(line), 521, "{line:?}");
    }
}

#[test]
fn refuses_bad_arguments() {
    for line in [
        "EHLO",
        "HELO ",
        "EHLO [",
        "EHLO [300.1.1.1]",
        "EHLO a(b) spf=pass",
        "EHLO a\0",
        "EHLO a b",
        "EHLO \u{e4}",
        "DATA x",
        "RSET x",
        "QUIT x",
        "VRFY",
        "NOOP \u{7f}",
        "MAIL",
        "MAIL FROM",
        "MAIL FROM:",
        "MAIL FROM:a@b.test",
        "MAIL <a@b.test>",
        "MAIL FROM:<a@b.test",
        "MAIL FROM:<a@b.test>SIZE=1",
        "MAIL TO:<a@b.test>",
        "MAIL FROM:<\"a@b.test>",
        "MAIL FROM:<a\nb@b.test>",
        "MAIL FROM:<a\u{85}b@b.test>",
        "MAIL FROM:<a\tb@b.test>",
        "MAIL FROM:<\"a\\b@b.test>",
    ] {
        assert_eq!(code(line), 501, "{line:?}");
    }
    let long = format!("EHLO {}", "a".repeat(11_500));
    assert_eq!(code(&long), 501);
}

#[test]
fn refuses_bad_addresses_with_the_status_of_their_side() {
    let status = |line: &str| parse(line.as_bytes(), false).unwrap_err().reply().enhanced.unwrap().to_string();
    assert_eq!((code("MAIL FROM:<;sleep 66;>"), status("MAIL FROM:<;sleep 66;>")), (553, "5.1.7".into()));
    assert_eq!((code("MAIL FROM:<a@b..test>"), status("MAIL FROM:<a@b..test>")), (501, "5.1.7".into()));
    assert_eq!((code("RCPT TO:<victim>"), status("RCPT TO:<victim>")), (553, "5.1.3".into()));
    for line in [
        "RCPT TO:<\"\"@ours.test>",
        "RCPT TO:<${run{\\x2fbin\\x2fsh\\t-c\\t\\x22id\\x22}}@localhost.>",
        "RCPT TO:<a@xn-->",
    ] {
        assert_eq!((code(line), status(line)), (501, "5.1.3".into()), "{line}");
    }
    for line in ["RCPT TO:<>", "RCPT TO:<@relay.test:victim@evil.test>", "RCPT TO:<@a,@b:victim@evil.test>"] {
        assert_eq!(code(line), 553, "{line}");
    }
}

#[test]
fn refuses_parameters_that_are_malformed_or_not_offered() {
    for (parameters, expected) in [
        ("=\"x", 501),
        ("=", 501),
        ("SIZE=", 501),
        ("SIZE", 501),
        ("SIZE=-1", 501),
        ("SIZE=1a", 501),
        ("SIZE=111111111111111111111", 501),
        ("SIZE=1 SIZE=1", 501),
        ("BODY=", 501),
        ("BODY=8BIT", 501),
        ("BODY=7BIT BODY=8BITMIME", 501),
        ("SIZE=1=2", 501),
        ("SIZE=\u{c3}", 501),
        ("SIZE=1 size=1", 501),
        ("SMTPUTF8=YES", 501),
        ("SMTPUTF8 SMTPUTF8", 501),
        ("RET", 501),
        ("RET=BODY", 501),
        ("RET=FULL RET=HDRS", 501),
        ("ENVID", 501),
        ("ENVID=a+", 501),
        ("ENVID=a+2", 501),
        ("ENVID=a+0Aevil", 501),
        ("ENVID=a+00", 501),
        ("ENVID=a+7F", 501),
        ("ENVID=a+C3+BC", 501),
        ("ENVID=a+GG", 501),
        ("ENVID=a ENVID=b", 501),
        ("SMTPUTF8 ENVID=\u{fc}", 501),
        ("NOTIFY=NEVER", 555),
        ("AUTH=a+0Ab", 555),
        ("X-A=1", 555),
    ] {
        assert_eq!(code(&format!("MAIL FROM:<a@b.test> {parameters}")), expected, "{parameters:?}");
    }
    assert_eq!(code(&format!("MAIL FROM:<a@b.test>{}", " A=b".repeat(1000))), 555);
    assert_eq!(code(&format!("MAIL FROM:<a@b.test> ENVID={}", "a".repeat(101))), 501);
}

#[test]
fn refuses_parameters_of_recipients_that_are_malformed_or_not_offered() {
    for (parameters, expected) in [
        ("=", 501),
        ("NOTIFY", 501),
        ("NOTIFY=", 501),
        ("NOTIFY=NEVER,FAILURE", 501),
        ("NOTIFY=SUCCESS,NEVER", 501),
        ("NOTIFY=NEVER,NEVER", 501),
        ("NOTIFY=SUCCESS,success", 501),
        ("NOTIFY=SUCCESS,", 501),
        ("NOTIFY=ALWAYS", 501),
        ("NOTIFY=NEVER NOTIFY=NEVER", 501),
        ("ORCPT=", 501),
        ("ORCPT=rfc822", 501),
        ("ORCPT=rfc822;", 501),
        ("ORCPT=;a@b.test", 501),
        ("ORCPT=rfc 822;a@b.test", 501),
        ("ORCPT=rfc822;a+0Aevil", 501),
        ("ORCPT=rfc822;a+0D+0Aevil", 501),
        ("ORCPT=rfc822;a+C3+BC", 501),
        ("ORCPT=rfc822;\u{fc}", 501),
        ("ORCPT=utf-8;\\x{0A}evil", 501),
        ("ORCPT=utf-8;\\x{85}", 501),
        ("ORCPT=utf-8;\\x{2028}", 501),
        ("ORCPT=utf-8;\\x{D800}", 501),
        ("ORCPT=utf-8;\\x{110000}", 501),
        ("ORCPT=utf-8;\\x{1111111}", 501),
        ("ORCPT=utf-8;\\x{}", 501),
        ("ORCPT=utf-8;\\x{FC", 501),
        ("ORCPT=utf-8;a\\b", 501),
        ("ORCPT=utf-8;+5Cx{A}", 501),
        ("ORCPT=utf-8;\u{fc}", 501),
        ("ORCPT=rfc822;a ORCPT=rfc822;b", 501),
        ("SIZE=1", 555),
        ("RET=FULL", 555),
        ("X-A=1", 555),
    ] {
        assert_eq!(code(&format!("RCPT TO:<a@ours.test> {parameters}")), expected, "{parameters:?}");
    }
    let original = |octets: usize| format!("RCPT TO:<a@ours.test> ORCPT=rfc822;{}", "a".repeat(octets));
    assert_eq!(code(&original(494)), 501);
    rcpt(&original(493), false);
}

proptest! {
    #[test]
    fn never_panics_and_never_tells_a_client_its_own_octets(line in prop::collection::vec(any::<u8>(), 0..60), start in 0usize..8, utf8: bool) {
        let verb = [&b""[..], b"MAIL FROM:<", b"RCPT TO:<", b"EHLO ", b"MAIL FROM:<a@b.test> ", b"VRFY ", b"BDAT ", b"RCPT TO:<a@b.test> ORCPT="][start];
        if let Err(malformed) = parse(&[verb, &line].concat(), utf8) {
            prop_assert!(malformed.reply().text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
