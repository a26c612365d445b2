//! Reading an SMTP reply (RFC 5321, section 4.2) from a server that may be hostile. Pure.
//!
//! At most 8 KiB and 100 lines; every line must begin with the same code, from 200 to 599. A lone
//! LF also ends a line. What is kept of the text is printable ASCII, so it may go into a log or a notification as it is.

use std::fmt;

use crate::smtp::reply::Enhanced;

/// Octets of one reply, line ends included.
pub(super) const OCTETS_MAX: usize = 8 << 10;
/// Lines of one reply.
pub(super) const LINES_MAX: usize = 100;
/// Octets of a reply as it is told on one line.
pub(super) const TOLD_MAX: usize = 500;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced code (RFC 2034), when there is one of the code's own class.
    pub enhanced: Option<Enhanced>,
    /// The text of each line after the code and the separator: printable ASCII, `?` for every other octet.
    pub lines: Vec<String>,
}

/// Why something is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line without three digits and then nothing, a space or a hyphen.
    #[error("sent a line that is not an SMTP reply")]
    NotAReply,
    /// Lines of one reply with different codes.
    #[error("sent one reply with two different codes")]
    CodesDiffer,
    /// Longer than `OCTETS_MAX`.
    #[error("sent a reply longer than 8 KiB")]
    TooLong,
    /// More lines than `LINES_MAX`.
    #[error("sent a reply of more than 100 lines")]
    TooManyLines,
}

impl Reply {
    /// Reads the first reply in `input`: the reply and its length, or `None` when more must be read first.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut code = None;
        let mut lines = Vec::new();
        let mut end = 0;
        loop {
            let rest = &input[end..];
            let Some(length) = memchr::memchr(b'\n', rest) else {
                return if input.len() >= OCTETS_MAX { Err(Malformed::TooLong) } else { Ok(None) };
            };
            end += length + 1;
            if end > OCTETS_MAX {
                return Err(Malformed::TooLong);
            }
            let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
            let (number, last, text) = split(line)?;
            if *code.get_or_insert(number) != number {
                return Err(Malformed::CodesDiffer);
            }
            lines.push(text);
            if last {
                let (enhanced, lines) = take_enhanced(number, lines);
                return Ok(Some((Self { code: number, enhanced, lines }, end)));
            }
            if lines.len() == LINES_MAX {
                return Err(Malformed::TooManyLines);
            }
        }
    }

    /// 2xx.
    pub fn is_yes(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_not_now(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    pub fn is_never(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced code, or the general one of the reply's class.
    pub fn status(&self) -> String {
        match self.enhanced {
            Some(enhanced) => enhanced.to_string(),
            None => format!("{}.0.0", self.code / 100),
        }
    }
}

/// On one line, at most `TOLD_MAX` octets: `550 5.1.1 no such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.code.to_string();
        if let Some(enhanced) = self.enhanced {
            told.push_str(&format!(" {enhanced}"));
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            told.push(' ');
            told.push_str(line);
        }
        told.truncate(TOLD_MAX);
        f.write_str(told.trim_end())
    }
}

/// The code of a line, whether it is the last one, and its text made printable.
fn split(line: &[u8]) -> Result<(u16, bool, String), Malformed> {
    let (digits, rest) = line.split_at_checked(3).ok_or(Malformed::NotAReply)?;
    if !(b'2'..=b'5').contains(&digits[0]) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::NotAReply);
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok((code, true, String::new())),
        [b' ', text @ ..] => Ok((code, true, printable(text))),
        [b'-', text @ ..] => Ok((code, false, printable(text))),
        _ => Err(Malformed::NotAReply),
    }
}

fn printable(text: &[u8]) -> String {
    text.iter().map(|octet| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '?' }).collect()
}

/// Takes the enhanced code off every line that begins with the one of the first line.
fn take_enhanced(code: u16, mut lines: Vec<String>) -> (Option<Enhanced>, Vec<String>) {
    let first = lines[0].split(' ').next().unwrap_or_default().to_owned();
    let Some(enhanced) = enhanced(&first).filter(|enhanced| u16::from(enhanced.0) == code / 100) else {
        return (None, lines);
    };
    for line in &mut lines {
        if let Some(rest) = line.strip_prefix(&first)
            && (rest.is_empty() || rest.starts_with(' '))
        {
            *line = rest.trim_start().to_owned();
        }
    }
    (Some(enhanced), lines)
}

/// `class "." subject "." detail` (RFC 3463, section 2).
fn enhanced(text: &str) -> Option<Enhanced> {
    let mut parts = text.split('.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| -> Option<u16> {
        if text.len() > 3 || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok()
    };
    if parts.next().is_some() || !matches!(class, "2" | "4" | "5") {
        return None;
    }
    Some(Enhanced(class.parse().ok()?, number(subject)?, number(detail)?))
}

#[cfg(test)]
mod tests;
