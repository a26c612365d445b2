//! Rows E1 to E6, E8 to E10: too much, too long, too slow, too many.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use postern_tests::clock::{now, wait_until};
use postern_tests::smtp::Client;
use socket2::SockRef;

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
    let writer = thread::spawn({
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
    let writer = thread::spawn(move || {
        for octet in octets.iter().cycle().take(1000) {
            thread::sleep(Duration::from_millis(100));
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
    // The relay began to count a little before the test did.
    assert!((1.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
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
    thread::sleep(Duration::from_millis(1500));
    let begun = now();
    let mut client = scene.stranger().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "greeted after {:?}", begun.elapsed());
    assert_eq!(client.mail("a@stranger.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap().code, 250);
    drop(idle);
    scene.with_new_bystander().unwrap().survived(1).unwrap();
}

/// As many as fit into the limit on open files of most systems, twice: ours and the relay's.
const IDLE: usize = 10_000;

#[test]
fn e06_ten_thousand_idle_connections_from_two_hundred_addresses() {
    let scene = Scene::open().unwrap();
    let relay = scene.relay.smtp;
    let greeted = |number: usize| -> anyhow::Result<TcpStream> {
        let source = [127, 0, 1, u8::try_from(number % 200)?];
        let mut client = Client::connect_from(source.into(), relay)?;
        client.expect(220)?;
        Ok(client.into_stream())
    };
    let crowd = |first: usize| (first..IDLE).step_by(4).filter_map(|number| greeted(number).ok()).collect::<Vec<_>>();
    let idle: Vec<TcpStream> = thread::scope(|scope| {
        let crowds: Vec<_> = (0..4).map(|first| scope.spawn(move || crowd(first))).collect();
        crowds.into_iter().flat_map(|crowd| crowd.join().unwrap()).collect()
    });
    // One seat is the bystander's.
    assert!(idle.len() >= IDLE - 1, "only {} are connected: ulimit -n?", idle.len());
    thread::sleep(Duration::from_millis(1100));
    for _ in 0..10 {
        let begun = now();
        let mut client = scene.stranger().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "greeted after {:?}", begun.elapsed());
        assert_eq!(client.mail("a@stranger.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap().code, 250);
    }
    scene.with_new_bystander().unwrap().with_cpu(Duration::from_secs(5)).survived(10).unwrap();
    drop(idle);
}

#[test]
fn e09_a_client_that_hangs_up_before_the_answer_is_served_at_most_once() {
    let scene = Scene::open().unwrap();
    let content = |number: usize| format!("Subject: {number}\r\n\r\nb\r\n.\r\n");
    for number in 0..40 {
        let mut client = scene.stranger_in_data().unwrap();
        client.send(content(number).as_bytes()).unwrap();
        if number % 2 == 0 {
            client.shut().unwrap();
            assert_eq!(codes_until_closed(&mut client), [250], "a half-closed connection still hears");
        } else {
            SockRef::from(&client.into_stream()).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    // Nothing comes of the second half of a message, or of a message without its end.
    let mut client = scene.stranger_in_data().unwrap();
    client.send(b"Subject: never\r\n\r\nb\r\n.\r").unwrap();
    client.shut().unwrap();
    assert!(codes_until_closed(&mut client).is_empty());
    let idle = || scene.relay.get("/metrics").is_ok_and(|(_, text)| text.contains("smtp_open_connections 1\n"));
    wait_until("all but the bystander are gone", Duration::from_secs(60), idle).unwrap();
    let arrived = scene.sink.wait_for_mails(20, Duration::from_secs(60)).unwrap().len();
    let settled = || scene.relay.get("/metrics").is_ok_and(|(_, text)| text.contains("spool_messages 0\n"));
    wait_until("the queue is empty", Duration::from_secs(60), settled).unwrap();
    let mails = scene.sink.mails();
    assert!((20..=40).contains(&mails.len()), "{arrived}");
    for number in 0..40 {
        let subject = format!("Subject: {number}\r\n");
        let times = mails.iter().filter(|mail| String::from_utf8_lossy(&mail.content).contains(&subject)).count();
        assert!(times == 1 || (times == 0 && number % 2 == 1), "{number} arrived {times} times");
    }
    scene.survived(mails.len()).unwrap();
}

/// Sends messages of 50 recipients until one is refused; how many were taken, and by what the next was refused.
fn fill(relay: SocketAddr, body: &[u8], taken: &AtomicUsize, full: &AtomicBool) -> anyhow::Result<u16> {
    let mut client = Client::greeted(relay)?;
    let recipients: String = (0..50).map(|number| format!("RCPT TO:<user{number}@open.test>\r\n")).collect();
    while !full.load(Ordering::Relaxed) && taken.load(Ordering::Relaxed) < 10_000 {
        client.send(format!("MAIL FROM:<>\r\n{recipients}DATA\r\n").as_bytes())?;
        let mut codes = vec![client.reply()?.code];
        for _ in 0..51 {
            codes.push(client.reply()?.code);
        }
        if codes[0] == 250 {
            client.send(body)?;
            codes[0] = client.ask(".")?.code; // what was under way when the last room was given away
        }
        if codes[0] != 250 {
            full.store(true, Ordering::Relaxed);
            return Ok(codes[0]);
        }
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(0)
}

/// The spool's own limit is reached long before the disk's, at MAIL, and nothing that was taken is lost. So much mail has its
/// price: of the oracles memory and the bystander hold, and the mail server gets all of it.
#[test]
fn e10_a_queue_that_cannot_be_worked_off_takes_no_more_mail() {
    let soon =
        [("--host-retry-first", "1s"), ("--host-retry-max", "1s"), ("--retry-first", "1s"), ("--retry-max", "1s")];
    let scene = Scene::with(&[&[("--spool-size", "256Mi")][..], &soon].concat()).unwrap();
    scene.sink.answer("EHLO", "421 4.3.2 down");
    let (taken, full) = (AtomicUsize::new(0), AtomicBool::new(false));
    let body = [b"Subject: a\r\n\r\n", &[&[b'x'; 998][..], b"\r\n"].concat().repeat(60)[..]].concat();
    let codes: Vec<u16> = thread::scope(|scope| {
        let fillers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| fill(scene.relay.smtp, &body, &taken, &full).unwrap())).collect();
        fillers.into_iter().map(|filler| filler.join().unwrap()).collect()
    });
    let taken = taken.into_inner();
    assert!(codes.contains(&452) && codes.iter().all(|code| [0, 452].contains(code)), "{codes:?}, {taken} taken");
    assert!((1000..10_000).contains(&taken), "{taken} messages before the limit");
    let used = scene.relay.disk_usage().unwrap();
    assert!(used <= 280 << 20, "{used} octets on the disk");
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 452).unwrap();
    let grown = scene.relay.usage().unwrap().resident_peak;
    assert!(grown < 256 << 20, "{grown} octets of memory");
    scene.sink.answer_normally();
    let mails = scene.sink.wait_for_mails(taken, Duration::from_secs(240)).unwrap();
    assert_eq!(mails.len(), taken);
    assert!(mails.iter().all(|mail| mail.recipients.len() == 50));
    wait_until("there is room again", Duration::from_secs(60), || {
        client.say("MAIL FROM:<a@stranger.test>", 250).is_ok()
    })
    .unwrap();
}
