//! Rows B2, B3, B9 to B12: commands out of order, in haste, broken off, or of another protocol.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    client.say("VRFY b\u{f6}b@ours.test", 553).unwrap();
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
    ("BDAT 0 LAST", ["503 N", "503 H", "503 H", "250 H"]),
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

/// What leads from a connection that was greeted to each state, by its place in the reference.
const STARTS: [&[usize]; 4] = [&[], &[1], &[1, 4], &[1, 4, 5]];

/// One client that plays sequences, on as few connections as it can.
struct Player {
    relay: SocketAddr,
    /// Has said EHLO, and is in no transaction.
    client: Option<Client>,
    played: usize,
    messages: usize,
}

impl Player {
    /// A connection in the first state, or, when `greeted`, perhaps one that was used before.
    fn client(&mut self, greeted: bool) -> Result<Client> {
        match self.client.take() {
            Some(client) if greeted && !self.played.is_multiple_of(50) => Ok(client),
            _ => {
                let mut client = Client::connect(self.relay)?;
                client.expect(220)?;
                Ok(client)
            }
        }
    }

    /// Plays one sequence from one state, and holds every reply against the reference.
    fn play(&mut self, start: &[usize], sequence: [usize; 3]) -> Result<()> {
        let mut client = self.client(!start.is_empty())?;
        let mut state = 0;
        for (line, row) in start.iter().chain(&sequence).map(|command| REFERENCE[*command]) {
            let (code, after) = row[state].split_once(' ').context("CODE STATE")?;
            let code = code.parse()?;
            client.say(line, code).with_context(|| format!("{start:?} {sequence:?}"))?;
            if code == 354 {
                client.say("Subject: a\r\n\r\nb\r\n.", 250)?;
            }
            self.messages += usize::from(code == 354 || (line.starts_with("BDAT") && code == 250));
            match "NHMR".find(after) {
                Some(next) => state = next,
                None => {
                    ensure!(client.is_closed(), "{line} leaves the connection open");
                    return Ok(());
                }
            }
        }
        self.played += 1;
        if state > 0 {
            client.say("RSET", 250)?;
            self.client = Some(client);
        }
        Ok(())
    }
}

/// All 6,859 sequences of three commands, over the wire, from each of the four states; each message that the reference
/// makes of them reaches the mail server, and no other. So many sessions take their time: no attack's limit holds for it.
#[test]
fn b10_every_command_in_every_state_does_as_the_reference_says() {
    const PLAYERS: usize = 8;
    let patient = [("--errors", "1000"), ("--idle-commands", "10000"), ("--refusals", "100000")];
    let scene = Scene::with(&patient).unwrap();
    let (relay, messages, played) = (scene.relay.smtp, AtomicUsize::new(0), AtomicUsize::new(0));
    let play = |first: usize| -> Result<()> {
        for (state, start) in STARTS.into_iter().enumerate() {
            let mut player = Player { relay, client: None, played: 0, messages: 0 };
            for index in (first..19_usize.pow(3)).step_by(PLAYERS) {
                player
                    .play(start, [index % 19, index / 19 % 19, index / 361])
                    .with_context(|| format!("in {state}"))?;
                played.fetch_add(1, Ordering::Relaxed);
            }
            messages.fetch_add(player.messages, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS).map(|first| scope.spawn(move || play(first))).collect();
        players.into_iter().for_each(|player| player.join().unwrap().unwrap());
    });
    let (messages, played) = (messages.into_inner(), played.into_inner());
    assert_eq!(played, 4 * 6859);
    assert_eq!(messages, 1554, "the reference is as it was");
    assert_eq!(scene.sink.wait_for_mails(messages, Duration::from_secs(120)).unwrap().len(), messages);
}

#[test]
fn b09_whoever_does_not_listen_is_not_heard() {
    let scene = Scene::open().unwrap();
    let transaction = "MAIL FROM:<a@stranger.test>\r\nRCPT TO:<bob@ours.test>\r\n";
    let content = "Subject: a\r\n\r\nb\r\n.\r\nQUIT\r\n";
    for (haste, expected) in [
        // Before the greeting.
        (format!("EHLO a\r\n{transaction}DATA\r\n{content}"), &[220, 554][..]),
        (format!("HELO a\r\n{transaction}"), &[220, 554]),
        (format!("{transaction}DATA\r\n{content}"), &[220, 503, 503, 554]),
        (format!("EHLO a\r\nBDAT 0 LAST\r\n{transaction}BDAT 0 LAST\r\n"), &[220, 554]),
        ("QUIT\r\n".into(), &[220, 221]),
    ] {
        let mut client = Client::connect(scene.relay.smtp).unwrap();
        client.send(haste.as_bytes()).unwrap();
        assert_eq!(codes_until_closed(&mut client), expected, "{haste}");
    }
    for (haste, expected) in [
        (format!("{transaction}DATA\r\n{content}"), &[250, 250, 554][..]),
        (format!("NOOP\r\n{transaction}"), &[554]),
        (format!("VRFY bob\r\n{transaction}"), &[554]),
        ("EHLO again\r\nNOOP\r\n".into(), &[554]),
    ] {
        let mut client = scene.stranger().unwrap();
        client.send(haste.as_bytes()).unwrap();
        assert_eq!(codes_until_closed(&mut client), expected, "{haste}");
    }
    scene.survived(0).unwrap();
}

#[test]
fn b11_a_second_quit_and_a_quit_behind_the_content_are_harmless() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.send(b"QUIT\r\nQUIT\r\n").unwrap();
    assert_eq!(codes_until_closed(&mut client), [221]);
    let mut client = scene.stranger().unwrap();
    in_data(&mut client).unwrap();
    client.send(b"Subject: a\r\n\r\nb\r\n.\r\nQUIT\r\nQUIT\r\n").unwrap();
    assert_eq!(codes_until_closed(&mut client), [250, 221]);
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
