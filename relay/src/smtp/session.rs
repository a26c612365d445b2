//! One SMTP session, as a state machine: lines and answers go in, replies and questions come out (RFC 5321, section 4.1.4).
//!
//! It knows the order of commands and counts what a client does wrong. It decides nothing about mail: it asks, and an
//! answer names its question by serial, so that a late one is recognised. It says `250` to a content only when it is given
//! a receipt; in the relay the receipt's type is the spool's, which nothing else can make.
//!
//! A client that goes on talking behind a command whose answer it must await (RFC 2920) is out of step, and closed.
//!
//! After [`Next::Close`] nothing but another `Close` ever comes out.

mod content;
mod starttls;

use std::marker::PhantomData;
use std::sync::Arc;

use super::command::{self, Body, Command, HeloName, Mail, Malformed, Rcpt};
use super::line;
use super::reply::{Enhanced, Replies, Reply};
pub use super::turn::{Answer, BodyEnd, Closed, Framing, Input, Next, Offers, Question, Serial, Stored};

/// How much a client may do wrong in one session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines that are no command of ours, or out of order. The next is answered 421. An accepted message resets it.
    pub errors: u64,
    /// Senders, recipients and contents that were refused. The next is answered 421. An accepted message resets it.
    pub refusals: u64,
    /// Commands that carry no mail on (NOOP, RSET, VRFY, HELP, HELO, EHLO, a BDAT of next to nothing). Each further one counts
    /// as an error. An accepted message resets it.
    pub idle_commands: u64,
    /// Octets of one BDAT. A larger one is not read.
    pub chunk: u64,
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it calls itself.
    pub name: HeloName,
    /// By EHLO, not by HELO.
    pub extended: bool,
}

/// See the module's description. `R` is the only proof on which a message is acknowledged.
#[derive(Debug)]
pub struct Session<R> {
    hostname: Arc<str>,
    limits: Limits,
    phase: Phase,
    serial: u32,
    hello: Option<Hello>,
    transaction: Option<Transaction>,
    errors: u64,
    refusals: u64,
    idle_commands: u64,
    /// The client has said SMTPUTF8 with the MAIL that is being answered, or with that of the open transaction.
    utf8: bool,
    /// The last MAIL was refused. What a client has sent behind it in the same breath is no mistake of its own.
    mail_refused: bool,
    draining: bool,
    /// By TLS.
    secured: bool,
    proof: PhantomData<fn(R)>,
}

#[derive(Debug, Default)]
struct Transaction {
    attempted: u64,
    accepted: u64,
    /// Its content is BINARYMIME.
    binary: bool,
    /// A part of its content has come by BDAT.
    chunked: bool,
}

#[derive(Debug)]
enum Phase {
    New,
    Commands,
    Asked(Asked),
    Body(Framing),
    /// With what the client is told behind what is thrown away.
    Skip(Reply),
    Commit,
    Handshake,
    Closed(Closed),
}

#[derive(Debug)]
enum Asked {
    Client,
    Hello(Hello),
    StartTls,
    Sender { binary: bool },
    Recipient,
    Content,
}

impl<R: Stored> Session<R> {
    /// Before the connection says anything. `hostname` is what we call ourselves.
    pub fn new(hostname: Arc<str>, limits: Limits) -> Self {
        Self {
            hostname,
            limits,
            phase: Phase::New,
            serial: 0,
            hello: None,
            transaction: None,
            errors: 0,
            refusals: 0,
            idle_commands: 0,
            utf8: false,
            mail_refused: false,
            draining: false,
            secured: false,
            proof: PhantomData,
        }
    }

    /// How the client introduced itself, if it has.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether nothing would be lost if the connection ended now: no transaction, and nothing is being answered.
    pub fn is_idle(&self) -> bool {
        self.transaction.is_none() && matches!(self.phase, Phase::Commands)
    }

    /// Takes one input, adds replies to `out`, and says what is next.
    pub fn step(&mut self, input: Input<'_, R>, out: &mut Replies) -> Next {
        out.speak_utf8(self.utf8);
        match (&self.phase, input) {
            (Phase::Closed(why), _) => Next::Close(*why),
            (_, Input::Deadline) => {
                self.close(Closed::Timeout, Reply::new(421, Enhanced(4, 4, 2), "timeout, closing the connection"), out)
            }
            (_, Input::Evicted) => self.close(
                Closed::Evicted,
                Reply::new(421, Enhanced(4, 3, 2), "too many connections, closing an idle one"),
                out,
            ),
            (_, Input::Draining) => self.drain(out),
            (Phase::New, Input::Connected) => self.ask(Asked::Client, Question::Client),
            (Phase::New | Phase::Handshake, Input::TlsUp) => self.tls_up(out),
            (Phase::Commands, Input::Line { line, more }) => self.line(line, more, out),
            (Phase::Commands, Input::LineTooLong) => {
                self.error(Reply::new(500, Enhanced(5, 5, 2), "line too long"), out)
            }
            (Phase::Commands, Input::LineBroken(why)) => self.close(Closed::Protocol, broken_line(why), out),
            (Phase::Asked(_), Input::Answer(Serial(serial), answer)) if serial == self.serial => {
                self.answered(answer, out)
            }
            (_, Input::Answer(..)) => Next::Unchanged, // to a question that is not open any more
            (Phase::Body(framing), Input::Body(end)) => self.body(*framing, end, out),
            (Phase::Skip(reply), Input::Skipped) => self.refused(reply.clone(), out),
            (Phase::Commit, Input::Accepted(receipt)) => self.accepted(&receipt, out),
            (Phase::Commit, Input::Refused(reply)) => self.refused(reply, out),
            _ => self.fault(out),
        }
    }

