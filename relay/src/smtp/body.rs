//! Decodes the content that follows DATA (RFC 5321, section 4.5.2): removes the stuffed dots, finds the end.
//!
//! Only CRLF "." CRLF ends it. A CR or an LF alone, or a NUL, breaks it: whatever follows might be content to one peer
//! and commands to another, so the connection ends (CVE-2023-51764 and its kin). What comes out has CRLF line ends only.

use memchr::memchr3;

/// The decoder of one content. It keeps no octet of it.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: u64,
    line_max: u64,
    overlong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    InLine,
    /// A CR was seen, and not handed out.
    Cr,
    /// A dot at the start of a line was seen, and not handed out.
    Dot,
    /// CR behind such a dot.
    DotCr,
}

/// One step through the content.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Content, unstuffed.
    Content(&'a [u8]),
    /// All octets are consumed; the end is not seen.
    More,
    /// The end was consumed, and nothing behind it.
    End,
    /// The content is broken; nothing behind it may be read.
    Broken(Broken),
}

/// What may not stand in content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A carriage return without line feed.
    BareCr,
    /// A line feed without carriage return.
    BareLf,
    /// An octet of value 0 (RFC 5321, section 4.5.2; RFC 5322, section 4).
    Nul,
}

impl Decoder {
    /// Lines longer than `line_max` octets, without their CRLF, are noted.
    pub fn new(line_max: u64) -> Self {
        Self { state: State::LineStart, line: 0, line_max, overlong: false }
    }

    /// Whether a line was too long.
    pub fn overlong(&self) -> bool {
        self.overlong
    }

    /// Takes octets from the front of `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        match self.held(input) {
            Some(step) => step,
            None => self.scan(input),
        }
    }

    /// Decides about the CR or the dot that the last octets ended with.
    fn held<'a>(&mut self, input: &mut &'a [u8]) -> Option<Step<'a>> {
        let Some((&first, rest)) = input.split_first() else { return Some(Step::More) };
        match (self.state, first) {
            (State::LineStart, b'.') => {
                (self.state, *input) = (State::Dot, rest);
                self.held(input)
            }
            (State::Dot, b'\r') => {
                (self.state, *input) = (State::DotCr, rest);
                self.held(input)
            }
            (State::DotCr, b'\n') => {
                *input = rest;
                Some(Step::End)
            }
            (State::Cr, b'\n') => {
                (self.state, *input) = (State::LineStart, rest);
                self.line = 0;
                Some(Step::Content(b"\r\n"))
            }
            (State::Cr | State::DotCr, _) => Some(Step::Broken(Broken::BareCr)),
            (State::Dot, _) => {
                self.state = State::InLine;
                None
            }
            (State::LineStart | State::InLine, _) => None,
        }
    }

    /// Whole lines as they stand, up to a dot, a held CR or the end of the octets.
    fn scan<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        let octets = *input;
        let mut at = 0;
        while at < octets.len() {
            if self.state == State::LineStart && octets[at] == b'.' {
                break;
            }
            self.state = State::InLine;
            let Some(found) = memchr3(b'\r', b'\n', 0, &octets[at..]) else {
                self.count(octets.len() - at);
                at = octets.len();
                break;
            };
            self.count(found);
            at += found;
            match (octets[at], octets.get(at + 1)) {
                (b'\r', Some(b'\n')) => (self.state, self.line, at) = (State::LineStart, 0, at + 2),
                (b'\r', None) => {
                    self.state = State::Cr;
                    break;
                }
                (b'\r', Some(_)) => return Step::Broken(Broken::BareCr),
                (b'\n', _) => return Step::Broken(Broken::BareLf),
                _ => return Step::Broken(Broken::Nul),
            }
        }
        *input = &octets[at + usize::from(self.state == State::Cr)..];
        match at {
            0 => self.next(input),
            _ => Step::Content(&octets[..at]),
        }
    }

    fn count(&mut self, octets: usize) {
        self.line += octets as u64;
        self.overlong |= self.line > self.line_max;
    }
}

#[cfg(test)]
mod tests;
