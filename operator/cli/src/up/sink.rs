//! The built-in mailbox server of `postern up --sink`: takes all mail, shows each delivery, keeps it as a file.
//!
//! It listens on the loopback endpoints that the RelayHosts name, so that the whole way of a message can be watched with
//! nothing else installed. It is not part of the relay and no mailbox server for real mail: it does not sync what it
//! writes. It speaks by the relay's own protocol machine, with answers of its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use postern_relay::address::{ForwardPath, ReversePath};
use postern_relay::queue_id::QueueId;
use postern_relay::smtp::body::{Decoder, Step};
use postern_relay::smtp::line::{Framed, Framer};
use postern_relay::smtp::reply::{Enhanced, Replies, Reply};
use postern_relay::smtp::session::{Limits, Session};
use postern_relay::smtp::turn::{Answer, BodyEnd, Framing, Input, Next, Offers, Question, Stored};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The largest message that it takes: as large as any policy may allow.
const MESSAGE_SIZE_MAX: u64 = postern_wire::limits::MESSAGE_SIZE.max;
/// Octets of a command line, and of a line that is read and refused.
const LINE_MAX: (usize, usize) = (2048, 64 << 10);
/// What a relay may do wrong; it is ours, so this is only a net.
const LIMITS: Limits = Limits { errors: 20, refusals: 10_000, idle_commands: 1000, chunk: MESSAGE_SIZE_MAX };

/// What the sink does with what it gets.
#[derive(Debug)]
pub(super) struct Sink {
    /// The folder of the .eml files.
    pub(super) directory: PathBuf,
    /// Recipients that it refuses with 550, lower-case: to see what the relay makes of it.
    pub(super) refused: Vec<String>,
}

impl Sink {
    /// Listens on all of `addresses`.
    ///
    /// # Errors
    /// The folder or an address that cannot be had, by name.
    pub(super) async fn bind(
        self,
        addresses: &[SocketAddr],
    ) -> anyhow::Result<impl Future<Output = io::Result<()>> + use<>> {
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make the folder {}", self.directory.display()))?;
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("the built-in mailbox server cannot listen on {address}"))?;
            listeners.push(listener);
        }
        let sink = Arc::new(self);
        Ok(async move {
            let mut serving = JoinSet::new();
            for listener in listeners {
                serving.spawn(accept(listener, sink.clone()));
            }
            while let Some(ended) = serving.join_next().await {
                ended.map_err(io::Error::other)??;
            }
            Ok(())
        })
    }
}

async fn accept(listener: TcpListener, sink: Arc<Sink>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let sink = sink.clone();
        // A connection that breaks is the relay's to notice and to repeat.
        tokio::spawn(async move { Connection::new(stream, sink).serve().await });
    }
}

/// A message that was written to its file.
struct Kept(QueueId);

impl Stored for Kept {
    fn id(&self) -> QueueId {
        self.0
    }
}

