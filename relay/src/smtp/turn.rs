//! What a [`super::session::Session`] is told, and what it says is next: the seam between protocol and driver.

use super::command::{Mail, Rcpt};
use super::reply::Reply;
use super::{body, line};
use crate::queue_id::QueueId;

/// Which question is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(pub(super) u32);

/// What has happened.
#[derive(Debug)]
pub enum Input<'a, R> {
    /// The connection stands. Once, before anything else.
    Connected,
    /// The connection is protected by TLS from here on: after [`Next::StartTls`], or before anything else was said.
    TlsUp,
    /// A line.
    Line {
        /// Without its CRLF.
        line: &'a [u8],
        /// Whether the client has said more behind it already.
        more: bool,
    },
    /// A line that was too long, and was not kept.
    LineTooLong,
    /// What came is no line, and there is no way to find the next one.
    LineBroken(line::Broken),
    /// The answer to a question.
    Answer(Serial, Answer),
    /// The content after DATA is over, or the chunk after BDAT.
    Body(BodyEnd),
    /// What had to be thrown away has been.
    Skipped,
    /// The message is safe.
    Accepted(R),
    /// The message could not be made safe.
    Refused(Reply),
    /// The client took too long.
    Deadline,
    /// The relay is stopping.
    Draining,
    /// The connection has been idle for longest, and its place is needed.
    Evicted,
}

/// How content is told from commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After DATA: a dot on a line of its own ends it, and dots are stuffed (RFC 5321, section 4.5.2).
    Dot,
    /// After BDAT: so many octets (RFC 3030).
    Chunk {
        /// Of this chunk.
        bytes: u64,
        /// The message ends with it.
        last: bool,
    },
}

/// How content ended: after DATA all of it, after BDAT one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// At its true end, and all of it was kept.
    Complete,
    /// At its true end, but it was larger than allowed.
    TooLarge,
    /// At its true end, but a line of it was longer than allowed.
    OverlongLine,
    /// At its true end, but it could not be kept.
    Failed(Reply),
    /// It is broken. After DATA its end cannot be known; a chunk was read to its end.
    Broken(body::Broken),
}

/// What the driver is to do next, after it has queued the replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give the next line.
    Read,
    /// Answer a question; nothing else until then, but for a deadline or draining.
    Ask(Serial, Question),
    /// Send the replies, then read the content and tell how it ended. A chunk's replies may wait until more must be read.
    Body(Framing),
    /// Read so many octets, keep none of them, and tell when it is done.
    Skip(u64),
    /// Send the replies, then let the client begin TLS, and tell when it stands. Otherwise the connection is over.
    StartTls,
    /// Make the message safe, and tell whether it is.
    Commit,
    /// Forget the transaction, then give the next line.
    Discard,
    /// Go on with what was asked for before.
    Unchanged,
    /// Send the replies and close the connection.
    Close(Closed),
}

/// Why the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client said QUIT.
    Quit,
    /// The client may not talk to us.
    Blocked,
    /// The client was too slow.
    Timeout,
    /// The client made too many mistakes.
    Errors,
    /// What the client sends cannot be read safely.
    Protocol,
    /// The relay is stopping.
    Draining,
    /// Its place was needed.
    Evicted,
    /// The driver broke the rules of this module: our bug.
    Fault,
}

/// What only the settings and the resources know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client talk to us at all? [`Answer::Yes`] or [`Answer::No`].
    Client,
    /// What is offered? [`Answer::Offers`].
    Hello,
    /// Can TLS begin now? [`Answer::Yes`], [`Answer::No`] or [`Answer::Ahead`].
    StartTls,
    /// May this sender send? A `Yes` opens a transaction.
    Sender(Mail),
    /// Is this recipient taken?
    Recipient(Rcpt),
    /// Is the content taken, which has come completely?
    Content,
}

/// See [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Refused, with what the client is told.
    No(Reply),
    /// What the reply to EHLO says.
    Offers(Offers),
    /// TLS could begin, but the client has not waited for our word: more lies behind its command.
    Ahead,
}

/// What depends on settings and resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// SIZE (RFC 1870): octets of a message.
    pub size_max: u64,
    /// STARTTLS (RFC 3207): there is a certificate.
    pub starttls: bool,
    /// Whether what a client asks about notifications will be answered (DSN, RFC 3461).
    pub dsn: bool,
}

/// Proof that a message is safe.
pub trait Stored {
    /// Its name in the spool.
    fn id(&self) -> QueueId;
}
