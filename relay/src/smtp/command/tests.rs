use proptest::prelude::*;

use super::*;

fn code(line: &str) -> u16 {
    match parse(line.as_bytes()) {
        Ok(command) => panic!("{line:?} was taken for {command:?}"),
        Err(malformed) => malformed.reply().code,
    }
}

fn sender(line: &str) -> Mail {
    match parse(line.as_bytes()) {
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
        assert_eq!(parse(line.as_bytes()), Ok(command), "{line}");
    }
}

#[test]
fn reads_mail_with_its_parameters() {
    let mail = sender("MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME");
    assert_eq!((mail.sender.to_string(), mail.size, mail.eight_bit), ("<a@b.test>".into(), Some(1000), true));
    let mail = sender("mail from: <>  body=7bit ");
    assert_eq!((mail.sender, mail.size, mail.eight_bit), (ReversePath::Null, None, false));
    assert_eq!(sender("MAIL FROM:<a@b.test> SIZE=99999999999999999999").size, Some(u64::MAX));
    assert_eq!(sender("MAIL FROM:<\"a> b\\\">\"@b.test>").sender.to_string(), "<\"a> b\\\">\"@b.test>");
}

#[test]
fn reads_recipients() {
    let postmaster = parse(b"RCPT TO:<PostMaster>");
    assert_eq!(postmaster, Ok(Command::Rcpt(ForwardPath::Postmaster)));
    match parse(b"rcpt to:<\"x@evil.test x\"@ours.test>") {
        Ok(Command::Rcpt(ForwardPath::Mailbox(mailbox))) => assert_eq!(mailbox.domain().as_str(), "ours.test"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tells_the_unknown_from_what_is_not_offered_and_from_other_protocols() {
    for line in ["", "XCLIENT ADDR=127.0.0.1", "XFORWARD", "EHLOA", " NOOP", "\tNOOP", "FOO", "DATA\t"] {
        assert_eq!(code(line), 500, "{line:?}");
    }
    for line in ["AUTH PLAIN =", "BDAT 10 LAST", "EXPN a", "ETRN a", "TURN"] {
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
        "VRFY \u{e4}",
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
    let status = |line: &str| parse(line.as_bytes()).unwrap_err().reply().enhanced.unwrap().to_string();
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
        ("BODY=BINARYMIME", 501),
        ("BODY=7BIT BODY=8BITMIME", 501),
        ("SIZE=1=2", 501),
        ("SIZE=\u{c3}", 501),
        ("AUTH=a+0Ab", 555),
        ("SMTPUTF8", 555),
        ("RET=HDRS", 555),
        ("X-A=1", 555),
    ] {
        assert_eq!(code(&format!("MAIL FROM:<a@b.test> {parameters}")), expected, "{parameters:?}");
    }
    assert_eq!(code(&format!("MAIL FROM:<a@b.test>{}", " A=b".repeat(1000))), 555);
    assert_eq!(code("RCPT TO:<a@ours.test> ORCPT=rfc822;a+0Aevil"), 555);
    assert_eq!(code("RCPT TO:<a@ours.test> ="), 501);
}

proptest! {
    #[test]
    fn never_panics_and_never_tells_a_client_its_own_octets(line in prop::collection::vec(any::<u8>(), 0..60), start in 0usize..6) {
        let verb = [&b""[..], b"MAIL FROM:<", b"RCPT TO:<", b"EHLO ", b"MAIL FROM:<a@b.test> ", b"VRFY "][start];
        if let Err(malformed) = parse(&[verb, &line].concat()) {
            prop_assert!(malformed.reply().text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
