//! Rows E1 to E6, E8: too much, too long, too slow, too many.

use std::time::Duration;

use postern_tests::clock::now;
use postern_tests::smtp::Client;

use crate::scene::{MESSAGE_SIZE, Scene, codes_until_closed, in_data};

/// Sends as much of it as the relay takes; whether all of it was taken.
fn flood(client: &mut Client, piece: &[u8], octets: usize) -> bool {
    (0..octets.div_ceil(piece.len())).all(|_| client.send(piece).is_ok())
}

#[test]
fn e01_a_command_line_has_a_limit_and_an_end() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    let noop = |octets: usize| format!("NOOP {}", "a".repeat(octets - "NOOP \r\n".len()));
    client.say(&noop(513), 250).unwrap();
    client.say(&noop(2048), 250).unwrap();
    client.say(&noop(2049), 500).unwrap();
    client.say(&noop(16_385), 500).unwrap();
    client.say("NOOP", 250).unwrap();
    let mut endless = scene.stranger().unwrap();
    assert!(!flood(&mut endless, &[b'a'; 64 << 10], 64 << 20), "64 MiB without a line end were read");
    let codes = codes_until_closed(&mut endless);
    assert!(codes.is_empty() || codes == [521], "{codes:?}");
    scene.survived(0).unwrap();
}

#[test]
fn e02_lines_of_content_pass_unchanged_up_to_64_kib() {
    let scene = Scene::with(&[("--body-line", "4096")]).unwrap();
    let mut sent = Vec::new();
    for octets in [998, 1001, 2049, 4094] {
        sent.push([b"Subject: a\r\n\r\n", "a".repeat(octets).as_bytes(), b"\r\n"].concat());
        let mut client = scene.stranger().unwrap();
        in_data(&mut client).unwrap();
        client.send(sent.last().unwrap()).unwrap();
        client.say(".", 250).unwrap();
    }
    let mut client = scene.stranger_in_data().unwrap();
    client.send("a".repeat(4095).as_bytes()).unwrap();
    client.say("\r\n.", 554).unwrap();
    let mut endless = scene.stranger_in_data().unwrap();
    assert!(flood(&mut endless, &[b'a'; 64 << 10], 64 << 20));
    assert!(endless.ask("\r\n.").unwrap().code >= 552);
    endless.say("NOOP", 250).unwrap();
    let mails = scene.survived(sent.len()).unwrap();
    for content in sent {
        assert!(mails.iter().any(|mail| mail.content.ends_with(&content)), "{} octets", content.len());
    }
}

#[test]
fn e03_recipients_over_the_limit_come_back_later_and_too_many_of_them_never() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    for number in 0..150 {
        let expected = if number < 100 { 250 } else { 452 };
        client.say(&format!("RCPT TO:<user{number}@open.test>"), expected).unwrap();
    }
    client.say("DATA", 354).unwrap();
    client.say("Subject: a\r\n\r\nb\r\n.", 250).unwrap();

    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    let flood = (0..100_000).map(|number| format!("RCPT TO:<user{number}@open.test>\r\n")).collect::<String>();
    let writer = std::thread::spawn({
        let mut client = client.another_hand().unwrap();
        move || drop(client.send(flood.as_bytes()))
    });
    let codes = codes_until_closed(&mut client);
    writer.join().unwrap(); // the kernel may have taken all of it, or not
    // The reset of the connection may overtake the last replies.
    assert!(codes.iter().take(100).all(|code| *code == 250) && codes.len() <= 1101, "{} replies", codes.len());
    let mails = scene.survived(1).unwrap();
    assert_eq!(mails[0].recipients.len(), 100);
}

#[test]
fn e04_bad_commands_and_idle_ones_end_at_their_limits() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    for _ in 0..20 {
        client.say("garbage", 500).unwrap();
    }
    client.say("garbage", 421).unwrap();
    assert!(client.is_closed());
    let mut client = scene.stranger().unwrap();
    client.send("RSET\r\n".repeat(1000).as_bytes()).ok();
    let codes = codes_until_closed(&mut client);
    assert!(codes.len() <= 121 && codes.iter().rev().skip(1).all(|code| *code == 250), "{} replies", codes.len());
    scene.survived(0).unwrap();
}

/// Sends `octet` ten times a second until the relay closes; how long that took, and its last word.
fn drip(client: &mut Client, octets: &[u8]) -> (Duration, Vec<u16>) {
    let begun = now();
    let mut hand = client.another_hand().unwrap();
    let octets = octets.to_vec();
    let writer = std::thread::spawn(move || {
        for octet in octets.iter().cycle().take(1000) {
            std::thread::sleep(Duration::from_millis(100));
            if hand.send(&[*octet]).is_err() {
                break;
            }
        }
    });
    let codes = codes_until_closed(client);
    let took = begun.elapsed();
    writer.join().unwrap();
    (took, codes)
}

fn within(took: Duration) {
    assert!((2.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
}

#[test]
fn e05_a_deadline_is_no_idle_timer() {
    let limits = [("--command-time", "2s"), ("--body-time", "2s"), ("--body-rate", "500"), ("--reply-time", "2s")];
    let scene = Scene::with(&limits).unwrap();
    // The bystander is idle for longer than a command may take here; another one takes its place.
    let mut client = scene.stranger().unwrap();
    let (took, codes) = drip(&mut client, b"NOOP");
    within(took);
    assert_eq!(codes, [421], "octet by octet in a command");
    let mut client = scene.stranger_in_data().unwrap();
    let (took, codes) = drip(&mut client, b"a\r\n");
    within(took);
    assert_eq!(codes, [421], "octet by octet in a content");
    let mut client = scene.stranger().unwrap();
    let begun = now();
    assert!(!flood(&mut client, &b"HELP\r\n".repeat(1000), 64 << 20), "replies that nobody reads");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    scene.with_new_bystander().unwrap().survived(0).unwrap();
}

#[test]
fn e08_a_declared_size_is_no_promise() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client.say(&format!("MAIL FROM:<a@stranger.test> SIZE={}", MESSAGE_SIZE + 1), 552).unwrap();
    client.say("MAIL FROM:<a@stranger.test> SIZE=18446744073709551616", 552).unwrap();
    for (parameters, octets, code) in
        [(" SIZE=1", 30 << 20, 552), ("", MESSAGE_SIZE + 2, 552), ("", MESSAGE_SIZE / 2, 250)]
    {
        client.say(&format!("MAIL FROM:<a@stranger.test>{parameters}"), 250).unwrap();
        client.say("RCPT TO:<bob@ours.test>", 250).unwrap();
        client.say("DATA", 354).unwrap();
        let line = [&[b'a'; 62][..], b"\r\n"].concat();
        assert!(flood(&mut client, &line.repeat(if octets > 1 << 20 { 1024 } else { 1 }), octets));
        client.say(".", code).unwrap();
        client.say("NOOP", 250).unwrap();
    }
    scene.survived(1).unwrap();
}

#[test]
fn e06_a_new_client_is_greeted_though_all_places_are_taken_by_the_idle() {
    let scene = Scene::with(&[("--connections", "100")]).unwrap();
    let idle: Vec<_> = (0..300)
        // Those beyond the hundred are told to come back, while nobody has been idle for long.
        .filter_map(|number: u16| Client::connect_from([127, 0, 1, (number % 200) as u8].into(), scene.relay.smtp).ok())
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    let begun = now();
    let mut client = scene.stranger().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "greeted after {:?}", begun.elapsed());
    assert_eq!(client.mail("a@stranger.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap().code, 250);
    drop(idle);
    scene.with_new_bystander().unwrap().survived(1).unwrap();
}
