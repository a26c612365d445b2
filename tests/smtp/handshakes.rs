//! Rows B8, C1, C5 to C7, E5 and E6 as far as they are about TLS: what is sent before, during, instead of and after it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use postern_tests::clock::wait_until;
use postern_tests::smtp::Client;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::scene::codes_until_closed;
use crate::secured::{SOON, Secured};

/// Some handshakes are cut off by their deadline.
const QUICK: (&str, &str) = ("--handshake-time", "1s");

/// The first flight of a client, as one record.
fn client_hello(secured: &Secured) -> Vec<u8> {
    let name = ServerName::try_from("mx.test").unwrap();
    let mut session = ClientConnection::new(secured.authority.trusting(None).unwrap(), name).unwrap();
    let mut octets = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut octets).unwrap();
    }
    octets
}

/// The same in records of so many octets of it each.
fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[0x16, 3, 1, 0, u8::try_from(piece.len()).unwrap()], piece].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

/// At the point where TLS may begin: after STARTTLS, and where it comes first.
fn both_ways(secured: &Secured) -> Result<[Client; 2]> {
    let mut client = secured.scene.stranger()?;
    client.say("STARTTLS", 220)?;
    Ok([client, Client::connect(secured.smtps)?])
}

/// What TLS ends with, and a cleartext octet behind it.
fn end_and_say(mut client: Client, octets: &[u8]) -> Client {
    client.tls().unwrap().send_close_notify();
    client.send(b"").unwrap();
    let mut plain = client.another_hand().unwrap();
    // The relay may have closed the connection already.
    plain.send(octets).ok();
    plain
}

#[test]
fn c01_commands_behind_starttls_are_never_obeyed() {
    let secured = Secured::open(&[]).unwrap();
    let evil = b"EHLO x\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@ours.test>\r\n";
    let mut client = secured.scene.stranger().unwrap();
    client.send(&[b"STARTTLS\r\n", &evil[..]].concat()).unwrap();
    assert_eq!(codes_until_closed(&mut client), [554], "in one segment");
    let mut client = secured.scene.stranger().unwrap();
    client.say("STARTTLS", 220).unwrap();
    client.send(evil).unwrap();
    assert!(codes_until_closed(&mut client).is_empty(), "instead of the handshake");
    assert!(!secured.scene.relay.log().contains("evil@x.test"));
    let mut client = secured.starttls().unwrap();
    client.say("RCPT TO:<bob@ours.test>", 503).unwrap();
    secured.scene.survived(0).unwrap();
}

#[test]
fn b08_what_follows_the_end_of_tls_in_a_content_is_no_part_of_it() {
    let secured = Secured::open(&[]).unwrap();
    let offers_chunks = |client: &mut Client| client.say("EHLO a", 250).unwrap().lines.contains(&"CHUNKING".to_owned());
    for by_chunks in [false, true] {
        let mut client = secured.starttls().unwrap();
        if by_chunks && !offers_chunks(&mut client) {
            continue;
        }
        client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
        client.say("RCPT TO:<bob@ours.test>", 250).unwrap();
        match by_chunks {
            true => client.send(b"BDAT 100\r\n").unwrap(),
            false => drop(client.say("DATA", 354).unwrap()),
        }
        client.send(b"0123456789").unwrap();
        let mut plain = end_and_say(client, b"x\r\n.\r\n");
        assert!(plain.is_closed());
    }
    secured.scene.survived(0).unwrap();
}

#[test]
fn c05_half_a_command_under_tls_is_not_finished_in_plain_text() {
    let secured = Secured::open(&[]).unwrap();
    let mut client = secured.starttls().unwrap();
    client.send(b"NO").unwrap();
    assert!(end_and_say(client, b"OP\r\n").is_closed());
    // And without a word of TLS about its end.
    let client = secured.starttls().unwrap();
    let mut plain = client.another_hand().unwrap();
    plain.send(b"NOOP\r\nMAIL FROM:<evil@x.test>\r\n").unwrap();
    assert!(plain.reply().is_err());
    assert!(!secured.scene.relay.log().contains("evil@x.test"));
    secured.scene.survived(0).unwrap();
}

