//! Looks at content that comes by BDAT (RFC 3030), in pieces of any size.
//!
//! Nothing is stuffed in it, and it ends where its last chunk ends, so it is kept as it came. But it may go on by DATA, where
//! a lone CR or LF is what smuggling is made of: it must be lines that end with CRLF, without a NUL, like all other content.
//! Only what was declared BINARYMIME may hold any octet, behind its header section.

use memchr::memchr3;

pub use super::body::Broken;

/// What was seen so far of one content.
#[derive(Debug)]
pub struct Checker {
    /// Behind the header section anything goes.
    binary: bool,
    state: State,
    line: u64,
    line_max: u64,
    overlong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No octet of this line was seen.
    LineStart,
    InLine,
    /// A CR was seen, with something before it on its line or not.
    Cr {
        empty: bool,
    },
    /// Behind the header section of BINARYMIME.
    Free,
}

impl Checker {
    /// Lines longer than `line_max` octets, without their CRLF, are noted.
    pub fn new(line_max: u64, binary: bool) -> Self {
        Self { binary, state: State::LineStart, line: 0, line_max, overlong: false }
    }

    /// The next octets. After an error nothing of the content may be kept.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Broken> {
        let mut at = 0;
        while at < octets.len() && self.state != State::Free {
            if let State::Cr { empty } = self.state {
                if octets[at] != b'\n' {
                    return Err(Broken::BareCr);
                }
                at += 1;
                self.line = 0;
                self.state = if empty && self.binary { State::Free } else { State::LineStart };
                continue;
            }
            let Some(found) = memchr3(b'\r', b'\n', 0, &octets[at..]) else {
                self.count(octets.len() - at);
                break;
            };
            self.count(found);
            at += found;
            match octets[at] {
                b'\r' => self.state = State::Cr { empty: self.state == State::LineStart },
                b'\n' => return Err(Broken::BareLf),
                _ => return Err(Broken::Nul),
            }
            at += 1;
        }
        Ok(())
    }

    /// The content ends here; its last line need not. Whether a line was too long.
    pub fn end(&self) -> Result<bool, Broken> {
        match self.state {
            State::Cr { .. } => Err(Broken::BareCr),
            _ => Ok(self.overlong),
        }
    }

    fn count(&mut self, octets: usize) {
        if octets > 0 {
            self.state = State::InLine;
        }
        self.line += octets as u64;
        self.overlong |= self.line > self.line_max;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::body::{Decoder, Step};

    fn check(pieces: &[&[u8]], binary: bool) -> Result<bool, Broken> {
        let mut checker = Checker::new(10, binary);
        for piece in pieces {
            checker.take(piece)?;
        }
        checker.end()
    }

    #[test]
    fn lines_pass_with_or_without_the_last_line_end_and_nothing_else_does() {
        for content in [&b""[..], b"a\r\n", b"a", b"\r\n\r\n", b".\r\n", b"a: b\r\n\r\n.\r\n\xff"] {
            assert_eq!(check(&[content], false), Ok(false), "{content:?}");
        }
        for (content, why) in [
            (&b"a\n"[..], Broken::BareLf),
            (b"\n", Broken::BareLf),
            (b"a\rb", Broken::BareCr),
            (b"a\r\r\n", Broken::BareCr),
            (b"a\r", Broken::BareCr),
            (b"\0", Broken::Nul),
            (b"a\r\n\r\n\r\n\n", Broken::BareLf),
        ] {
            assert_eq!(check(&[content], false), Err(why), "{content:?}");
        }
        assert_eq!(check(&[b"0123456789\r\n0123456789"], false), Ok(false));
        assert_eq!(check(&[b"0123456789", b"0\r\n"], false), Ok(true));
    }

    #[test]
    fn binary_content_may_hold_anything_behind_its_header() {
        for content in [&b"a: b\r\n\r\n\n\r\0"[..], b"\r\n\r", b"a: b\r\n\r\n01234567890123456789"] {
            assert_eq!(check(&[content], true), Ok(false), "{content:?}");
        }
        for (content, why) in [
            (&b"a: b\n\r\n"[..], Broken::BareLf),
            (b"a: b\r\nc: d\ne: f\r\n\r\n", Broken::BareLf),
            (b"a: b\0\r\n\r\n", Broken::Nul),
            (b"a\r", Broken::BareCr),
        ] {
            assert_eq!(check(&[content], true), Err(why), "{content:?}");
        }
    }

    proptest! {
        /// However it is cut; and what passes is what DATA would take, too.
        #[test]
        fn cutting_changes_nothing_and_data_agrees(text in "[ab.\r\n\0]{0,30}|(\\.?a?\r\n){0,9}", cut in 0usize..60, binary: bool) {
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            let whole = check(&[text.as_bytes()], binary);
            prop_assert_eq!(&check(&[first, second], binary), &whole);
            let stuffed = format!("{text}\r\n").replace("\n.", "\n..");
            let stuffed = format!("{}{stuffed}.\r\n", if text.starts_with('.') { "." } else { "" });
            let (mut decoder, mut rest) = (Decoder::new(10), stuffed.as_bytes());
            let data = loop {
                match decoder.next(&mut rest) {
                    Step::Content(_) => {}
                    Step::End => break Ok(decoder.overlong()),
                    Step::Broken(why) => break Err(why),
                    Step::More => panic!("no end"),
                }
            };
            // A CR at the very end is broken, though DATA's own CRLF behind it would make a line end of it.
            if !binary && !text.ends_with('\r') {
                prop_assert_eq!(whole, data);
            }
        }
    }
}
