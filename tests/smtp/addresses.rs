//! Rows D: no form of an address relays, injects, or is read in two ways; and I7.

use anyhow::Result;

use crate::scene::{SOURCE, Scene};

/// What an outsider might get relayed elsewhere, and what it is answered.
const NOT_OURS: &[(&str, u16)] = &[
    ("victim%evil.test@relay", 550),
    ("victim%evil.test@[127.0.0.1]", 550),
    ("victim@evil.test@relay", 501),
    ("\"victim@evil.test\"@relay", 550),
    ("\"victim%evil.test\"", 553),
    ("\"victim@evil.test\"", 553),
    ("@relay:victim@evil.test", 553),
    ("@[127.0.0.1]:victim@evil.test", 553),
    ("@ours.test:victim@evil.test", 553),
    ("@a,@b:victim@evil.test", 553),
    ("evil.test!victim", 553),
    ("evil.test!victim@relay", 550),
    ("evil.test!victim@[127.0.0.1]", 550),
    ("victim@[192.0.2.1]", 550),
    ("victim@[IPv6:::1]", 550),
    ("victim@127.1", 501),
    ("victim@0x7f000001", 501),
    ("victim@2130706433", 501),
    ("victim@localhost", 550),
    ("victim@", 501),
    ("victim", 553),
    ("", 553),
    ("victim@evil.test.", 501),
    ("victim@evil.test", 550),
    ("VICTIM@EVIL.TEST", 550),
    // Ours in appearance only.
    ("bob@ours.test@evil.test", 501),
    ("bob@evil.test\\@ours.test", 501),
    ("bob@ours.test.evil.test", 550),
    ("bob@sub.ours.test", 550),
    ("bob@ours.test.", 501),
    ("bob@[ours.test]", 501),
    // Ours, but nobody that is known.
    ("victim%evil.test@ours.test", 550),
    ("evil.test!victim@ours.test", 550),
    ("\"x@evil.test x\"@ours.test", 550),
    ("\"bob@ours.test\"@ours.test", 550),
];

fn ask(scene: &Scene, line: &str) -> Result<u16> {
    let mut client = scene.stranger()?;
    if line.starts_with("RCPT") {
        client.say("MAIL FROM:<a@stranger.test>", 250)?;
    }
    Ok(client.ask(line)?.code)
}

fn answers(scene: &Scene, rows: &[(&str, u16)]) {
    for (line, code) in rows {
        assert_eq!(ask(scene, line).unwrap(), *code, "{line:?}");
    }
}

#[test]
fn d_no_form_of_a_foreign_address_is_relayed() {
    let scene = Scene::open().unwrap();
    for (address, code) in NOT_OURS {
        assert_eq!(ask(&scene, &format!("RCPT TO:<{address}>")).unwrap(), *code, "{address}");
    }
    scene.survived(0).unwrap();
}

#[test]
fn d01_policy_and_routing_read_one_address_in_one_way() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    let recipients =
        ["\"victim@evil.test\"@ours.test", "\"odd\\ one\"@OURS.test", "\"B\\ob\"@ours.test", "x@open.test"];
    client.mail("a@stranger.test", &recipients, b"Subject: a\r\n\r\nb\r\n").unwrap();
    let mails = scene.survived(1).unwrap();
    let sent: Vec<_> = recipients.iter().map(|address| format!("<{}>", address.replace("OURS", "ours"))).collect();
    assert_eq!(mails[0].recipients, sent, "unchanged, and to our own mail server");
}

#[test]
fn d02_d03_d05_what_looks_like_code_is_text() {
    let scene = Scene::open().unwrap();
    answers(
        &scene,
        &[
            ("MAIL FROM:<;sleep 66;>", 553),
            ("RCPT TO:<${run{\\x2fbin\\x2fsh\\t-c\\t\\x22id\\x22}}@localhost>", 501),
            ("RCPT TO:<$(id)@ours.test>", 501),
            ("RCPT TO:<`id`@ours.test>", 550),
            ("RCPT TO:<${id}@ours.test>", 550),
            ("MAIL FROM:<\"x'/**/UNION/**/SELECT/**/X'00'--\"@x.test>", 250),
            ("ETRN \"x'/**/UNION/**/SELECT\"", 502),
        ],
    );
    scene.survived(0).unwrap();
}

