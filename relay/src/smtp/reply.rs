//! Replies: a code, an enhanced code and a text (RFC 5321 section 4.2, RFC 3463).

use std::borrow::Cow;
use std::fmt;

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

    /// Whether it says yes (2xx or 3xx).
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// As it goes over the wire. Whatever the text is made of, no octet of it ends a line or leaves ASCII.
    fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            out.extend(line.bytes().map(|byte| if matches!(byte, b' '..=b'~') { byte } else { b'?' }));
            out.truncate(start + LINE_MAX);
            out.extend_from_slice(b"\r\n");
        }
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
pub struct Replies(Vec<u8>);

impl Replies {
    /// Adds one.
    pub fn push(&mut self, reply: &Reply) {
        reply.write(&mut self.0);
    }

    /// What is to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what was sent. The memory is kept only when it is small.
    pub fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(512);
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
    fn no_text_can_end_a_line_or_leave_ascii() {
        assert_eq!(wire(Reply::plain(220, "a\r250 b\0\u{7f}ä")), "220 a?250 b????\r\n");
        assert_eq!(wire(Reply::plain(220, "a".repeat(10_000))).len(), 512);
    }
}
