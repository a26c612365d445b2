//! What one transaction came to, for each recipient.

use std::fmt;

use super::dialogue::too_many_recipients;
use super::{Malformed, Reply};

/// Our own sentence about why there is no reply, or none that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The enhanced status code (RFC 3463) for it: `4.4.2`.
    pub status: &'static str,
    /// The sentence, printable ASCII, without the name of the server.
    pub text: String,
}

impl Fault {
    pub(super) fn new(status: &'static str, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn malformed(why: Malformed) -> Self {
        Self::new("4.5.0", why.to_string())
    }
}

/// Why not: the server's words, or ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The server said so.
    Reply(Reply),
    /// We say so.
    Fault(Fault),
}

impl Said {
    /// The enhanced status code for a notification. Always of class 4 when `temporary`, whatever the reply's own class.
    pub fn status(&self, temporary: bool) -> String {
        let status = match self {
            Self::Reply(reply) => reply.status(),
            Self::Fault(fault) => fault.status.to_owned(),
        };
        match status.split_once('.') {
            Some((class, rest)) if temporary && class != "4" => format!("4.{rest}"),
            _ => status,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => reply.fmt(f),
            Self::Fault(fault) => f.write_str(&fault.text),
        }
    }
}

impl From<Reply> for Said {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Fault> for Said {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has the message for it.
    Taken(Reply),
    /// Never: another server must not be asked.
    Refused(Said),
    /// Not now.
    NotNow {
        /// Why.
        said: Said,
        /// Whether the final dot had been sent: then the server may have the message, and asking another could deliver it twice.
        dot_sent: bool,
    },
}

/// What one transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// One for each recipient, in their order.
    pub verdicts: Vec<Verdict>,
    /// Whether the server answered MAIL, and not with 421. If it did not, this connection was not worth an attempt.
    pub mail_answered: bool,
}

impl Verdict {
    /// Whether the server only wants this recipient in another transaction: the next one may follow at once.
    pub fn wants_another_transaction(&self) -> bool {
        matches!(self, Self::NotNow { said: Said::Reply(reply), dot_sent: false } if too_many_recipients(reply))
    }
}