    fn line(&mut self, line: &[u8], more: bool, out: &mut Replies) -> Next {
        match command::parse(line, self.utf8) {
            Ok(command) if more && command.ends_group() => self.out_of_step(out),
            Ok(Command::Mail(mail)) => self.mail(mail, out),
            Ok(Command::Rcpt(rcpt)) => self.rcpt(rcpt, out),
            Ok(Command::Data) => self.data(out),
            Ok(Command::StartTls) => self.starttls(out),
            Ok(Command::Bdat { bytes, last }) => self.bdat(bytes, last, out),
            Ok(Command::Quit) => {
                self.close(Closed::Quit, Reply::new(221, Enhanced(2, 0, 0), "closing the connection"), out)
            }
            Ok(idle) => self.idle(idle, out),
            Err(malformed @ (Malformed::OtherProtocol | Malformed::Chunk)) => {
                self.close(Closed::Protocol, malformed.reply(), out)
            }
            Err(malformed) => self.error(malformed.reply(), out),
        }
    }

    fn out_of_step(&mut self, out: &mut Replies) -> Next {
        let text = "more commands came behind one whose answer must be awaited; closing";
        self.close(Closed::Protocol, Reply::new(554, Enhanced(5, 5, 0), text), out)
    }

    /// The commands that carry no mail on, at any time.
    fn idle(&mut self, command: Command, out: &mut Replies) -> Next {
        if !self.may_idle() {
            return self.too_many(out);
        }
        let reply = match command {
            Command::Ehlo(name) => return self.hello_from(Hello { name, extended: true }),
            Command::Helo(name) => return self.hello_from(Hello { name, extended: false }),
            Command::Vrfy => Reply::new(252, Enhanced(2, 5, 0), "not verified here; send it, and RCPT will tell"),
            Command::Help => Reply::new(214, Enhanced(2, 0, 0), "see RFC 5321; this is a mail relay"),
            Command::Rset => {
                out.push(&Reply::new(250, Enhanced(2, 0, 0), "reset"));
                return self.end_transaction(out);
            }
            _ => Reply::new(250, Enhanced(2, 0, 0), "ok"),
        };
        out.push(&reply);
        self.ready(out)
    }

    /// Counts a command that carries no mail on; false when that was one too many.
    fn may_idle(&mut self) -> bool {
        self.idle_commands += 1;
        self.errors += u64::from(self.idle_commands > self.limits.idle_commands);
        self.errors <= self.limits.errors
    }

    fn hello_from(&mut self, hello: Hello) -> Next {
        self.ask(Asked::Hello(hello), Question::Hello)
    }

    fn mail(&mut self, mail: Mail, out: &mut Replies) -> Next {
        match (&self.hello, &self.transaction) {
            (None, _) => self.error(Reply::new(503, Enhanced(5, 5, 1), "send EHLO first"), out),
            (_, Some(_)) => self.error(Reply::new(503, Enhanced(5, 5, 1), "a transaction is open; RSET ends it"), out),
            (Some(_), None) => {
                (self.utf8, self.mail_refused) = (mail.utf8, false);
                self.ask(Asked::Sender { binary: mail.body == Body::Binary }, Question::Sender(mail))
            }
        }
    }

