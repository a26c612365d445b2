//! A mail server that keeps all that it is given, octet by octet, and answers as a test tells it to.
//!
//! Only CRLF.CRLF ends its DATA, so a smuggled message shows as a second one only if the sender made it so. It takes BDAT
//! (RFC 3030) too, though it says so only where a test lets it ([`EVERYTHING`]).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::wait_for;
use crate::loopback;

/// An answer to EHLO that offers all that this sink can do, and all that it can keep: for [`Sink::answer`].
pub const EVERYTHING: &str = "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n\
                              250-SMTPUTF8\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE";

/// What the sink was given in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What stood in MAIL FROM after the colon, parameters included: `<a@b.test> SIZE=10`.
    pub sender: String,
    /// What stood in each accepted RCPT TO after the colon.
    pub recipients: Vec<String>,
    /// The content without the dots that were stuffed.
    pub content: Vec<u8>,
}

/// A running mail server. Dropping it closes its connections and its port.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    /// Command prefix (upper case as far as the colon), reply line.
    answers: Mutex<Vec<(String, String)>>,
    /// Those that are open, by the port of the other end.
    connections: Mutex<BTreeMap<SocketAddr, TcpStream>>,
    stopping: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// A sink on an address of its own.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start() -> Result<Self> {
        Self::listen(loopback::address())
    }

    /// A sink on this address: another one's, after that was dropped, when a server that was down comes back.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("a sink on {address}"))?;
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on answers commands that begin so with this line: `("RCPT TO:<bob@", "550 5.1.1 unknown")`. A full stop
    /// as the command is the end of the content. An empty reply closes the connection. The latest rule wins.
    pub fn answer(&self, command: &str, reply: &str) {
        lock(&self.shared.answers).push((command.to_owned(), reply.to_owned()));
    }

    /// From now on takes everything again.
    pub fn answer_normally(&self) {
        lock(&self.shared.answers).clear();
    }

    /// All mail so far, in the order in which it was taken.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.shared.mails).clone()
    }

    /// All mail, once it is at least so many.
    ///
    /// # Errors
    /// When they do not come within `limit`.
    pub fn wait_for_mails(&self, count: usize, limit: Duration) -> Result<Vec<Mail>> {
        wait_for(&format!("{count} messages at the sink"), limit, || {
            let mails = lock(&self.shared.mails);
            (mails.len() >= count).then(|| mails.clone())
        })
        .with_context(|| format!("it has {}", lock(&self.shared.mails).len()))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the acceptor. When that fails nobody is waiting there any more.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        for connection in lock(&self.shared.connections).values() {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (Ok(peer), Ok(clone)) = (stream.peer_addr(), stream.try_clone()) else { continue };
        lock(&shared.connections).insert(peer, clone);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is the relay's business: it shows there, and in what is missing here.
            drop(Connection::new(stream, Arc::clone(&shared)).and_then(|mut connection| connection.serve()));
            lock(&shared.connections).remove(&peer);
        });
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
    shared: Arc<Shared>,
    mail: Mail,
}

