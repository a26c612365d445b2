use super::*;

/// Feeds `octets` in pieces of `step`, as a connection does, and tells what came of it.
fn frame(octets: &[u8], step: usize) -> Vec<String> {
    let (mut framer, mut seen, mut kept) = (Framer::new(20, 100), Vec::new(), Vec::new());
    for piece in octets.chunks(step) {
        kept.extend_from_slice(piece);
        loop {
            let consumed = match framer.next(&kept) {
                Framed::Incomplete => break,
                Framed::Line(length) => {
                    seen.push(String::from_utf8_lossy(&kept[..length]).into_owned());
                    length + 2
                }
                Framed::Discard(length) => length,
                Framed::TooLong(length) => {
                    seen.push("too long".into());
                    length
                }
                Framed::Broken(why) => {
                    seen.push(format!("{why:?}"));
                    return seen;
                }
            };
            kept.drain(..consumed);
            if kept.is_empty() {
                break;
            }
        }
        assert!(kept.len() <= 20 + step, "kept {} octets", kept.len());
    }
    seen
}

fn frames(octets: &[u8], expected: &[&str]) {
    for step in [1, 2, 3, 7, octets.len().max(1)] {
        assert_eq!(frame(octets, step), expected, "{:?} in pieces of {step}", String::from_utf8_lossy(octets));
    }
}

#[test]
fn only_crlf_ends_a_line() {
    frames(b"EHLO a\r\n\r\nNOOP\r\nhalf", &["EHLO a", "", "NOOP"]);
    frames(b"NOOP\nRSET\r\n", &["BareLineEnd"]);
    frames(b"NOOP\rRSET\r\n", &["BareLineEnd"]);
    frames(b"NOOP\r\r\n", &["BareLineEnd"]);
    frames(b"NOOP\r\n\nRSET\r\n", &["NOOP", "BareLineEnd"]);
}

#[test]
fn a_line_over_the_limit_is_read_to_its_end_and_the_next_is_in_step() {
    frames(&[&[b'a'; 18][..], b"\r\nNOOP\r\n"].concat(), &["aaaaaaaaaaaaaaaaaa", "NOOP"]);
    frames(&[&[b'a'; 19][..], b"\r\nNOOP\r\n"].concat(), &["too long", "NOOP"]);
    frames(&[&[b'a'; 80][..], b"\r\nNOOP\r\n"].concat(), &["too long", "NOOP"]);
    frames(&[&[b'a'; 40][..], b"\nNOOP\r\n"].concat(), &["BareLineEnd"]);
}

#[test]
fn a_line_without_end_ends_the_connection() {
    for step in [1, 10, 64] {
        assert_eq!(frame(&[b'a'; 300], step), ["Endless"]);
    }
}

#[test]
fn what_is_no_text_ends_the_connection_at_its_first_octet() {
    frames(b"\x16\x03\x01\x02\x00\x01", &["NotText"]);
    frames(b"\r\n\r\n\0\r\nQUIT\n", &["", "", "NotText"]);
    frames(b"\xc3\xa4\r\n", &["NotText"]);
}