    fn rcpt(&mut self, rcpt: Rcpt, out: &mut Replies) -> Next {
        match &mut self.transaction {
            None => self.without_mail(Reply::new(503, Enhanced(5, 5, 1), "send MAIL first"), out),
            Some(Transaction { chunked: true, .. }) => {
                self.error(Reply::new(503, Enhanced(5, 5, 1), "the content has begun; go on with BDAT, or RSET"), out)
            }
            Some(transaction) => {
                transaction.attempted += 1;
                self.ask(Asked::Recipient, Question::Recipient(rcpt))
            }
        }
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Next {
        self.serial = self.serial.wrapping_add(1);
        self.phase = Phase::Asked(asked);
        Next::Ask(Serial(self.serial), question)
    }

    fn answered(&mut self, answer: Answer, out: &mut Replies) -> Next {
        let Phase::Asked(asked) = std::mem::replace(&mut self.phase, Phase::Commands) else {
            return Next::Unchanged;
        };
        match (asked, answer) {
            (Asked::Client, Answer::Yes) => {
                out.push(&Reply::plain(220, format!("{} ESMTP Postern", self.hostname)));
                self.ready(out)
            }
            (Asked::Client, Answer::No(reply)) => self.close(Closed::Blocked, reply, out),
            (Asked::Hello(hello), Answer::Offers(offers)) => self.greet(hello, offers, out),
            (Asked::StartTls, answer) => self.may_start_tls(answer, out),
            (Asked::Sender { binary }, Answer::Yes) => {
                self.transaction = Some(Transaction { binary, ..Transaction::default() });
                out.push(&Reply::sender_ok());
                self.ready(out)
            }
            (Asked::Recipient, Answer::Yes) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.accepted += 1;
                }
                out.push(&Reply::recipient_ok());
                self.ready(out)
            }
            (Asked::Content, Answer::Yes) => {
                self.phase = Phase::Commit;
                Next::Commit
            }
            (Asked::Sender { .. }, Answer::No(reply)) => {
                self.mail_refused = true;
                self.refusal(reply, out)
            }
            (Asked::Recipient, Answer::No(reply)) => self.refusal(reply, out),
            (Asked::Content, Answer::No(reply)) => self.refused(reply, out),
            _ => self.fault(out),
        }
    }

    /// EHLO and HELO end an open transaction (RFC 5321, section 4.1.4).
    fn greet(&mut self, hello: Hello, offers: Offers, out: &mut Replies) -> Next {
        let Offers { size_max, starttls, dsn } = offers;
        let dsn = if dsn { "\nDSN" } else { "" };
        let starttls = if starttls && !self.secured { "\nSTARTTLS" } else { "" };
        let extensions = match hello.extended {
            true => format!(
                "\nPIPELINING\nSIZE {size_max}\n8BITMIME\nBINARYMIME\nCHUNKING\nSMTPUTF8{dsn}\nENHANCEDSTATUSCODES{starttls}"
            ),
            false => String::new(),
        };
        out.push(&Reply::plain(250, format!("{}{extensions}", self.hostname)));
        self.hello = Some(hello);
        self.end_transaction(out)
    }

    fn refusal(&mut self, reply: Reply, out: &mut Replies) -> Next {
        self.refusals += 1;
        if self.refusals > self.limits.refusals {
            return self.too_many(out);
        }
        out.push(&reply);
        self.ready(out)
    }

    fn error(&mut self, reply: Reply, out: &mut Replies) -> Next {
        self.errors += 1;
        if self.errors > self.limits.errors {
            return self.too_many(out);
        }
        out.push(&reply);
        self.ready(out)
    }

    fn without_mail(&mut self, reply: Reply, out: &mut Replies) -> Next {
        match self.mail_refused {
            true => self.refusal(reply, out),
            false => self.error(reply, out),
        }
    }

    fn too_many(&mut self, out: &mut Replies) -> Next {
        self.close(Closed::Errors, Reply::new(421, Enhanced(4, 7, 0), "too many errors, closing the connection"), out)
    }

    fn end_transaction(&mut self, out: &mut Replies) -> Next {
        let open = self.transaction.take().is_some();
        match self.ready(out) {
            Next::Read if open => Next::Discard,
            next => next,
        }
    }

    /// Ready for a line, unless the relay is stopping and nothing is open.
    fn ready(&mut self, out: &mut Replies) -> Next {
        self.phase = Phase::Commands;
        self.utf8 &= self.transaction.is_some();
        match self.draining && self.transaction.is_none() {
            true => self.close(Closed::Draining, Reply::new(421, Enhanced(4, 3, 2), "shutting down"), out),
            false => Next::Read,
        }
    }

    fn drain(&mut self, out: &mut Replies) -> Next {
        self.draining = true;
        match self.is_idle() {
            true => self.ready(out),
            false => Next::Unchanged,
        }
    }

    fn fault(&mut self, out: &mut Replies) -> Next {
        self.close(Closed::Fault, Reply::new(421, Enhanced(4, 3, 0), "internal error, closing the connection"), out)
    }

    fn close(&mut self, why: Closed, reply: Reply, out: &mut Replies) -> Next {
        out.push(&reply);
        self.phase = Phase::Closed(why);
        self.transaction = None;
        Next::Close(why)
    }
}

fn broken_line(why: line::Broken) -> Reply {
    let text = match why {
        line::Broken::BareLineEnd => "a line ends in CRLF, and holds no CR or LF",
        line::Broken::NotText => "this is an SMTP server",
        line::Broken::Endless => "line too long",
    };
    Reply::new(521, Enhanced(5, 5, 2), text)
}

#[cfg(test)]
mod tests;
