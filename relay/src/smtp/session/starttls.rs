//! STARTTLS (RFC 3207): what is said in plain text counts for nothing once TLS stands.

use super::{Answer, Asked, Closed, Enhanced, Next, Phase, Question, Replies, Reply, Session, Stored};

impl<R: Stored> Session<R> {
    pub(super) fn starttls(&mut self, out: &mut Replies) -> Next {
        if self.secured {
            return self.error(Reply::new(503, Enhanced(5, 5, 1), "TLS is active already"), out);
        }
        self.ask(Asked::StartTls, Question::StartTls)
    }

    /// Whoever sends more behind STARTTLS without waiting is sent away: commands that a third party put there in plain text
    /// would otherwise be taken for the client's own, or the client's own be lost.
    pub(super) fn may_start_tls(&mut self, answer: Answer, out: &mut Replies) -> Next {
        match (answer, &self.hello, &self.transaction) {
            (Answer::No(reply), _, _) => self.error(reply, out),
            (Answer::Yes | Answer::Ahead, None, _) => {
                self.error(Reply::new(503, Enhanced(5, 5, 1), "send EHLO first"), out)
            }
            (Answer::Yes | Answer::Ahead, _, Some(_)) => {
                self.error(Reply::new(503, Enhanced(5, 5, 1), "a transaction is open; RSET ends it"), out)
            }
            (Answer::Ahead, _, _) => self.close(
                Closed::Protocol,
                Reply::new(554, Enhanced(5, 5, 1), "nothing may be sent behind STARTTLS before its reply; closing"),
                out,
            ),
            (Answer::Yes, _, _) => {
                out.push(&Reply::new(220, Enhanced(2, 0, 0), "begin TLS"));
                self.phase = Phase::Handshake;
                Next::StartTls
            }
            (Answer::Offers(_), _, _) => self.fault(out),
        }
    }

    /// The client begins anew (RFC 3207, section 4.2). What it did wrong before still counts.
    pub(super) fn tls_up(&mut self, out: &mut Replies) -> Next {
        self.secured = true;
        match self.phase {
            Phase::New => Next::Unchanged, // implicit TLS: the greeting is yet to come
            _ => {
                self.hello = None;
                self.end_transaction(out)
            }
        }
    }
}
