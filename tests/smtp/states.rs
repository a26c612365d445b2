//! Rows B2, B3, B10 to B12: commands out of order, broken off, or of another protocol.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::smtp::Client;
use socket2::SockRef;

use crate::scene::{Scene, codes_until_closed, in_data};

#[test]
fn b02_a_message_refused_at_its_end_leaves_nothing_behind() {
    let scene = Scene::with(&[("--body-line", "4096")]).unwrap();
    let contents = [("Received: a\r\n".repeat(60), 554), ("x".repeat(5000), 554), ("x\r\n".repeat(30_000), 552)];
    for (content, code) in contents {
        let mut client = scene.stranger_in_data().unwrap();
        client.send(content.as_bytes()).unwrap();
        client.send(b"\r\n.\r\n").unwrap();
        client.expect(code).unwrap();
        client.say("RCPT TO:<bob@ours.test>", 503).unwrap();
        client.say("DATA", 503).unwrap();
        client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
        client.say("DATA", 503).unwrap();
        client.say("RCPT TO:<nobody@ours.test>", 550).unwrap();
        client.say("DATA", 554).unwrap();
    }
    scene.survived(0).unwrap();
}

#[test]
fn b03_vrfy_in_utf8_changes_nothing() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    client.say("RCPT TO:<bob@ours.test>", 250).unwrap();
    client.say("VRFY b\u{f6}b@ours.test", 501).unwrap();
    client.say("DATA", 354).unwrap();
    client.say("Subject: a\r\n\r\nb\r\n.", 250).unwrap();
    scene.survived(1).unwrap();
}

/// The code before EHLO, after it, after MAIL and after RCPT, and which of these states follows (X: closed).
const REFERENCE: [(&str, [&str; 4]); 19] = [
    ("HELO a", ["250 H", "250 H", "250 H", "250 H"]),
    ("EHLO a", ["250 H", "250 H", "250 H", "250 H"]),
    ("STARTTLS", ["502 N", "502 H", "502 M", "502 R"]),
    ("AUTH PLAIN AGEAYg==", ["502 N", "502 H", "502 M", "502 R"]),
    ("MAIL FROM:<a@b.test>", ["503 N", "250 M", "503 M", "503 R"]),
    ("RCPT TO:<bob@ours.test>", ["503 N", "503 H", "250 R", "250 R"]),
    ("DATA", ["503 N", "503 H", "503 M", "354 H"]),
    ("BDAT 0 LAST", ["502 N", "502 H", "502 M", "502 R"]),
    ("RSET", ["250 N", "250 H", "250 H", "250 H"]),
    ("NOOP", ["250 N", "250 H", "250 M", "250 R"]),
    ("VRFY a", ["252 N", "252 H", "252 M", "252 R"]),
    ("EXPN a", ["502 N", "502 H", "502 M", "502 R"]),
    ("HELP", ["214 N", "214 H", "214 M", "214 R"]),
    ("QUIT", ["221 X", "221 X", "221 X", "221 X"]),
    ("XCLIENT ADDR=127.0.0.2", ["500 N", "500 H", "500 M", "500 R"]),
    ("XFORWARD ADDR=127.0.0.2", ["500 N", "500 H", "500 M", "500 R"]),
    ("ETRN ours.test", ["502 N", "502 H", "502 M", "502 R"]),
    ("garbage", ["500 N", "500 H", "500 M", "500 R"]),
    ("GET / HTTP/1.1", ["521 X", "521 X", "521 X", "521 X"]),
];

/// Plays one sequence in one write, and holds the replies against the reference. Answers how many messages it makes.
fn play(scene: &Scene, sequence: &[usize]) -> Result<usize> {
    let (mut octets, mut expected, mut state, mut messages) = (Vec::new(), vec![220], 0, 0);
    for (line, row) in sequence.iter().map(|command| REFERENCE[*command]) {
        let (code, after) = row[state].split_once(' ').context("CODE STATE")?;
        octets.extend_from_slice(format!("{line}\r\n").as_bytes());
        expected.push(code.parse()?);
        if code == "354" {
            octets.extend_from_slice(b"Subject: a\r\n\r\nb\r\n.\r\n");
            expected.push(250);
            messages += 1;
        }
        match "NHMR".find(after) {
            Some(next) => state = next,
            None => break,
        }
    }
    if !matches!(expected.last(), Some(221 | 521)) {
        octets.extend_from_slice(b"QUIT\r\n");
        expected.push(221);
    }
    let mut client = Client::connect(scene.relay.smtp)?;
    client.send(&octets)?;
    let codes = codes_until_closed(&mut client);
    ensure!(codes == expected, "{sequence:?}: {codes:?}, not {expected:?}");
    Ok(messages)
}

