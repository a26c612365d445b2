//! Clients that come through a trusted proxy, beside those that come by themselves.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use postern_tests::clock::now;
use postern_tests::smtp::Client;

use crate::scene::{SOURCE, Scene, codes_until_closed};
use crate::secured::Secured;

/// Where the trusted proxy connects from.
const PROXY: &str = "127.0.0.3";
const TRUSTED: (&str, &str) = ("--proxy-from", "127.0.0.3/32,192.0.2.0/24");
const CONTENT: &[u8] = b"Subject: a\r\n\r\nb\r\n";

/// A version 2 header for TCP over IPv4.
fn binary(client: [u8; 4], local: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + tlvs.len()).unwrap().to_be_bytes();
    let fixed = [&b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"[..], &length].concat();
    [&fixed[..], &client, &local, &[1, 2, 0, 25], tlvs].concat()
}

fn through_proxy(scene: &Scene, header: &[u8]) -> Result<Client> {
    let mut client = Client::connect_from(PROXY.parse::<IpAddr>()?, scene.relay.smtp)?;
    client.send(header)?;
    client.expect(220)?;
    client.say("EHLO client.test", 250)?;
    Ok(client)
}

/// Whether it may send as ours to the world.
fn is_source(client: &mut Client) -> Result<bool> {
    client.say("MAIL FROM:<bob@ours.test>", 250)?;
    let reply = client.ask("RCPT TO:<victim@evil.test>")?;
    client.say("RSET", 250)?;
    Ok(reply.code == 250)
}

#[test]
fn the_address_that_a_trusted_proxy_names_counts_everywhere() {
    let scene = Scene::with(&[TRUSTED]).unwrap();
    let named = format!("PROXY TCP4 {SOURCE} 192.0.2.25 1000 25\r\n");
    let mut client = through_proxy(&scene, named.as_bytes()).unwrap();
    assert!(is_source(&mut client).unwrap());
    assert_eq!(client.mail("bob@ours.test", &["bob@ours.test", "postmaster@[192.0.2.25]"], CONTENT).unwrap().code, 250);
    let header = binary([127, 0, 0, 2], [192, 0, 2, 25], &[4, 0, 3, 0, 0, 0]);
    assert!(is_source(&mut through_proxy(&scene, &header).unwrap()).unwrap());
    let mut stranger = through_proxy(&scene, &binary([198, 51, 100, 7], [192, 0, 2, 25], &[])).unwrap();
    assert!(!is_source(&mut stranger).unwrap());
    let log = scene.relay.log();
    assert!(log.contains("\"client\":\"127.0.0.2\",\"proxy\":\"127.0.0.3\""), "{log}");
    assert!(log.contains("\"client\":\"198.51.100.7\",\"proxy\":\"127.0.0.3\""), "{log}");
    let mails = scene.survived(1).unwrap();
    let received = String::from_utf8_lossy(&mails[0].content).into_owned();
    assert!(received.contains("Received: from client.test ([127.0.0.2])"), "{received}");
}

#[test]
fn plain_clients_come_to_the_same_listener_and_must_not_name_anybody() {
    let scene = Scene::with(&[TRUSTED]).unwrap();
    assert!(is_source(&mut scene.client_at(SOURCE).unwrap()).unwrap());
    for header in [b"PROXY TCP4 127.0.0.2 127.0.0.1 1000 25\r\n".to_vec(), binary([127, 0, 0, 2], [127, 0, 0, 1], &[])]
    {
        let mut client = Client::connect(scene.relay.smtp).unwrap();
        client.send(&header).unwrap();
        assert_eq!(codes_until_closed(&mut client).last(), Some(&521));
    }
    scene.survived(0).unwrap();
}

