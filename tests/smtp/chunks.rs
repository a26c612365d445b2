//! Rows A16, A17, A19, B1, B4 to B7: content that comes by BDAT (RFC 3030), and what hides behind it.

use anyhow::Result;
use postern_tests::sink::EVERYTHING;
use postern_tests::smtp::{Client, Reply};

use crate::scene::{MESSAGE_SIZE, SMUGGLED, Scene, codes_until_closed, in_data};
use crate::smuggling::ENDINGS;

/// MAIL with these parameters, and RCPT.
fn ready(client: &mut Client, parameters: &str) -> Result<()> {
    client.say(&format!("MAIL FROM:<a@stranger.test>{parameters}"), 250)?;
    client.say("RCPT TO:<bob@ours.test>", 250)?;
    Ok(())
}

/// One chunk, and its reply.
fn chunk(client: &mut Client, octets: &[u8], last: bool) -> Result<Reply> {
    client.send(format!("BDAT {}{}\r\n", octets.len(), if last { " LAST" } else { "" }).as_bytes())?;
    client.send(octets)?;
    client.reply()
}

/// A message in pieces of this size.
fn chunks(client: &mut Client, parameters: &str, content: &[u8], size: usize) -> Result<Reply> {
    ready(client, parameters)?;
    let mut pieces = content.chunks(size).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let reply = chunk(client, piece, last)?;
        if last || reply.code != 250 {
            return Ok(reply);
        }
    }
    chunk(client, b"", true)
}

/// What would smuggle, if it came out by DATA, never comes in, however it is cut.
#[test]
fn a16_content_that_is_no_lines_is_refused_in_chunks_too() {
    let scene = Scene::open().unwrap();
    for ending in ENDINGS {
        let content = [b"Subject: a\r\n\r\ntext", ending, SMUGGLED].concat();
        for size in [content.len(), 18, 19, 20, 21] {
            for parameters in ["", " BODY=8BITMIME"] {
                let mut client = scene.stranger().unwrap();
                let reply = chunks(&mut client, parameters, &content, size).unwrap();
                assert_eq!((reply.code, &reply.lines[0][..5]), (554, "5.6.0"), "{ending:?} {size}: {reply}");
                client.say("RCPT TO:<bob@ours.test>", 503).unwrap();
                client.say("QUIT", 221).unwrap();
            }
        }
    }
    scene.survived(0).unwrap();
}

/// What may be anything goes by BDAT or not at all: a mail server that has only DATA sees nothing of it, and the sender hears
/// why; one that takes BINARYMIME gets every octet.
#[test]
fn a16_binary_content_never_leaves_by_data() {
    let scene = Scene::open().unwrap();
    let content = |ending: &[u8]| [b"Subject: a\r\n\r\ntext", ending, SMUGGLED, b"\r"].concat();
    for ending in ENDINGS {
        let mut client = scene.stranger().unwrap();
        let binary = [b"From: a@open.test\r\n", &content(ending)[..]].concat();
        client.say("MAIL FROM:<author@open.test> BODY=BINARYMIME", 250).unwrap();
        client.say("RCPT TO:<bob@ours.test>", 250).unwrap();
        client.say("DATA", 503).unwrap();
        assert_eq!(chunk(&mut client, &binary, true).unwrap().code, 250, "{ending:?}");
    }
    let mails = scene.survived(ENDINGS.len()).unwrap();
    for mail in mails {
        let text = String::from_utf8(mail.content).unwrap();
        assert!(mail.sender.starts_with("<>") && mail.recipients == ["<author@open.test>"], "{text}");
        assert!(text.contains("Status: 5.6.3") && !text.contains("SMUGGLED"), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "{text:?}");
    }

    let scene = Scene::open().unwrap();
    scene.sink.answer("EHLO", EVERYTHING);
    for ending in ENDINGS {
        let mut client = scene.stranger().unwrap();
        assert_eq!(chunks(&mut client, " BODY=BINARYMIME", &content(ending), 1024).unwrap().code, 250);
    }
    let mails = scene.survived(ENDINGS.len()).unwrap();
    for ending in ENDINGS {
        assert!(mails.iter().any(|mail| mail.content.ends_with(&content(ending))), "{ending:?}");
    }
    assert!(mails.iter().all(|mail| mail.sender.contains(" BODY=BINARYMIME")), "{mails:?}");
}

