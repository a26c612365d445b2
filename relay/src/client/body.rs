//! The content of a message on its way out: dots doubled where they must be, and the end of it (RFC 5321, section 4.5.2), or
//! as one chunk (RFC 3030, section 2).

use std::future::Future;
use std::io;

/// A message's octets, piece by piece: CRLF line ends only, not dot-stuffed.
pub trait Content: Send {
    /// One piece.
    type Chunk: AsRef<[u8]> + Send;

    /// The next piece, `None` at the end. An error ends the connection before the final dot.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Self::Chunk>>> + Send;
}

/// Doubles the dots at line starts, over any cutting into pieces. Pure.
#[derive(Debug)]
pub(super) struct Stuffer {
    /// Whether any line of the message begins with a dot. When none does, nothing is looked at twice.
    leading_dots: bool,
    at_line_start: bool,
}

impl Stuffer {
    pub(super) fn new(leading_dots: bool) -> Self {
        Self { leading_dots, at_line_start: true }
    }

    /// Appends a piece to `out`.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(last) = piece.last() else { return };
        if self.leading_dots {
            if self.at_line_start && piece[0] == b'.' {
                out.push(b'.');
            }
            let mut copied = 0;
            for line_end in memchr::memchr_iter(b'\n', piece) {
                if piece.get(line_end + 1) == Some(&b'.') {
                    out.extend_from_slice(&piece[copied..=line_end]);
                    out.push(b'.');
                    copied = line_end + 1;
                }
            }
            out.extend_from_slice(&piece[copied..]);
        } else {
            out.extend_from_slice(piece);
        }
        self.at_line_start = *last == b'\n';
    }

    /// Appends the end of the message.
    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// How the end of the content is known.
#[derive(Debug)]
pub(super) enum Framing {
    /// By a dot on a line of its own.
    Dot(Stuffer),
    /// By its length, told before it: so many octets are left.
    Chunk { left: u64 },
}

impl Framing {
    /// One chunk of so many octets.
    pub(super) fn chunk(size: u64) -> Self {
        Self::Chunk { left: size }
    }

    /// Appends what comes before the content.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        if let Self::Chunk { left } = self {
            out.extend_from_slice(format!("BDAT {left} LAST\r\n").as_bytes());
        }
    }

    /// Appends a piece. An error when there is more than was told.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Dot(stuffer) => stuffer.push(piece, out),
            Self::Chunk { left } => {
                *left = left.checked_sub(piece.len() as u64).ok_or_else(wrong_length)?;
                out.extend_from_slice(piece);
            }
        }
        Ok(())
    }

    /// Appends the end. An error when there was less than was told.
    pub(super) fn finish(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Dot(stuffer) => stuffer.finish(out),
            Self::Chunk { left: 0 } => {}
            Self::Chunk { .. } => return Err(wrong_length()),
        }
        Ok(())
    }
}

fn wrong_length() -> io::Error {
    io::Error::other("it has not the length that it had")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(pieces: &[&[u8]], leading_dots: bool) -> String {
        let (mut stuffer, mut out) = (Stuffer::new(leading_dots), Vec::new());
        for piece in pieces {
            stuffer.push(piece, &mut out);
        }
        stuffer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_dots_at_line_starts_only() {
        assert_eq!(wire(&[b".a\r\n.\r\nb.\r\n"], true), "..a\r\n..\r\nb.\r\n.\r\n");
        assert_eq!(wire(&[b"a.b\r\n"], true), "a.b\r\n.\r\n");
        assert_eq!(wire(&[b"plain\r\n"], false), "plain\r\n.\r\n");
    }

    #[test]
    fn ends_an_unfinished_last_line() {
        assert_eq!(wire(&[b"x"], false), "x\r\n.\r\n");
        assert_eq!(wire(&[], false), ".\r\n");
    }

    #[test]
    fn a_chunk_has_the_length_that_was_told_or_fails() {
        let mut out = Vec::new();
        let mut framing = Framing::chunk(6);
        framing.begin(&mut out);
        framing.push(b".\n\r", &mut out).unwrap();
        assert!(framing.finish(&mut Vec::new()).is_err(), "too short");
        framing.push(b"\0..", &mut out).unwrap();
        framing.finish(&mut out).unwrap();
        assert_eq!(out, b"BDAT 6 LAST\r\n.\n\r\0..");
        assert!(framing.push(b"x", &mut out).is_err(), "too long");
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(text in "(\\.|a|\r\n){0,40}", cuts in proptest::collection::vec(0usize..90, 0..6)) {
            let whole = wire(&[text.as_bytes()], true);
            let (mut pieces, mut start) = (Vec::new(), 0);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            for cut in cuts {
                pieces.push(&text.as_bytes()[start..cut]);
                start = cut;
            }
            pieces.push(&text.as_bytes()[start..]);
            prop_assert_eq!(&wire(&pieces, true), &whole);
            prop_assert!(!whole[..whole.len() - 5.min(whole.len())].contains("\r\n.\r\n"));
        }
    }
}
