//! The content of a message, by DATA or by BDAT (RFC 3030), and the one place that says `250` to it.
//!
//! A chunk that is refused is read to its end all the same, so that the next command is found. With it the message has failed
//! and its transaction is over: what a client has sent behind it in the same breath meets no open transaction.

use super::{Asked, BodyEnd, Closed, Framing, Next, Phase, Question, Session, Stored, Transaction};
use crate::smtp::body::Broken;
use crate::smtp::reply::{Enhanced, Replies, Reply};

/// A smaller chunk that is not the last carries next to nothing: it counts as an idle command.
const SMALL: u64 = 1 << 10;

impl<R: Stored> Session<R> {
    pub(super) fn data(&mut self, out: &mut Replies) -> Next {
        let refusal = match &self.transaction {
            Some(Transaction { chunked: true, .. }) => {
                Reply::new(503, Enhanced(5, 5, 1), "the content has begun; go on with BDAT, or RSET")
            }
            Some(Transaction { binary: true, .. }) => {
                Reply::new(503, Enhanced(5, 5, 1), "BINARYMIME content comes by BDAT")
            }
            transaction => match no_content(transaction.as_ref()) {
                Some(refusal) => refusal,
                None => {
                    out.push(&Reply::plain(354, "end with <CRLF>.<CRLF>"));
                    self.phase = Phase::Body(Framing::Dot);
                    return Next::Body(Framing::Dot);
                }
            },
        };
        match self.transaction {
            Some(_) => self.error(refusal, out),
            None => self.without_mail(refusal, out),
        }
    }

    pub(super) fn bdat(&mut self, bytes: u64, last: bool, out: &mut Replies) -> Next {
        if bytes > self.limits.chunk {
            let reply = format!("a chunk has at most {} octets; closing", self.limits.chunk);
            return self.close(Closed::Protocol, Reply::new(501, Enhanced(5, 5, 4), reply), out);
        }
        if bytes < SMALL && !last && !self.may_idle() {
            return self.too_many(out);
        }
        if let Some(refusal) = no_content(self.transaction.as_ref()) {
            self.phase = Phase::Skip(refusal);
            return Next::Skip(bytes);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunked = true;
        }
        let framing = Framing::Chunk { bytes, last };
        self.phase = Phase::Body(framing);
        Next::Body(framing)
    }

    /// Content, or a chunk of it, has come.
    pub(super) fn body(&mut self, framing: Framing, end: BodyEnd, out: &mut Replies) -> Next {
        match (end, framing) {
            (BodyEnd::Complete, Framing::Chunk { bytes, last: false }) => {
                out.push(&Reply::new(250, Enhanced(2, 0, 0), format!("{bytes} octets received")));
                self.ready(out)
            }
            (BodyEnd::Complete, _) => self.ask(Asked::Content, Question::Content),
            (BodyEnd::TooLarge, _) => self.refused(Reply::new(552, Enhanced(5, 3, 4), "message too large"), out),
            (BodyEnd::OverlongLine, _) => {
                self.refused(Reply::new(554, Enhanced(5, 6, 0), "a line of the message is too long"), out)
            }
            (BodyEnd::Failed(reply), _) => self.refused(reply, out),
            (BodyEnd::Broken(why), Framing::Chunk { .. }) => {
                let text =
                    format!("the message holds {}, and it or its header must be lines that end with CRLF", what(why));
                self.refused(Reply::new(554, Enhanced(5, 6, 0), text), out)
            }
            (BodyEnd::Broken(why), Framing::Dot) => {
                let text = format!("the message holds {}; refused, closing", what(why));
                self.close(Closed::Protocol, Reply::new(521, Enhanced(5, 5, 2), text), out)
            }
        }
    }

    pub(super) fn accepted(&mut self, receipt: &R, out: &mut Replies) -> Next {
        (self.errors, self.refusals, self.idle_commands) = (0, 0, 0);
        out.push(&Reply::new(250, Enhanced(2, 0, 0), format!("queued as {}", receipt.id())));
        self.end_transaction(out)
    }

    /// A message was refused: its transaction is over.
    pub(super) fn refused(&mut self, reply: Reply, out: &mut Replies) -> Next {
        self.transaction = None;
        match self.refusal(reply, out) {
            Next::Read => Next::Discard,
            next => next,
        }
    }
}

/// Why there is nobody to whom content could go.
fn no_content(transaction: Option<&Transaction>) -> Option<Reply> {
    match transaction {
        None => Some(Reply::new(503, Enhanced(5, 5, 1), "send MAIL first")),
        Some(Transaction { attempted: 0, .. }) => Some(Reply::new(503, Enhanced(5, 5, 1), "send RCPT first")),
        Some(Transaction { accepted: 0, .. }) => Some(Reply::new(554, Enhanced(5, 5, 1), "no valid recipients")),
        Some(_) => None,
    }
}

fn what(why: Broken) -> &'static str {
    match why {
        Broken::BareCr => "a CR without LF",
        Broken::BareLf => "an LF without CR",
        Broken::Nul => "a NUL",
    }
}