/// Lines are content, whatever they look like: by DATA they go on with their dots stuffed.
#[test]
fn a16_a17_what_ends_data_is_text_in_a_chunk() {
    let scene = Scene::open().unwrap();
    let content = [b"Subject: a\r\n\r\n.\r\n..\r\n", SMUGGLED, b"BDAT 3 LAST\r\n.\r\n.no line end"].concat();
    let sizes = [1024, content.len(), 19, 18, 17, 16];
    for size in sizes {
        let mut client = scene.stranger().unwrap();
        assert_eq!(chunks(&mut client, "", &content, size).unwrap().code, 250);
        client.say("QUIT", 221).unwrap();
    }
    let mails = scene.survived(sizes.len()).unwrap();
    let arrived = [&content[..], b"\r\n"].concat();
    for mail in mails {
        assert!(mail.content.ends_with(&arrived), "{}", String::from_utf8_lossy(&mail.content));
    }
}

#[test]
fn a17_a_bdat_inside_data_is_text() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger_in_data().unwrap();
    client.send(b"Subject: a\r\n\r\nBDAT 10 LAST\r\n0123456789\r\n.\r\nQUIT\r\n").unwrap();
    assert_eq!(codes_until_closed(&mut client), [250, 221]);
    let mails = scene.survived(1).unwrap();
    assert!(mails[0].content.ends_with(b"\r\n\r\nBDAT 10 LAST\r\n0123456789\r\n"));
}

/// Our own field stands before the content and touches nothing of it, wherever the header ends.
#[test]
fn a19_our_own_field_changes_no_framing() {
    let scene = Scene::open().unwrap();
    let contents: [&[u8]; 9] = [
        b"",
        b"\r\n",
        b".\r\n",
        b".\r\n.\r\nMAIL FROM:<smuggled@x.test>\r\n",
        b" folded\r\n\r\nbody\r\n",
        b"\tfolded\r\n.\r\n",
        b"no header at all\r\n",
        b"Subject: a\r\n",
        b"\r\n.\r\n\r\nbody\r\n",
    ];
    for content in contents {
        let mut client = scene.stranger().unwrap();
        ready(&mut client, "").unwrap();
        assert_eq!(chunk(&mut client, content, true).unwrap().code, 250, "{content:?}");
        in_data(&mut client).unwrap();
        let stuffed = String::from_utf8(content.to_vec()).unwrap().replace("\r\n.", "\r\n..");
        client.send(if content.starts_with(b".") { b"." } else { b"" }).unwrap();
        client.send(stuffed.as_bytes()).unwrap();
        client.say(".", 250).unwrap();
        client.say("QUIT", 221).unwrap();
    }
    let mails = scene.survived(2 * contents.len()).unwrap();
    for content in contents {
        let exact = mails.iter().filter(|mail| {
            let text = String::from_utf8_lossy(&mail.content);
            let fields = text.find(";\r\n\t").and_then(|at| Some(at + 4 + text[at + 4..].find("\r\n")? + 2));
            let rest = fields.map(|end| &mail.content[end..]).unwrap_or_default();
            match content.first() {
                // What would fold our field is parted from it.
                Some(b' ' | b'\t') => rest.strip_prefix(b"\r\n") == Some(content),
                _ => rest == content,
            }
        });
        assert_eq!(exact.count(), 2, "{:?}: {mails:?}", String::from_utf8_lossy(content));
    }
}