/// The processor time of so many sessions is no attack's: this row has no limit on it. The relay's own test plays all of
/// them from every state; here they go over the wire, at once, and before the greeting.
#[test]
fn b10_every_command_in_every_state_does_as_the_reference_says() {
    let scene = Scene::open().unwrap();
    let mut messages = 0;
    for index in 0..REFERENCE.len().pow(2) {
        for before in [&[][..], &[1], &[1, 4], &[1, 4, 5]] {
            let sequence = [before, &[index % 19, index / 19]].concat();
            messages += play(&scene, &sequence).unwrap();
        }
    }
    assert_eq!(messages, 33, "the reference is as it was");
    assert_eq!(scene.sink.wait_for_mails(messages, Duration::from_secs(60)).unwrap().len(), messages);
}

#[test]
fn b11_a_second_quit_and_a_quit_behind_the_content_are_harmless() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.send(b"QUIT\r\nQUIT\r\n").unwrap();
    assert_eq!(codes_until_closed(&mut client), [221]);
    let mut client = scene.stranger().unwrap();
    client
        .send(b"MAIL FROM:<a@stranger.test>\r\nRCPT TO:<bob@ours.test>\r\nDATA\r\nSubject: a\r\n\r\nb\r\n.\r\nQUIT\r\nQUIT\r\n")
        .unwrap();
    assert_eq!(codes_until_closed(&mut client), [250, 250, 354, 250, 221]);
    scene.survived(1).unwrap();
}

#[test]
fn b11_a_reset_connection_leaves_nothing_in_any_state() {
    let scene = Scene::open().unwrap();
    let steps = [
        "MAIL FROM:<a@stranger.test>\r\n",
        "RCPT TO:<bob@ours.test>\r\n",
        "DATA\r\n",
        "Subject: a\r\n\r\nhalf",
        " a line\r\n.\r",
    ];
    for count in 0..=steps.len() {
        for half in [false, true] {
            let mut client = scene.stranger().unwrap();
            for step in &steps[..count] {
                client.send(step.as_bytes()).unwrap();
                if step.ends_with("\r\n") {
                    client.reply().unwrap();
                }
            }
            if half {
                client.send(b"NOO").unwrap();
            }
            reset(client);
        }
    }
    scene.survived(0).unwrap();
}

/// Closes with a RST instead of a FIN.
fn reset(client: Client) {
    let stream = client.into_stream();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn b12_other_protocols_are_told_so_and_closed() {
    let scene = Scene::open().unwrap();
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat();
    let proxy = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x02\x7f\x00\x00\x01\x00\x19\x00\x19";
    let inputs: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 100\r\n\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@ours.test>\r\n",
        b"CONNECT relay.test:25 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &hello,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PROXY TCP4 127.0.0.2 127.0.0.1 1000 25\r\nEHLO a\r\n",
        proxy,
    ];
    for input in inputs {
        let mut client = Client::connect(scene.relay.smtp).unwrap();
        client.send(input).unwrap();
        let codes = codes_until_closed(&mut client);
        let (greeting, rest) = codes.split_first().unwrap();
        assert_eq!(*greeting, 220);
        assert!(
            rest.last() == Some(&521) && rest.iter().all(|code| *code >= 500),
            "{}: {codes:?}",
            String::from_utf8_lossy(input)
        );
    }
    scene.survived(0).unwrap();
}

#[test]
fn b12_nobody_may_say_who_he_is() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say("XCLIENT ADDR=127.0.0.2 LOGIN=root", 500).unwrap();
    client.say("XFORWARD ADDR=127.0.0.2", 500).unwrap();
    client.say("MAIL FROM:<a@ours.test>", 250).unwrap();
    client.say("RCPT TO:<victim@evil.test>", 550).unwrap();
    in_data(&mut scene.stranger().unwrap()).unwrap();
    scene.survived(0).unwrap();
}
