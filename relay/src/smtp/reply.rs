//! Replies: a code, an enhanced code and a text (RFC 5321 section 4.2, RFC 3463).

use std::borrow::Cow;
use std::fmt;

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
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