#[test]
fn b01_a_refused_chunk_leaves_no_transaction() {
    let scene = Scene::open().unwrap();
    let too_large = "x\r\n".repeat(30_000);
    let looping = "Received: a\r\n".repeat(60);
    for (content, code) in [("01234\n6789", 554), (&*too_large, 552), (&looping, 554)] {
        for last in [true, false] {
            let mut client = scene.stranger().unwrap();
            ready(&mut client, "").unwrap();
            let reply = chunk(&mut client, content.as_bytes(), last).unwrap();
            if !last && content == looping {
                assert_eq!(reply.code, 250);
                continue;
            }
            assert_eq!(reply.code, code, "{last}: {reply}");
            for line in ["DATA", "RCPT TO:<bob@ours.test>", "BDAT 0 LAST", "DATA"] {
                client.say(line, 503).unwrap();
            }
            assert_eq!(chunks(&mut client, "", b"Subject: second\r\n\r\n", 100).unwrap().code, 250);
        }
    }
    let mut client = scene.stranger().unwrap();
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    client.say("RCPT TO:<nobody@ours.test>", 550).unwrap();
    assert_eq!(chunk(&mut client, b"0123456789", true).unwrap().code, 554);
    client.say("DATA", 503).unwrap();
    assert_eq!(scene.survived(5).unwrap().len(), 5);
}

#[test]
fn b04_a_flood_of_tiny_chunks_has_an_end() {
    let scene = Scene::open().unwrap();
    for tiny in [&b"BDAT 1\r\nx"[..], b"BDAT 0\r\n"] {
        let mut client = scene.stranger().unwrap();
        ready(&mut client, "").unwrap();
        let mut hand = client.another_hand().unwrap();
        let flood = tiny.repeat(10_000);
        let writer = std::thread::spawn(move || (0..100).all(|_| hand.send(&flood).is_ok()));
        let codes = codes_until_closed(&mut client);
        assert!(!writer.join().unwrap(), "a million chunks were read");
        let (last, rest) = codes.split_last().unwrap();
        // The reset of the connection may overtake the last word.
        assert!([250, 421].contains(last) && rest.len() <= 120 && rest.iter().all(|code| *code == 250), "{codes:?}");
    }
    // A message in honest pieces of a hundred octets is no flood, up to a hundred of them.
    let mut client = scene.stranger().unwrap();
    let content = [b"Subject: a\r\n\r\n", &b"x\r\n".repeat(2000)[..]].concat();
    assert_eq!(chunks(&mut client, "", &content, 100).unwrap().code, 250);
    scene.survived(1).unwrap();
}

/// CVE-2017-16943.
#[test]
fn b05_a_long_line_then_data_then_bdat() {
    let scene = Scene::open().unwrap();
    let long = [&[b'a'; 0x1100][..], b"\x7f\r\n"].concat();
    let mut client = scene.stranger().unwrap();
    ready(&mut client, "").unwrap();
    client.send(&long).unwrap();
    client.expect(500).unwrap();
    client.send(&[b"DATA\r\n", &b"BDAT 1\r\n:BDAT \x7f\r\n"[..], b"bdat \r\n"].concat()).unwrap();
    assert_eq!(codes_until_closed(&mut client), [554], "DATA is the last of its group");
    let mut client = scene.stranger().unwrap();
    client.send(&[&long[..], b"BDAT 1\r\n:BDAT \x7f\r\n", b"NOOP\r\n"].concat()).unwrap();
    assert_eq!(codes_until_closed(&mut client), [500, 503, 501]);
    let mut client = scene.stranger().unwrap();
    ready(&mut client, "").unwrap();
    client.send(&[&long[..], b"BDAT 1\r\n:bdat \r\n"].concat()).unwrap();
    assert_eq!(codes_until_closed(&mut client), [500, 250, 501]);
    scene.survived(0).unwrap();
}

