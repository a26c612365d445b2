//! Rows A1 to A15: no octets but CRLF.CRLF end a content, wherever they stand (CVE-2023-51764 and its kin).

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::scene::{MESSAGE_SIZE, SMUGGLED, Scene, codes_until_closed, in_data};

/// A1 to A12: each breaks the content at its first bare CR, bare LF or NUL.
pub(crate) const ENDINGS: [&[u8]; 12] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\r\n.\r\r\n",
];
/// A13: no line end at all, though some take U+2028 for one.
const UNICODE: &[u8] = b"\xe2\x80\xa8.\xe2\x80\xa8";

/// The content is refused, the connection closed, and nothing behind the ending is heard.
fn refused(scene: &Scene, filler: &[u8], ending: &[u8]) -> Result<()> {
    let mut client = scene.stranger_in_data()?;
    // The relay may close before it has read all of this.
    client.send(&[filler, ending, SMUGGLED].concat()).ok();
    let codes = codes_until_closed(&mut client);
    ensure!(codes == [521], "{ending:?} behind {} octets: {codes:?}", filler.len());
    Ok(())
}

/// The content is one message with everything in it.
fn taken(scene: &Scene, filler: &[u8], ending: &[u8], code: u16) -> Result<()> {
    let mut client = scene.stranger_in_data()?;
    client.send(&[filler, ending, SMUGGLED, b"QUIT\r\n"].concat())?;
    let codes = codes_until_closed(&mut client);
    ensure!(codes == [code, 221], "{ending:?} behind {} octets: {codes:?}", filler.len());
    Ok(())
}

/// Header and body of exactly so many octets, in lines that are not too long, the last of which is not ended.
fn filler(octets: usize) -> Vec<u8> {
    let mut filler = b"Subject: a\r\n\r\n".to_vec();
    while filler.len() + 500 < octets {
        filler.extend_from_slice(&[b'x'; 98]);
        filler.extend_from_slice(b"\r\n");
    }
    filler.resize(octets, b'y');
    filler
}

#[test]
fn a01_to_a12_every_other_end_of_data_refuses_the_message_and_closes() {
    let scene = Scene::open().unwrap();
    for ending in ENDINGS {
        refused(&scene, b"Subject: a\r\n\r\ntext", ending).unwrap();
    }
    scene.survived(0).unwrap();
}

#[test]
fn a13_a_unicode_line_separator_ends_nothing() {
    let scene = Scene::open().unwrap();
    taken(&scene, b"Subject: a\r\n\r\ntext", UNICODE, 250).unwrap();
    let mails = scene.survived(1).unwrap();
    let body = [UNICODE, SMUGGLED.strip_suffix(b".\r\n").unwrap()].concat();
    assert!(mails[0].content.ends_with(&body), "{}", String::from_utf8_lossy(&mails[0].content));
}

#[test]
fn a14_an_end_that_comes_octet_by_octet_is_one_end() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger_in_data().unwrap();
    client.send(b"Subject: a\r\n\r\ntext").unwrap();
    for octet in b"\r\n.\r\n" {
        sleep(Duration::from_millis(10));
        client.send(&[*octet]).unwrap();
    }
    client.expect(250).unwrap();
    client.say("QUIT", 221).unwrap();
    let mails = scene.survived(1).unwrap();
    assert!(mails[0].content.ends_with(b"Subject: a\r\n\r\ntext\r\n"));
}

#[test]
fn a15_the_same_at_the_edges_of_every_buffer() {
    let scene = Scene::open().unwrap();
    let offsets = [4095, 4096, 8191, 16_383, 65_535];
    for offset in offsets {
        for ending in ENDINGS {
            refused(&scene, &filler(offset), ending).unwrap();
        }
        let fits = offset + UNICODE.len() + SMUGGLED.len() < MESSAGE_SIZE;
        taken(&scene, &filler(offset), UNICODE, if fits { 250 } else { 552 }).unwrap();
    }
    scene.survived(offsets.len() - 1).unwrap();
}

#[test]
fn a15_the_same_behind_a_message_that_is_too_large_already() {
    let scene = Scene::open().unwrap();
    let filler = filler(2 * MESSAGE_SIZE);
    for ending in ENDINGS {
        refused(&scene, &filler, ending).unwrap();
    }
    taken(&scene, &filler, UNICODE, 552).unwrap();
    scene.survived(0).unwrap();
}

/// Not a row: dots that are stuffed come out as they were, through the whole relay.
#[test]
fn stuffed_dots_arrive_as_they_were_meant() {
    let scene = Scene::open().unwrap();
    let mut client = scene.stranger().unwrap();
    in_data(&mut client).unwrap();
    client.send(b"Subject: a\r\n\r\n..\r\n...two\r\n.. \r\na.b\r\n.\r\n").unwrap();
    client.expect(250).unwrap();
    let mails = scene.survived(1).unwrap();
    assert!(mails[0].content.ends_with(b"Subject: a\r\n\r\n.\r\n..two\r\n. \r\na.b\r\n"), "{mails:?}");
}
