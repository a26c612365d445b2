//! Content after DATA, in pieces. Nothing but CRLF.CRLF ends it, what comes out has no lone CR or LF, and where the pieces
//! are cut makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_relay::smtp::body::{Broken, Decoder, Step};

/// How it ended, what came out, and how many octets were not looked at.
#[derive(Debug, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    ended: bool,
    broken: Option<Broken>,
}

fn decode(octets: &[u8], piece: usize) -> Decoded {
    let mut decoder = Decoder::new(1000);
    let mut decoded = Decoded { content: Vec::new(), ended: false, broken: None };
    for mut piece in octets.chunks(piece.max(1)) {
        loop {
            match decoder.next(&mut piece) {
                Step::Content(clean) => decoded.content.extend_from_slice(clean),
                Step::More => break,
                Step::End => {
                    decoded.ended = true;
                    return decoded;
                }
                Step::Broken(broken) => {
                    decoded.broken = Some(broken);
                    return decoded;
                }
            }
        }
    }
    decoded
}

fuzz_target!(|octets: &[u8]| {
    let Some((piece, octets)) = octets.split_first() else { return };
    let (whole, cut) = (decode(octets, octets.len()), decode(octets, usize::from(*piece)));
    assert_eq!((whole.ended, whole.broken.is_some()), (cut.ended, cut.broken.is_some()));
    if whole.broken.is_none() {
        assert_eq!(whole.content, cut.content);
    }
    for content in [&whole.content, &cut.content] {
        let mut before = 0;
        for (place, octet) in content.iter().enumerate() {
            assert!(*octet != b'\n' || before == b'\r', "a lone LF came out");
            assert!(before != b'\r' || *octet == b'\n', "a lone CR came out");
            assert!(*octet != 0, "a NUL came out at {place}");
            before = *octet;
        }
    }
    if whole.ended {
        let end = octets.windows(5).position(|window| window == b"\r\n.\r\n");
        assert!(octets.starts_with(b".\r\n") || end.is_some(), "something else ended it");
    }
});
