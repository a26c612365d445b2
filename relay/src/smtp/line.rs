//! Cuts the client's octets into command lines (RFC 5321, section 2.3.8).
//!
//! Only CRLF ends a line. A CR or LF alone, and a line that begins with anything but printable ASCII (a TLS handshake,
//! a binary PROXY header), is broken: there is no agreement any more about where a command begins, so the connection
//! ends. A line over the limit is read to its end and refused, up to `Framer::discard_max`; it is never kept.

use memchr::memchr2;

/// The cutter of one connection.
#[derive(Debug)]
pub struct Framer {
    line_max: usize,
    discard_max: usize,
    discarded: usize,
}

/// What stands at the start of the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A line of so many octets, without its CRLF of two more.
    Line(usize),
    /// The line is not complete; nothing is to be consumed.
    Incomplete,
    /// So many octets belong to a line that is too long, and its end is not seen yet: consume them.
    Discard(usize),
    /// So many octets are the rest of a line that was too long, with its CRLF: consume them, and refuse it.
    TooLong(usize),
    /// There is no safe way to go on.
    Broken(Broken),
}

/// Why no further command can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A CR without LF, or an LF without CR.
    BareLineEnd,
    /// A line that begins with a control character or an octet above 126.
    NotText,
    /// A line beyond all measure.
    Endless,
}

impl Framer {
    /// Lines have at most `line_max` octets with their CRLF; a longer one is read up to `discard_max` octets.
    pub fn new(line_max: usize, discard_max: usize) -> Self {
        Self { line_max, discard_max, discarded: 0 }
    }

    /// Looks at what was read and not yet consumed.
    pub fn next(&mut self, octets: &[u8]) -> Framed {
        if self.discarded == 0 && octets.first().is_some_and(|first| !matches!(first, b'\r' | b'\n' | b' '..=b'~')) {
            return Framed::Broken(Broken::NotText);
        }
        let Some(end) = memchr2(b'\r', b'\n', octets) else {
            return self.incomplete(octets.len());
        };
        match (octets[end], octets.get(end + 1)) {
            (b'\r', Some(b'\n')) => self.complete(end),
            (b'\r', None) => self.incomplete(end),
            _ => Framed::Broken(Broken::BareLineEnd),
        }
    }

    fn complete(&mut self, end: usize) -> Framed {
        let too_long = self.discarded > 0 || end + 2 > self.line_max;
        self.discarded = 0;
        match too_long {
            true => Framed::TooLong(end + 2),
            false => Framed::Line(end),
        }
    }

    /// `length` octets without the CR that may end them: the LF behind it must still be seen beside it.
    fn incomplete(&mut self, length: usize) -> Framed {
        if self.discarded == 0 && length + 2 <= self.line_max {
            return Framed::Incomplete;
        }
        self.discarded += length;
        match (self.discarded > self.discard_max, length) {
            (true, _) => Framed::Broken(Broken::Endless),
            (false, 0) => Framed::Incomplete,
            (false, _) => Framed::Discard(length),
        }
    }
}

#[cfg(test)]
mod tests;