impl Connection {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Result<Self> {
        stream.set_nodelay(true)?;
        let mail = Mail { sender: String::new(), recipients: Vec::new(), content: Vec::new() };
        Ok(Self { reader: BufReader::new(stream), shared, mail })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())?)
    }

    /// The rule for this command, if a test gave one.
    fn ordered(&self, command: &str) -> Option<String> {
        let answers = lock(&self.shared.answers);
        answers.iter().rev().find(|(prefix, _)| command.starts_with(prefix.as_str())).map(|(_, reply)| reply.clone())
    }

    fn serve(&mut self) -> Result<()> {
        self.say("220 sink.test ESMTP")?;
        let mut line = Vec::new();
        while self.reader.read_until(b'\n', &mut line)? > 0 {
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if !self.step(&command)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers one command; false ends the connection.
    fn step(&mut self, command: &str) -> Result<bool> {
        let (verb, argument) = command.split_once([' ', ':']).unwrap_or((command, ""));
        let argument = argument.split_once(':').map_or("", |(_, path)| path);
        if let Some(reply) = self.ordered(command) {
            if !reply.is_empty() {
                self.say(&reply)?;
            }
            return Ok(!reply.is_empty());
        }
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE")?
            }
            "MAIL" => {
                self.mail.sender = argument.to_owned();
                self.mail.recipients.clear();
                self.mail.content.clear();
                self.say("250 2.1.0 ok")?;
            }
            "RCPT" => {
                self.mail.recipients.push(argument.to_owned());
                self.say("250 2.1.5 ok")?;
            }
            "DATA" if self.mail.recipients.is_empty() => self.say("554 5.5.1 no valid recipients")?,
            "DATA" => return self.data(),
            "BDAT" => return self.chunk(command),
            "QUIT" => {
                self.say("221 2.0.0 bye")?;
                return Ok(false);
            }
            "HELO" | "RSET" | "NOOP" => self.say("250 2.0.0 ok")?,
            _ => self.say("500 5.5.2 what?")?,
        }
        Ok(true)
    }

    fn data(&mut self) -> Result<bool> {
        self.say("354 go on")?;
        let mut content = Vec::new();
        let mut line_start = true;
        loop {
            let begun = content.len();
            if self.reader.read_until(b'\n', &mut content)? == 0 {
                return Ok(false);
            }
            let line = &content[begun..];
            if line_start && line == b".\r\n" {
                content.truncate(begun);
                break;
            }
            let ends_line = line.ends_with(b"\r\n");
            if line_start && line.starts_with(b".") {
                content.remove(begun);
            }
            line_start = ends_line;
        }
        self.mail.content = content;
        self.end()
    }

    /// One chunk; with the last the content ends.
    fn chunk(&mut self, command: &str) -> Result<bool> {
        let mut words = command.split(' ').skip(1);
        let octets: u64 = words.next().context("BDAT has a length")?.parse()?;
        let came = (&mut self.reader).take(octets).read_to_end(&mut self.mail.content)?;
        if came as u64 != octets {
            return Ok(false);
        }
        if words.next().is_some() {
            return self.end();
        }
        self.say("250 2.0.0 go on")?;
        Ok(true)
    }

    /// The content is complete; false ends the connection.
    fn end(&mut self) -> Result<bool> {
        let reply = self.ordered(".").unwrap_or_else(|| "250 2.0.0 taken".to_owned());
        // Kept before the answer, as a server must: it may never be heard.
        if reply.starts_with('2') {
            lock(&self.shared.mails).push(self.mail.clone());
        }
        self.mail.recipients.clear();
        self.mail.content.clear();
        if reply.is_empty() {
            return Ok(false);
        }
        self.say(&reply)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Client;

    #[test]
    fn keeps_what_it_is_given_and_only_crlf_dot_crlf_ends_it() {
        let sink = Sink::start().unwrap();
        let mut client = Client::greeted(sink.address()).unwrap();
        client.mail("a@a.test", &["b@b.test", "c@b.test"], b"one\n.\nMAIL\r\n..two\r\n").unwrap();
        let mails = sink.mails();
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0].sender, "<a@a.test>");
        assert_eq!(mails[0].recipients, ["<b@b.test>", "<c@b.test>"]);
        assert_eq!(mails[0].content, b"one\n.\nMAIL\r\n.two\r\n");
    }

    #[test]
    fn answers_as_it_is_told_until_it_is_told_otherwise() {
        let sink = Sink::start().unwrap();
        let mut client = Client::greeted(sink.address()).unwrap();
        sink.answer("RCPT TO:<bob@", "550 5.1.1 unknown");
        client.say("MAIL FROM:<>", 250).unwrap();
        client.say("RCPT TO:<bob@b.test>", 550).unwrap();
        sink.answer_normally();
        client.say("RCPT TO:<bob@b.test>", 250).unwrap();
        sink.answer("DATA", "");
        assert!(client.ask("DATA").is_err());
        assert!(sink.mails().is_empty());
    }

    #[test]
    fn goes_down_and_comes_back_on_the_same_address() {
        let sink = Sink::start().unwrap();
        let address = sink.address();
        let mut client = Client::greeted(address).unwrap();
        drop(sink);
        assert!(client.is_closed());
        assert!(Client::connect(address).is_err());
        let _back = Sink::listen(address).unwrap();
        Client::greeted(address).unwrap();
    }
}