/// CVE-2017-16944.
#[test]
fn b06_a_chunk_that_never_comes_is_waited_for_and_costs_nothing() {
    let scene = Scene::with(&[("--body-time", "2s")]).unwrap();
    let mut clients: Vec<_> =
        [&b"BDAT 10\r\n.\r\n"[..], b"BDAT 10 LAST\r\n.\r\n", b"BDAT 1\r\n", b"BDAT 1073741824\r\n.\r\n"]
            .into_iter()
            .map(|start| {
                let mut client = scene.stranger().unwrap();
                ready(&mut client, "").unwrap();
                client.send(start).unwrap();
                client
            })
            .collect();
    let mut refused = scene.stranger().unwrap();
    refused.send(b"BDAT 10 LAST\r\n.\r\n").unwrap();
    clients.push(refused);
    for client in &mut clients {
        assert_eq!(codes_until_closed(client), [421]);
    }
    scene.survived(0).unwrap();
}

/// CVE-2020-28019, CVE-2020-28024.
#[test]
fn b07_a_length_is_a_number_or_the_end() {
    let scene = Scene::open().unwrap();
    for line in [
        "BDAT 18446744073709551615",
        "BDAT 18446744073709551616",
        "BDAT 99999999999999999999999999",
        "BDAT 18446744073709551615 LAST",
        "BDAT 1099511627776",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1 LAST x",
        "BDAT 1 FIRST",
        "BDAT 0x1",
        "BDAT 1.0",
        "BDAT",
        "BDAT ",
        "BDAT LAST",
        "BDAT \u{661}",
    ] {
        for is_ready in [true, false] {
            let mut client = scene.stranger().unwrap();
            if is_ready {
                ready(&mut client, "").unwrap();
            }
            client.send(format!("{line}\r\nNOOP\r\n").as_bytes()).unwrap();
            assert_eq!(codes_until_closed(&mut client), [501], "{line}");
        }
    }
    let mut client = scene.stranger().unwrap();
    assert_eq!(chunk(&mut client, b"QUIT\r\n", true).unwrap().code, 503, "before MAIL");
    client.say("MAIL FROM:<a@stranger.test>", 250).unwrap();
    assert_eq!(chunk(&mut client, b"QUIT\r\n", true).unwrap().code, 503, "before RCPT");
    ready(&mut client, "").unwrap();
    assert_eq!(chunk(&mut client, b"RSET\r\n", false).unwrap().code, 250, "RSET inside a chunk is content");
    client.say("DATA", 503).unwrap();
    client.say("RSET", 250).unwrap();
    client.say("BDAT 0 LAST", 503).unwrap();
    ready(&mut client, "").unwrap();
    assert_eq!(chunk(&mut client, &[b'a'; 2 * MESSAGE_SIZE], false).unwrap().code, 552, "read to its end");
    client.say("QUIT", 221).unwrap();
    scene.survived(0).unwrap();
}

/// Not a row: the size limit holds for all chunks together, and one that cannot fit is never kept.
#[test]
fn chunks_together_have_the_limit_of_a_message() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    ready(&mut client, "").unwrap();
    let line = [&[b'a'; 1022][..], b"\r\n"].concat();
    for _ in 0..63 {
        assert_eq!(chunk(&mut client, &line, false).unwrap().code, 250);
    }
    assert_eq!(chunk(&mut client, &line.repeat(2), true).unwrap().code, 552);
    let fits = line.repeat(63);
    assert_eq!(chunks(&mut client, "", &fits, 10_000).unwrap().code, 250);
    let mails = scene.survived(1).unwrap();
    assert!(mails[0].content.ends_with(&fits));
}

/// Not a row: a client that sends all its chunks without waiting, and stops in the middle of the last.
#[test]
fn b06_a_client_that_leaves_in_a_chunk_leaves_nothing() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    client
        .send(
            b"MAIL FROM:<a@stranger.test>\r\nRCPT TO:<bob@ours.test>\r\nBDAT 12\r\nSubject: a\r\nBDAT 10 LAST\r\n\r\n",
        )
        .unwrap();
    client.shut().unwrap();
    assert_eq!(codes_until_closed(&mut client), [250, 250, 250]);
    scene.survived(0).unwrap();
}