#[test]
fn c06_starttls_has_its_place_and_forgets_all_before_it() {
    let secured = Secured::open(&[]).unwrap();
    let mut client = Client::connect(secured.scene.relay.smtp).unwrap();
    client.expect(220).unwrap();
    client.say("STARTTLS", 503).unwrap();
    client.say("EHLO client.test", 250).unwrap();
    client.say("STARTTLS now", 501).unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    client.say("STARTTLS", 503).unwrap();
    client.say("RSET", 250).unwrap();
    client.say("STARTTLS", 220).unwrap();
    let mut client = client.secure(&secured.authority.trusting(None).unwrap(), "mx.test").unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 503).unwrap();
    client.say("EHLO client.test", 250).unwrap();
    client.say("STARTTLS", 503).unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    secured.scene.survived(0).unwrap();
}

#[test]
fn c07_handshakes_that_are_none_end_and_cost_nothing() {
    let secured = Secured::open(&[QUICK]).unwrap();
    let hello = client_hello(&secured);
    let attacks: [(&str, Vec<u8>); 8] = [
        ("garbage", vec![0; 600]),
        ("a huge record", [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 600]].concat()),
        ("records of no octets", [0x16, 3, 1, 0, 0].repeat(2000)),
        ("an alert", vec![0x15, 3, 1, 0, 2, 2, 40]),
        ("warnings without end", [0x15, 3, 1, 0, 2, 1, 90].repeat(2000)),
        ("half a hello", hello[..hello.len() / 2].to_vec()),
        ("a hello in records of one octet each, that stops", fragmented(&hello, 1)[..300].to_vec()),
        ("nothing", Vec::new()),
    ];
    for (_, octets) in &attacks {
        for mut client in both_ways(&secured).unwrap() {
            // It may be closed before all of it is written.
            client.send(octets).ok();
            while !client.is_closed() {} // an alert of ours may come first
        }
    }
    let told = || secured.scene.relay.log().matches("\"decision\":\"tls-handshake\"").count();
    wait_until("each is told of", SOON, || told() == 2 * attacks.len()).unwrap();
    let (_, metrics) = secured.scene.relay.get("/metrics").unwrap();
    assert!(metrics.contains("tls_handshakes_total{result=\"failed\"} 16"), "{metrics}");
    secured.scene.survived(0).unwrap();
}

#[test]
fn c07_a_hello_in_the_smallest_pieces_is_put_together() {
    let secured = Secured::open(&[]).unwrap();
    let hello = client_hello(&secured);
    for (name, octets) in [("segments", hello.clone()), ("records", fragmented(&hello, 1))] {
        for client in both_ways(&secured).unwrap() {
            let mut stream: TcpStream = client.into_stream();
            stream.set_nodelay(true).unwrap();
            for octet in &octets {
                stream.write_all(&[*octet]).unwrap();
            }
            let mut first = [0; 5];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            assert_eq!((first[0], first[1]), (0x16, 3), "a handshake record answers: {name}");
        }
    }
    secured.scene.survived(0).unwrap();
}

#[test]
fn e05_a_handshake_that_is_never_finished_has_its_deadline() {
    let secured = Secured::open(&[QUICK]).unwrap();
    let hello = client_hello(&secured);
    let begun = postern_tests::clock::now();
    let waiting: Vec<_> = (0..20).flat_map(|_| both_ways(&secured).unwrap()).collect();
    for (length, mut client) in waiting.into_iter().enumerate() {
        client.send(&hello[..length]).ok();
        assert!(client.is_closed(), "after {length} octets");
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    secured.scene.survived(0).unwrap();
}

/// Handshakes cost processor time, and that is no attack's: this row has no limit on it.
#[test]
fn e06_idle_connections_with_tls_take_little_memory_and_no_place_of_a_newcomer() {
    let secured = Secured::open(&[("--connections", "150")]).unwrap();
    let before = secured.scene.relay.usage().unwrap().resident;
    let idle: Vec<_> = (0..150).filter_map(|_| secured.implicit(None).ok()).collect();
    assert!(idle.len() > 100, "{}", idle.len());
    let grown = secured.scene.relay.usage().unwrap().resident.saturating_sub(before);
    assert!(grown < 150 * (64 << 10), "{grown} octets for {} connections", idle.len());
    std::thread::sleep(Duration::from_millis(1100)); // nobody makes room before
    secured.scene.stranger().unwrap().say("NOOP", 250).unwrap();
    drop(idle);
}
