use proptest::prelude::*;

use super::*;

/// The content, what ended it, and what was left behind the end.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    end: &'static str,
    rest: Vec<u8>,
}

fn decode(octets: &[u8], pieces: usize) -> Decoded {
    let (mut decoder, mut content) = (Decoder::new(1000), Vec::new());
    for (index, piece) in octets.chunks(pieces).enumerate() {
        let mut input = piece;
        loop {
            let end = match decoder.next(&mut input) {
                Step::Content(clean) => {
                    content.extend_from_slice(clean);
                    continue;
                }
                Step::More => break,
                Step::End => "end",
                Step::Broken(Broken::BareCr) => "bare CR",
                Step::Broken(Broken::BareLf) => "bare LF",
                Step::Broken(Broken::Nul) => "NUL",
            };
            let rest = [input, &octets[((index + 1) * pieces).min(octets.len())..]].concat();
            return Decoded { content, end, rest };
        }
        assert!(input.is_empty(), "More, with octets left");
    }
    Decoded { content, end: "more", rest: Vec::new() }
}

/// RFC 5321, section 4.5.2, in the slowest and plainest form: line by line, the whole at once.
fn reference(octets: &[u8]) -> Decoded {
    let (mut content, mut line) = (Vec::new(), Vec::new());
    for (index, &octet) in octets.iter().enumerate() {
        line.push(octet);
        let before = index.checked_sub(1).map(|before| octets[before]);
        let end = match (before, octet) {
            (Some(b'\r'), b'\n') => None,
            (Some(b'\r'), _) => Some("bare CR"),
            (_, b'\n') => Some("bare LF"),
            (_, 0) => Some("NUL"),
            _ => None,
        };
        if let Some(end) = end {
            return Decoded { content: Vec::new(), end, rest: Vec::new() };
        }
        if octet == b'\n' {
            if line == b".\r\n" {
                return Decoded { content, end: "end", rest: octets[index + 1..].to_vec() };
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            line.clear();
        }
    }
    Decoded { content: Vec::new(), end: "more", rest: Vec::new() }
}

fn decodes(octets: &[u8], content: &[u8], end: &str, rest: &[u8]) {
    for pieces in 1..=octets.len() {
        let decoded = decode(octets, pieces);
        assert_eq!(
            (decoded.content.as_slice(), decoded.end, decoded.rest.as_slice()),
            (content, end, rest),
            "pieces of {pieces}"
        );
    }
}

#[test]
fn only_crlf_dot_crlf_ends_the_content() {
    decodes(b"Subject: a\r\n\r\nb\r\n.\r\nQUIT\r\n", b"Subject: a\r\n\r\nb\r\n", "end", b"QUIT\r\n");
    decodes(b".\r\n", b"", "end", b"");
    decodes(b"a.\r\n\r\n.\r\n", b"a.\r\n\r\n", "end", b"");
    decodes(b"a\r\n.", b"a\r\n", "more", b"");
}

#[test]
fn a_stuffed_dot_is_removed_whatever_follows_it() {
    decodes(b"..\r\n...a\r\n.b\r\n.\r\n", b".\r\n..a\r\nb\r\n", "end", b"");
}

#[test]
fn every_other_end_breaks_the_content() {
    for (ending, end) in [
        (&b"\n.\n"[..], "bare LF"),
        (b"\n.\r", "bare LF"),
        (b"\r.\n", "bare CR"),
        (b"\r.\r", "bare CR"),
        (b"\n.\r\n", "bare LF"),
        (b"\r.\r\n", "bare CR"),
        (b"\r\n.\n", "bare LF"),
        (b"\r\n.\rX", "bare CR"),
        (b"\r\n.\r\r\n", "bare CR"),
        (b"\r\n\x00.\r\n", "NUL"),
        (b"\r\n.\x00\r\n", "NUL"),
        (b"\r\r\n.\r\r\n", "bare CR"),
    ] {
        for pieces in 1..=10 {
            let octets = [b"text", ending, b"MAIL FROM:<a@b.test>\r\n"].concat();
            assert_eq!(decode(&octets, pieces).end, end, "{ending:?} in pieces of {pieces}");
        }
    }
}

#[test]
fn a_unicode_line_separator_is_content() {
    decodes(b"\xe2\x80\xa8.\xe2\x80\xa8MAIL\r\n.\r\n", b"\xe2\x80\xa8.\xe2\x80\xa8MAIL\r\n", "end", b"");
}

#[test]
fn notes_a_line_over_the_limit_however_it_is_cut() {
    for (length, overlong) in [(1000, false), (1001, true)] {
        let octets = [&vec![b'a'; length][..], b"\r\n.\r\n"].concat();
        for pieces in [1, 300, 1000, octets.len()] {
            let mut decoder = Decoder::new(1000);
            for mut input in octets.chunks(pieces) {
                while let Step::Content(_) = decoder.next(&mut input) {}
            }
            assert_eq!(decoder.overlong(), overlong, "{length} in pieces of {pieces}");
        }
    }
}

proptest! {
    #[test]
    fn does_as_the_reference_does_however_the_octets_are_cut(octets in "[.\r\na\\x00]{0,24}(\r\n)?[.\r\na]{0,8}", pieces in 1usize..20) {
        let (expected, found) = (reference(octets.as_bytes()), decode(octets.as_bytes(), pieces));
        prop_assert_eq!(expected.end, found.end);
        if expected.end == "end" {
            prop_assert_eq!(expected, found);
        }
    }

    #[test]
    fn does_as_the_reference_does_with_proper_line_ends(lines in prop::collection::vec("[.a]{0,4}", 0..12), pieces in 1usize..20) {
        let octets = lines.join("\r\n");
        prop_assert_eq!(reference(octets.as_bytes()).end, decode(octets.as_bytes(), pieces).end);
        let ended = [octets.as_bytes(), b"\r\n.\r\nrest"].concat();
        prop_assert_eq!(reference(&ended), decode(&ended, pieces));
    }
}
