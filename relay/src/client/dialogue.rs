//! MAIL, RCPT and DATA or BDAT: what to ask next, and what the answers mean, with and without PIPELINING (RFC 2920). Pure.
//!
//! With PIPELINING the whole of it is one write. The server may then refuse every recipient and answer DATA with 354 all the
//! same: a lone dot ends that (RFC 2920, section 3.1), and its answer counts for nobody.

use std::collections::VecDeque;

use super::verdict::{Fault, Said, Sent, Verdict};
use super::{Capabilities, Reply, Transaction};

/// Recipients asked about in one write: their answers fit into any socket's buffer, so that neither side waits for the other.
const GROUP_MAX: usize = 50;

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write these commands.
    Write(String),
    /// Read one reply; whether it is the one to DATA.
    Read { data: bool },
    /// Write the content and the final dot, then read one reply.
    Content,
    /// Write the final dot alone, then read one reply.
    LoneDot,
    /// Write all of the content as one chunk, the last, then read one reply.
    Chunk,
    /// Nothing more: see the verdicts.
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Reset,
    Mail,
    Recipient,
    Data,
}

/// One transaction while it goes on.
#[derive(Debug)]
pub(super) struct Dialogue<'a> {
    transaction: &'a Transaction<'a>,
    offered: Capabilities,
    /// Whether the transaction before this one on the connection must be reset first.
    reset: bool,
    begun: bool,
    /// Asked and not yet answered.
    asked: VecDeque<Asked>,
    mail: Option<Reply>,
    /// How many recipients were asked about; those answered are in `recipients`.
    recipients_asked: usize,
    recipients: Vec<Reply>,
    data: Option<Reply>,
    /// Why the connection is of no use any more.
    closing: Option<Said>,
    /// What the end of the content came to.
    end: Option<Verdict>,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>, offered: Capabilities, reset: bool) -> Self {
        let recipients = Vec::with_capacity(transaction.recipients.len());
        Self {
            transaction,
            offered,
            reset,
            begun: false,
            asked: VecDeque::new(),
            mail: None,
            recipients_asked: 0,
            recipients,
            data: None,
            closing: None,
            end: None,
        }
    }

    pub(super) fn step(&mut self) -> Step {
        if self.closing.is_some() || self.end.is_some() {
            return Step::Over;
        }
        if let Some(next) = self.asked.front() {
            return Step::Read { data: matches!(next, Asked::Data) };
        }
        if let Some(data) = &self.data {
            return match data.code {
                354 if self.any_recipient() => Step::Content,
                354 => Step::LoneDot,
                _ => Step::Over,
            };
        }
        match &self.mail {
            None if !self.begun => self.write(),
            Some(mail) if mail.is_yes() => {
                let all_asked = self.recipients_asked == self.transaction.recipients.len();
                match (all_asked, self.any_recipient()) {
                    (true, false) => Step::Over,
                    (true, true) if self.transaction.goes_as_chunk(self.offered) => Step::Chunk,
                    _ => self.write(),
                }
            }
            _ => Step::Over,
        }
    }

    /// The reply to what was asked first of all that is unanswered.
    pub(super) fn answered(&mut self, reply: Reply) {
        let Some(asked) = self.asked.pop_front() else { return };
        if reply.code == 421 {
            self.closing = Some(reply.clone().into());
        }
        let class = reply.code / 100;
        let expected = match asked {
            Asked::Data => reply.code == 354 || class >= 4,
            Asked::Reset => class == 2,
            Asked::Mail | Asked::Recipient => class != 3,
        };
        if !expected {
            let said = format!("answered {} out of turn: {reply}", asked.verb());
            self.closing = Some(Fault::new("4.5.0", said).into());
        }
        match asked {
            Asked::Reset => {}
            Asked::Mail => self.mail = Some(reply),
            Asked::Recipient => self.recipients.push(reply),
            Asked::Data => self.data = Some(reply),
        }
    }

    /// The connection has failed.
    pub(super) fn failed(&mut self, said: impl Into<Said>) {
        self.closing = Some(said.into());
    }

    /// The content has ended: with the server's reply to the final dot, or before there was one.
    pub(super) fn ended(&mut self, result: Result<Reply, Fault>, dot_sent: bool) {
        self.end = Some(match result {
            Ok(reply) if reply.is_yes() && dot_sent => Verdict::Taken(reply),
            Ok(reply) if reply.is_never() => Verdict::Refused(reply.into()),
            Ok(reply) if reply.is_not_now() => Verdict::NotNow { said: reply.into(), dot_sent },
            Ok(reply) => {
                let said = format!("answered the message out of turn: {reply}");
                Verdict::NotNow { said: Fault::new("4.5.0", said).into(), dot_sent }
            }
            Err(fault) => Verdict::NotNow { said: fault.into(), dot_sent },
        });
    }

    /// Whether the server must forget this transaction before the next one.
    pub(super) fn needs_reset(&self) -> bool {
        self.end.is_none() && self.mail.as_ref().is_some_and(Reply::is_yes)
    }

    /// Whether the connection is still good for another transaction.
    pub(super) fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    pub(super) fn sent(self) -> Sent {
        let verdicts = (0..self.transaction.recipients.len()).map(|index| self.verdict(index)).collect();
        Sent { verdicts, mail_answered: self.mail.is_some_and(|reply| reply.code != 421) }
    }

    fn verdict(&self, index: usize) -> Verdict {
        let not_now = |said: Said| Verdict::NotNow { said, dot_sent: false };
        let closed = || self.closing.clone().unwrap_or_else(|| Fault::new("4.5.0", "gave no answer").into());
        for answer in [self.mail.as_ref(), self.recipients.get(index)] {
            match answer {
                Some(reply) if reply.is_yes() => {}
                Some(reply) if reply.is_never() && !too_many_recipients(reply) => {
                    return Verdict::Refused(reply.clone().into());
                }
                Some(reply) if reply.code >= 400 => return not_now(reply.clone().into()),
                _ => return not_now(closed()),
            }
        }
        match (&self.end, &self.data) {
            (Some(end), _) => end.clone(),
            (None, Some(reply)) if reply.is_never() => Verdict::Refused(reply.clone().into()),
            (None, Some(reply)) if reply.is_not_now() => not_now(reply.clone().into()),
            _ => not_now(closed()),
        }
    }

    fn any_recipient(&self) -> bool {
        self.mail.as_ref().is_some_and(Reply::is_yes) && self.recipients.iter().any(Reply::is_yes)
    }

    /// The next commands: all that may go together.
    fn write(&mut self) -> Step {
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            if self.reset {
                self.ask(&mut out, Asked::Reset, "RSET");
                if !self.offered.pipelining {
                    self.begun = false;
                    self.reset = false;
                    return Step::Write(out);
                }
            }
            let mail = self.transaction.mail_command(self.offered);
            self.ask(&mut out, Asked::Mail, &mail);
            if !self.offered.pipelining {
                return Step::Write(out);
            }
        }
        let group = if self.offered.pipelining { GROUP_MAX } else { 1 };
        let rest = &self.transaction.recipients[self.recipients_asked..];
        let take = rest.len().min(group);
        for recipient in &rest[..take] {
            self.transaction.recipient_command(recipient, self.offered, &mut out);
            self.asked.push_back(Asked::Recipient);
        }
        self.recipients_asked += take;
        let all_asked = self.recipients_asked == self.transaction.recipients.len();
        if all_asked && (self.offered.pipelining || take == 0) && !self.transaction.goes_as_chunk(self.offered) {
            self.ask(&mut out, Asked::Data, "DATA");
        }
        Step::Write(out)
    }

    fn ask(&mut self, out: &mut String, asked: Asked, command: &str) {
        out.push_str(command);
        out.push_str("\r\n");
        self.asked.push_back(asked);
    }
}

impl Asked {
    fn verb(self) -> &'static str {
        match self {
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
        }
    }
}

/// RFC 5321, section 4.5.3.1.10: 552 to RCPT is 452, too many recipients, from an old server. But not when its enhanced code
/// says otherwise: `552 5.2.2`, a full mailbox, is for good.
pub(super) fn too_many_recipients(reply: &Reply) -> bool {
    let detail = reply.enhanced.map(|enhanced| (enhanced.1, enhanced.2));
    matches!(reply.code, 452 | 552) && matches!(detail, None | Some((5, 3)))
}

#[cfg(test)]
mod tests;
