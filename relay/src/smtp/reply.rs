//! Replies: a code, an enhanced code and a text (RFC 5321 section 4.2, RFC 3463).

use std::borrow::Cow;
use std::fmt;

use crate::address::is_text_outside_ascii;

/// The longest line of a reply, without CRLF (RFC 5321, section 4.5.3.1.5, has 512 with it). A longer text is cut.
const LINE_MAX: usize = 510;

/// One reply of ours, on one line unless the text has line breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits: 220, 451, …
    pub code: u16,
    /// The enhanced code. Absent only where RFC 2034 says so: the greeting, EHLO's and HELO's answer, 354.
    pub enhanced: Option<Enhanced>,
    /// Printable ASCII (or UTF-8 once SMTPUTF8 is on); `\n` begins a further line.
    pub text: Cow<'static, str>,
}

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: Enhanced, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// A reply without one.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// To MAIL.
    pub fn sender_ok() -> Self {
        Self::new(250, Enhanced(2, 1, 0), "sender ok")
    }

    /// To RCPT.
    pub fn recipient_ok() -> Self {
        Self::new(250, Enhanced(2, 1, 5), "recipient ok")
    }

    /// Whether it says yes (2xx or 3xx).
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// As it goes over the wire. Whatever the text is made of, nothing in it ends a line, and it leaves ASCII only for a
    /// client that has said SMTPUTF8 (RFC 6531, section 3.7.4.1).
    fn write(&self, utf8: bool, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            match utf8 && !line.is_ascii() {
                true => write_utf8(line, start + LINE_MAX, out),
                false => {
                    out.extend(line.bytes().map(|byte| if matches!(byte, b' '..=b'~') { byte } else { b'?' }));
                    out.truncate(start + LINE_MAX);
                }
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Whole characters of a line, until `out` has `max` octets.
fn write_utf8(line: &str, max: usize, out: &mut Vec<u8>) {
    for character in line.chars() {
        let harmless = matches!(character, ' '..='~') || is_text_outside_ascii(character);
        let character = if harmless { character } else { '?' };
        if out.len() + character.len_utf8() > max {
            return;
        }
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// On one line, as a log tells it: `550 5.1.1 no such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text.replace('\n', " "))
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Replies that wait to be sent, in order, as octets.
#[derive(Debug, Default)]
pub struct Replies {
    octets: Vec<u8>,
    utf8: bool,
}

impl Replies {
    /// Whether those that come may be in UTF-8.
    pub fn speak_utf8(&mut self, utf8: bool) {
        self.utf8 = utf8;
    }

    /// Adds one.
    pub fn push(&mut self, reply: &Reply) {
        reply.write(self.utf8, &mut self.octets);
    }

    /// What is to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// Forgets what was sent. The memory is kept only when it is small.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.octets.shrink_to(512);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: Reply) -> String {
        let mut replies = Replies::default();
        replies.push(&reply);
        String::from_utf8(replies.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn writes_one_line_or_several_with_the_enhanced_code_on_each() {
        assert_eq!(wire(Reply::plain(354, "go on")), "354 go on\r\n");
        assert_eq!(
            wire(Reply::new(550, Enhanced(5, 1, 1), "no\nsuch user")),
            "550-5.1.1 no\r\n550 5.1.1 such user\r\n"
        );
        assert_eq!(Reply::new(550, Enhanced(5, 1, 1), "no\nsuch user").to_string(), "550 5.1.1 no such user");
    }

    #[test]
    fn utf8_is_spoken_only_to_whom_it_may_be_and_cut_between_characters() {
        let mut replies = Replies::default();
        for utf8 in [true, false] {
            replies.speak_utf8(utf8);
            replies.push(&Reply::plain(550, "\u{fc}\u{85}\u{2028}\r\u{4f60}"));
        }
        assert_eq!(replies.as_bytes(), "550 \u{fc}???\u{4f60}\r\n550 ???????????\r\n".as_bytes());
        replies.clear();
        replies.speak_utf8(true);
        replies.push(&Reply::plain(550, "\u{4f60}".repeat(1000)));
        let line = std::str::from_utf8(replies.as_bytes()).unwrap();
        assert!(line.len() <= 512 && line.len() > 506, "{}", line.len());
    }

    #[test]
    fn no_text_can_end_a_line_or_leave_ascii() {
        assert_eq!(wire(Reply::plain(220, "a\r250 b\0\u{7f}ä")), "220 a?250 b????\r\n");
        assert_eq!(wire(Reply::plain(220, "a".repeat(10_000))).len(), 512);
    }
}