#[test]
fn a_trusted_proxy_that_names_nobody_is_served_and_is_no_source() {
    // Even where the proxy's own address is a source's.
    let options = [("--proxy-from", "127.0.0.2/32"), ("--proxy-header-time", "1s")];
    let scene = Scene::with(&options).unwrap();
    let local = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00";
    let headers: [&[u8]; 3] = [b"", b"PROXY UNKNOWN\r\n", local];
    for header in headers {
        let mut client = Client::connect_from(SOURCE.parse().unwrap(), scene.relay.smtp).unwrap();
        client.send(header).unwrap();
        client.expect(220).unwrap();
        client.say("EHLO client.test", 250).unwrap();
        assert!(!is_source(&mut client).unwrap(), "{header:?}");
        assert_eq!(client.mail("a@stranger.test", &["bob@ours.test"], CONTENT).unwrap().code, 250);
    }
    // Its health checks say nothing, and are not told of.
    let told = || scene.relay.log().matches("\"client\":\"127.0.0.2\"").count();
    let before = told();
    for _ in 0..20 {
        drop(Client::connect_from(SOURCE.parse().unwrap(), scene.relay.smtp).unwrap());
    }
    let mut client = Client::connect_from(SOURCE.parse().unwrap(), scene.relay.smtp).unwrap();
    client.expect(220).unwrap();
    client.say("QUIT", 221).unwrap();
    assert_eq!(told(), before, "{}", scene.relay.log());
    scene.survived(3).unwrap();
}

#[test]
fn an_address_that_is_never_a_source_is_none() {
    let scene = Scene::with(&[TRUSTED, ("--never-source", "127.0.0.2/32,10.0.0.0/8")]).unwrap();
    assert!(!is_source(&mut scene.client_at(SOURCE).unwrap()).unwrap());
    let header = binary([127, 0, 0, 2], [127, 0, 0, 1], &[]);
    assert!(!is_source(&mut through_proxy(&scene, &header).unwrap()).unwrap(), "nor through a proxy");
    scene.survived(0).unwrap();
}

#[test]
fn b12_a_header_may_come_in_pieces_and_a_broken_one_is_the_end() {
    let scene = Scene::with(&[TRUSTED]).unwrap();
    for header in
        [format!("PROXY TCP4 {SOURCE} 127.0.0.1 1 2\r\n").into_bytes(), binary([127, 0, 0, 2], [127, 0, 0, 1], &[])]
    {
        let mut client = Client::connect_from(PROXY.parse().unwrap(), scene.relay.smtp).unwrap();
        for octet in header {
            client.send(&[octet]).unwrap();
        }
        client.expect(220).unwrap();
        client.say("EHLO client.test", 250).unwrap();
        assert!(is_source(&mut client).unwrap());
    }
    let broken = [
        b"PROXY TCP4 127.0.0.2 127.0.0.1 99999 25\r\nEHLO a\r\n".to_vec(),
        [b"PROXY TCP4 ", &[b'1'; 4000][..]].concat(),
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c".to_vec(),
    ];
    for header in broken {
        let mut client = Client::connect_from(PROXY.parse().unwrap(), scene.relay.smtp).unwrap();
        // It may be closed before all of it is written.
        client.send(&header).ok();
        assert!(codes_until_closed(&mut client).is_empty(), "{header:?}");
    }
    assert_eq!(scene.relay.log().matches("\"decision\":\"proxy-header\"").count(), 4);
    scene.survived(0).unwrap();
}

#[test]
fn b12_a_header_that_drips_has_its_deadline() {
    let scene = Scene::with(&[TRUSTED, ("--proxy-header-time", "1s")]).unwrap();
    let begun = now();
    let mut client = Client::connect_from(PROXY.parse().unwrap(), scene.relay.smtp).unwrap();
    client.send(b"PROXY TCP4 127.0.").unwrap();
    client.expect(220).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    client.send(b"0.2 127.0.0.1 1 2\r\n").unwrap();
    assert_eq!(codes_until_closed(&mut client), [521]);
    scene.survived(0).unwrap();
}

#[test]
fn tls_comes_behind_the_header() {
    let secured = Secured::open(&[TRUSTED]).unwrap();
    let mut client = Client::connect_from(PROXY.parse().unwrap(), secured.smtps).unwrap();
    client.send(format!("PROXY TCP4 {SOURCE} 127.0.0.1 1 2\r\n").as_bytes()).unwrap();
    let mut client = client.secure(&secured.authority.trusting(None).unwrap(), "mx.test").unwrap();
    client.expect(220).unwrap();
    client.say("EHLO client.test", 250).unwrap();
    assert!(is_source(&mut client).unwrap());
    // Without a header the handshake is not waited for in vain.
    let client = Client::connect_from(PROXY.parse().unwrap(), secured.smtps).unwrap();
    let mut client = client.secure(&secured.authority.trusting(None).unwrap(), "mx.test").unwrap();
    client.expect(220).unwrap();
    secured.scene.survived(0).unwrap();
}