#[test]
fn d04_parameters_carry_nothing_in() {
    let scene = Scene::open().unwrap();
    answers(
        &scene,
        &[
            ("RCPT TO:<bob@ours.test> ORCPT=rfc822;a+0Aevil", 501),
            ("RCPT TO:<bob@ours.test> ORCPT=rfc822;a+0D+0ARCPT", 501),
            ("RCPT TO:<bob@ours.test> ORCPT=utf-8;a\\x{0A}evil", 501),
            ("RCPT TO:<bob@ours.test> ORCPT=utf-8;a\\x{2028}evil", 501),
            ("RCPT TO:<bob@ours.test> ORCPT=rfc822;a\nevil", 521),
            ("MAIL FROM:<a@x.test> ENVID=a+0Aevil", 501),
            ("MAIL FROM:<a@x.test> ENVID=a+00evil", 501),
            ("MAIL FROM:<a@x.test> AUTH=a+0Ab", 555),
            ("MAIL FROM:<a@x.test> AUTH=a\nb", 521),
            ("MAIL FROM:<a@x.test> SIZE=1\rSIZE=2", 521),
        ],
    );
    scene.survived(0).unwrap();
}

#[test]
fn d06_nothing_from_an_envelope_becomes_a_header() {
    let scene = Scene::open().unwrap();
    answers(
        &scene,
        &[
            ("MAIL FROM:<\"a\r\nBcc: v\"@x.test>", 501),
            ("MAIL FROM:<a\nb@x.test>", 521),
            ("MAIL FROM:<a\rb@x.test>", 521),
            ("MAIL FROM:<a\0b@x.test>", 501),
            ("MAIL FROM:<a\u{7f}b@x.test>", 501),
            ("MAIL FROM:<a\tb@x.test>", 501),
            ("MAIL FROM:<a\u{85}b@x.test>", 501),
            ("MAIL FROM:<\"a\0b\"@x.test>", 501),
        ],
    );
    let mut client = scene.stranger().unwrap();
    client.mail("\"a: b;()<>\"@x.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap();
    let mails = scene.survived(1).unwrap();
    let header = String::from_utf8(mails[0].content.clone()).unwrap();
    let received = header.split("Subject").next().unwrap();
    assert!(received.starts_with("Received: from client.test ([127.0.0.1])\r\n\t"), "{received}");
    for line in received.split_terminator("\r\n") {
        assert!(line.trim_start_matches('\t').bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }
}

#[test]
fn d07_broken_syntax_is_refused() {
    let scene = Scene::open().unwrap();
    let many = format!("MAIL FROM:<a@b.test>{}", " A=b".repeat(400));
    answers(
        &scene,
        &[
            ("RCPT TO:<\"\"@ours.test>", 501),
            ("MAIL FROM:<\"\\\"@x.test>", 501),
            ("MAIL FROM:<a\\", 501),
            ("MAIL FROM:<a@b.test> =\"x", 501),
            ("MAIL FROM:<a@b.test> =", 501),
            ("MAIL FROM:<a@b.test> BODY=", 501),
            ("MAIL FROM:<a@b.test> SIZE=\u{c3}", 501),
            ("MAIL FROM:<a@b.test> SMTPUTF8 SIZE=\u{c3}", 501),
            ("RCPT TO:<bob@ours.test> NOTIFY=", 501),
            ("RCPT TO:<bob@ours.test> NOTIFY=NEVER,DELAY", 501),
            ("RCPT TO:<bob@ours.test> ORCPT=rfc822", 501),
            (&many, 555),
        ],
    );
    let too_many = format!("MAIL FROM:<a@b.test>{}", " A=b".repeat(1000));
    assert_eq!(ask(&scene, &too_many).unwrap(), 500, "longer than a line");
    for line in
        [&b"MAIL FROM:<a@b.test> SIZE=\xc3"[..], b"MAIL FROM:<a\xc3@b.test> SMTPUTF8", b"RCPT TO:<\xe4\xbd@b.test>"]
    {
        let mut client = scene.stranger().unwrap();
        client.send(&[line, b"\r\n"].concat()).unwrap();
        client.expect(501).unwrap();
    }
    scene.survived(0).unwrap();
}

/// Neither with SMTPUTF8 nor without.
#[test]
fn d08_no_spelling_of_a_name_passes_for_another() {
    let scene = Scene::open().unwrap();
    for (domain, plain, declared) in [
        // No names at all.
        ("xn--", 501, 501),
        ("xn--a", 501, 501),
        ("xn--ours-.test", 501, 501),
        ("XN--ours-.test", 501, 501),
        // What IDNA only maps to a name of ours is not how anyone writes it.
        ("\u{24de}urs.test", 501, 501),
        ("ou\u{ad}rs.test", 501, 501),
        ("ours\u{3002}test", 501, 501),
        ("\u{ff4f}urs.test", 501, 501),
        ("our\u{17f}.test", 501, 501),
        // Look-alikes are names, and others.
        ("\u{43e}urs.test", 553, 550),
        ("o\u{446}rs.test", 553, 550),
        ("xn--urs-red.test", 550, 550),
        ("\u{f6}urs.test", 553, 550),
        ("o\u{308}urs.test", 553, 550),
        ("OURS.TEST", 250, 250),
    ] {
        assert_eq!(ask(&scene, &format!("RCPT TO:<bob@{domain}>")).unwrap(), plain, "{domain}");
        let mut client = scene.stranger().unwrap();
        client.say("MAIL FROM:<a@stranger.test> SMTPUTF8", 250).unwrap();
        assert_eq!(client.ask(&format!("RCPT TO:<bob@{domain}>")).unwrap().code, declared, "{domain} with SMTPUTF8");
    }
    scene.survived(0).unwrap();
}

/// A domain of ours with a U-label, and a recipient whose name can be composed in two ways: each pair is one.
#[test]
fn d08_what_is_the_same_in_unicode_is_the_same() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<a@stranger.test> SMTPUTF8", 250).unwrap();
    for (address, code) in [
        ("j\u{fc}rgen@b\u{fc}cher.test", 250),
        ("ju\u{308}rgen@bu\u{308}cher.test", 250),
        ("J\u{dc}RGEN@B\u{dc}CHER.TEST", 250),
        ("\"j\u{fc}rgen\"@xn--bcher-kva.test", 250),
        ("jurgen@b\u{fc}cher.test", 550),
        ("j\u{fc}rgen@bucher.test", 550),
        ("j\u{fc}rgen@ours.test", 550),
        ("postmaster@b\u{fc}cher.test", 250),
    ] {
        assert_eq!(client.ask(&format!("RCPT TO:<{address}>")).unwrap().code, code, "{address}");
    }
    scene.survived(0).unwrap();
}

#[test]
fn d10_what_is_too_long_is_refused() {
    let scene = Scene::open().unwrap();
    let local = |octets: usize| format!("RCPT TO:<{}@open.test>", "a".repeat(octets));
    let domain = |octets: usize| format!("RCPT TO:<a@{}>", &"a.".repeat(200)[..octets]);
    for (line, code) in [
        (local(64), 250),
        (local(65), 501),
        (local(1000), 501),
        (domain(251), 550),
        (domain(253), 501), // 257 octets with its brackets
        (domain(255), 501),
        (domain(256), 501),
        (domain(257), 501),
        (format!("RCPT TO:<a@{}>", ["a"; 128].join(".")), 501),
        (format!("RCPT TO:<a@{}.test>", "a".repeat(63)), 550),
        (format!("RCPT TO:<a@{}.test>", "a".repeat(64)), 501),
        (format!("RCPT TO:<{}@{}>", "a".repeat(64), &"a.".repeat(200)[..189]), 550), // 256 octets with its brackets
        (format!("RCPT TO:<{}@{}>", "a".repeat(64), &"a.".repeat(200)[..191]), 501),
        (format!("MAIL FROM:<{}@stranger.test>", "a".repeat(64)), 250),
        (format!("MAIL FROM:<{}@stranger.test>", "a".repeat(65)), 501),
        (format!("MAIL FROM:<{}@stranger.test> SMTPUTF8", "\u{fc}".repeat(32)), 250),
        (format!("MAIL FROM:<{}@stranger.test> SMTPUTF8", "\u{fc}".repeat(33)), 501),
        (format!("MAIL FROM:<\"{}\"@stranger.test>", "a".repeat(62)), 250),
        (format!("MAIL FROM:<\"{}\"@stranger.test>", "a".repeat(63)), 501),
    ] {
        assert_eq!(ask(&scene, &line).unwrap(), code, "{line}");
    }
    let mut client = scene.stranger().unwrap();
    client.send(&[b"RCPT TO:<".as_slice(), &vec![b'a'; 1 << 20], b"@ours.test>\r\n"].concat()).ok();
    assert!(client.reply().is_ok_and(|reply| reply.code == 521));
    scene.survived(0).unwrap();
}

#[test]
fn d11_what_a_client_calls_itself_is_a_name_or_nothing() {
    let scene = Scene::open().unwrap();
    let long = |octets: usize| format!("EHLO {}", "a".repeat(octets));
    answers(
        &scene,
        &[
            ("EHLO [", 501),
            ("EHLO [300.1.1.1]", 501),
            ("EHLO a(b) spf=pass", 501),
            ("EHLO a\0", 501),
            ("EHLO <a@b>", 501),
            ("EHLO b\u{fc}cher.test", 501),
            ("EHLO xn--bcher-kva.test", 250),
            ("EHLO [IPv6:2001:db8::1]", 250),
            ("EHLO [IPv6:x]", 501),
            ("EHLO a\\b", 501),
            ("EHLO a;b", 501),
            ("EHLO \"a\"", 501),
            (&long(255), 250),
            (&long(256), 501),
            (&long(11_500), 500),
        ],
    );
    let mut client = scene.stranger().unwrap();
    client.say("EHLO [127.0.0.1]", 250).unwrap();
    client.mail("a@stranger.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap();
    let mails = scene.survived(1).unwrap();
    assert!(mails[0].content.starts_with(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n"));
}

#[test]
fn d_our_own_server_may_send_to_anyone_but_only_as_its_domain() {
    let scene = Scene::open().unwrap();
    let mut client = scene.client_at(SOURCE).unwrap();
    client.say("MAIL FROM:<ceo@victim.test>", 550).unwrap();
    client.say("MAIL FROM:<bob@open.test>", 550).unwrap();
    client.mail("bob@ours.test", &["friend@elsewhere.test"], b"Subject: a\r\n\r\nb\r\n").unwrap();
    let mails = scene.survived(1).unwrap();
    assert_eq!(mails[0].recipients, ["<friend@elsewhere.test>"]);
}

#[test]
fn i04_an_envelope_id_has_a_limit() {
    let scene = Scene::open().unwrap();
    let envid = |octets: usize| format!("MAIL FROM:<a@stranger.test> ENVID={}", "a".repeat(octets));
    let orcpt = |octets: usize| format!("RCPT TO:<bob@ours.test> ORCPT=rfc822;{}", "a".repeat(octets));
    answers(&scene, &[(&envid(100), 250), (&envid(101), 501), (&orcpt(493), 250), (&orcpt(494), 501)]);
    scene.survived(0).unwrap();
}

#[test]
fn i07_postmaster_is_always_taken() {
    let scene = Scene::open().unwrap();
    let own = format!("RCPT TO:<postmaster@[{}]>", scene.relay.smtp.ip());
    answers(
        &scene,
        &[
            ("RCPT TO:<postmaster>", 250),
            ("RCPT TO:<PostMaster>", 250),
            ("RCPT TO:<postmaster@ours.test>", 250),
            ("RCPT TO:<abuse@ours.test>", 250),
            (&own, 250),
            ("RCPT TO:<postmaster@[192.0.2.1]>", 550),
            ("RCPT TO:<postmaster@evil.test>", 550),
        ],
    );
    let mut client = scene.stranger().unwrap();
    client.mail("a@stranger.test", &["postmaster"], b"Subject: a\r\n\r\nb\r\n").unwrap();
    let mails = scene.survived(1).unwrap();
    assert_eq!(mails[0].recipients, ["<postmaster@open.test>"], "of the alphabetically first of our domains");
}