struct Connection {
    stream: TcpStream,
    sink: Arc<Sink>,
    unread: Vec<u8>,
    framer: Framer,
    replies: Replies,
    sender: Option<ReversePath>,
    recipients: Vec<ForwardPath>,
    content: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream, sink: Arc<Sink>) -> Self {
        let framer = Framer::new(LINE_MAX.0, LINE_MAX.1);
        let (unread, content) = (Vec::new(), Vec::new());
        let (sender, recipients) = (None, Vec::new());
        Self { stream, sink, unread, framer, replies: Replies::default(), sender, recipients, content }
    }

    async fn serve(mut self) -> io::Result<()> {
        let mut session = Session::<Kept>::new("sink.postern.invalid".into(), LIMITS);
        let mut next = session.step(Input::Connected, &mut self.replies);
        loop {
            next = match next {
                Next::Ask(serial, question) => {
                    let answer = self.answer(question);
                    session.step(Input::Answer(serial, answer), &mut self.replies)
                }
                Next::Body(Framing::Dot) => {
                    let end = self.body().await?;
                    session.step(Input::Body(end), &mut self.replies)
                }
                Next::Body(Framing::Chunk { bytes, .. }) => {
                    self.chunk(bytes, true).await?;
                    session.step(Input::Body(BodyEnd::Complete), &mut self.replies)
                }
                Next::Skip(bytes) => {
                    self.chunk(bytes, false).await?;
                    session.step(Input::Skipped, &mut self.replies)
                }
                Next::Commit => match self.keep() {
                    Ok(kept) => session.step(Input::Accepted(kept), &mut self.replies),
                    Err(error) => {
                        let reply = Reply::new(452, Enhanced(4, 3, 1), format!("cannot keep it: {error}"));
                        session.step(Input::Refused(reply), &mut self.replies)
                    }
                },
                Next::Discard => {
                    self.forget();
                    self.line(&mut session).await?
                }
                Next::Read | Next::Unchanged => self.line(&mut session).await?,
                Next::StartTls | Next::Close(_) => return self.flush().await, // TLS is never offered here
            };
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Client | Question::Content => Answer::Yes,
            Question::Hello => Answer::Offers(Offers { size_max: MESSAGE_SIZE_MAX, starttls: false, dsn: false }),
            Question::StartTls => Answer::No(Reply::new(502, Enhanced(5, 5, 1), "command not implemented")),
            Question::Sender(mail) => {
                self.sender = Some(mail.sender);
                Answer::Yes
            }
            Question::Recipient(rcpt) => match rcpt.to {
                ForwardPath::Mailbox(mailbox) if self.sink.refused.contains(&mailbox.key()) => {
                    let text = format!("<{mailbox}>: mailbox unavailable (refused by --sink-refuse)");
                    Answer::No(Reply::new(550, Enhanced(5, 2, 1), text))
                }
                path => {
                    self.recipients.push(path);
                    Answer::Yes
                }
            },
        }
    }

    async fn line(&mut self, session: &mut Session<Kept>) -> io::Result<Next> {
        loop {
            let (consumed, next) = match self.framer.next(&self.unread) {
                Framed::Line(length) => {
                    let input = Input::Line { line: &self.unread[..length], more: self.unread.len() > length + 2 };
                    (length + 2, Some(session.step(input, &mut self.replies)))
                }
                Framed::Incomplete => (0, None),
                Framed::Discard(length) => (length, None),
                Framed::TooLong(length) => (length, Some(session.step(Input::LineTooLong, &mut self.replies))),
                Framed::Broken(why) => (0, Some(session.step(Input::LineBroken(why), &mut self.replies))),
            };
            self.unread.drain(..consumed);
            match next {
                Some(next) => return Ok(next),
                None => self.fill().await?,
            }
        }
    }

    async fn body(&mut self) -> io::Result<BodyEnd> {
        let mut decoder = Decoder::new(u64::MAX);
        self.content.clear();
        loop {
            let mut input = self.unread.as_slice();
            let end = loop {
                match decoder.next(&mut input) {
                    Step::Content(octets) => self.content.extend_from_slice(octets),
                    Step::More => break None,
                    Step::End => break Some(BodyEnd::Complete),
                    Step::Broken(why) => break Some(BodyEnd::Broken(why)),
                }
                if self.content.len() as u64 > MESSAGE_SIZE_MAX {
                    return Err(io::Error::other("a message larger than any policy allows"));
                }
            };
            let consumed = self.unread.len() - input.len();
            self.unread.drain(..consumed);
            match end {
                Some(end) => return Ok(end),
                None => self.fill().await?,
            }
        }
    }

    /// A chunk after BDAT. Whatever our own relay sends so is kept as it came.
    async fn chunk(&mut self, bytes: u64, keep: bool) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let there = self.unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if keep {
                self.content.extend_from_slice(&self.unread[..there]);
            }
            self.unread.drain(..there);
            left -= there as u64;
            if self.content.len() as u64 > MESSAGE_SIZE_MAX {
                return Err(io::Error::other("a message larger than any policy allows"));
            }
            if left > 0 {
                self.fill().await?;
            }
        }
        Ok(())
    }

    /// Sends what is to be said, then reads on.
    async fn fill(&mut self) -> io::Result<()> {
        self.flush().await?;
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(self.replies.as_bytes()).await?;
        self.replies.clear();
        Ok(())
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.content.clear();
    }

    /// Writes the message with the fields that final delivery adds (RFC 5321, section 4.4), and says so.
    fn keep(&mut self) -> io::Result<Kept> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        #[expect(clippy::disallowed_methods, reason = "the sink is a driver: it names its files by the time")]
        let now: Timestamp = std::time::SystemTime::now().try_into().map_err(io::Error::other)?;
        let id = QueueId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), u32::from_be_bytes(random));
        let sender = self.sender.take().unwrap_or(ReversePath::Null);
        let mut file = format!("Return-Path: {sender}\r\n").into_bytes();
        let mut to = Vec::new();
        for recipient in self.recipients.drain(..) {
            let address = recipient.to_string();
            file.extend_from_slice(format!("Delivered-To: {}\r\n", address.trim_matches(['<', '>'])).as_bytes());
            to.push(address);
        }
        file.append(&mut self.content);
        let path = self.sink.directory.join(format!("{id}.eml"));
        std::fs::write(&path, &file)?;
        println!("{}", delivery(&sender, &to, &file, &path));
        Ok(Kept(id))
    }
}

/// One line about a delivery, for a person.
fn delivery(sender: &ReversePath, recipients: &[String], message: &[u8], path: &Path) -> String {
    let subject = match subject(message) {
        Some(subject) => format!("\"{subject}\""),
        None => "no subject".to_owned(),
    };
    let to = recipients.join(", ");
    format!("delivered  {sender} to {to}: {subject}, {} octets, {}", message.len(), path.display())
}

/// The first line of the Subject field, without what a terminal would obey.
fn subject(message: &[u8]) -> Option<String> {
    let header = String::from_utf8_lossy(message);
    let line = header.split("\r\n").take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("subject").then(|| value.trim().to_owned())
    })?;
    Some(line.chars().filter(|character| !character.is_control()).take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_delivery_on_one_line_that_a_terminal_cannot_obey() {
        let message = b"Received: x\r\nsubject: hi \x1b[2Jthere\r\n folded\r\n\r\nSubject: not this\r\n";
        let line = delivery(&ReversePath::Null, &["<a@example.com>".into()], message, Path::new("d/1.eml"));
        assert_eq!(line, "delivered  <> to <a@example.com>: \"hi [2Jthere\", 66 octets, d/1.eml");
        assert_eq!(subject(b"From: a\r\n\r\nSubject: in the body\r\n"), None);
    }
}
