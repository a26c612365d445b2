//! Many clients that behave as mail servers do: what is not acknowledged is sent again, by a new connection.
//!
//! They end when all is acknowledged, or after somebody has connected to [`STOP_PORT`]: then each of them when what it has
//! begun is acknowledged. At the end there is a line `session=N next=NUMBER` for each, with the number of the message that
//! it would have sent next, and `done`.
//!
//! The line of counts has these words:
//! - `acked`: messages answered with 250, each of its own subject `load-SESSION-NUMBER`;
//! - `again`: answered with 421, at any command: the server goes away, and the message is sent again;
//! - `cut`: connections that broke without a reply;
//! - `unreached`: connections that could not be made, or were not greeted;
//! - `worse`: every other reply that was not a yes, and the last of them as `said`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Messages in one connection before the next is made, so that the Service spreads them over its pods. Every second client
/// keeps its connection for as long as it may.
const MESSAGES_IN_A_CONNECTION: [u64; 2] = [10, u64::MAX];
/// How long a reply may take. Longer than any sync on a busy disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// Whoever connects to it ends the load.
const STOP_PORT: u16 = 2500;
/// Before a client tries again.
const PAUSE: Duration = Duration::from_millis(200);

/// What is to be sent.
pub(crate) struct Plan {
    pub(crate) server: String,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) sessions: u64,
    /// In all.
    pub(crate) messages: u64,
    /// At most so many a second, in all.
    pub(crate) rate: u64,
}

#[derive(Default)]
struct Counts {
    stopped: AtomicBool,
    acked: AtomicU64,
    again: AtomicU64,
    cut: AtomicU64,
    unreached: AtomicU64,
    worse: AtomicU64,
    said: Mutex<String>,
}

/// Why a connection ended before its messages were sent.
enum Ended {
    Again,
    Cut,
    Unreached,
    Worse(String),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Cut
    }
}

impl Counts {
    fn count(&self, ended: Ended) {
        let counter = match ended {
            Ended::Again => &self.again,
            Ended::Cut => &self.cut,
            Ended::Unreached => &self.unreached,
            Ended::Worse(reply) => {
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = reply;
                &self.worse
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn line(&self) -> String {
        let numbers = [
            ("acked", &self.acked),
            ("again", &self.again),
            ("cut", &self.cut),
            ("unreached", &self.unreached),
            ("worse", &self.worse),
        ];
        let words = numbers.map(|(name, number)| format!("{name}={}", number.load(Ordering::Relaxed)));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} said={}", words.join(" "), said.as_str())
    }
}

/// Sends all of it, and says so.
pub(crate) fn send(plan: Plan) -> io::Result<()> {
    let (plan, counts) = (Arc::new(plan), Arc::new(Counts::default()));
    let stop = TcpListener::bind(("127.0.0.1", STOP_PORT))?;
    let clients: Vec<_> = (0..plan.sessions)
        .map(|session| {
            let (plan, counts) = (Arc::clone(&plan), Arc::clone(&counts));
            thread::spawn(move || client(session, &plan, &counts))
        })
        .collect();
    let stopped = Arc::clone(&counts);
    thread::spawn(move || stopped.stopped.store(stop.accept().is_ok(), Ordering::Relaxed));
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        thread::sleep(Duration::from_secs(1));
        println!("{}", counts.line());
    }
    for (session, client) in clients.into_iter().enumerate() {
        let next = client.join().map_err(|_| io::Error::other("a client has panicked"))?;
        println!("session={session} next={next}");
    }
    println!("{}\ndone", counts.line());
    // The pod stays, so that what it printed can be read.
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// One client's share: those numbers whose remainder is its own. The number that it would have sent next.
fn client(session: u64, plan: &Plan, counts: &Counts) -> u64 {
    let mut number = session;
    while number < plan.messages && !counts.stopped.load(Ordering::Relaxed) {
        if let Err(ended) = connection(session, &mut number, plan, counts) {
            counts.count(ended);
            thread::sleep(PAUSE);
        }
    }
    number
}

/// Some messages in one connection. `number` moves on with each that is acknowledged.
fn connection(session: u64, number: &mut u64, plan: &Plan, counts: &Counts) -> Result<(), Ended> {
    let pace = Duration::from_millis(1000 * plan.sessions / plan.rate.max(1));
    let mut server = Server::connect(&plan.server).ok_or(Ended::Unreached)?;
    server.expect('2')?;
    server.say("EHLO load.test", '2')?;
    for _ in 0..MESSAGES_IN_A_CONNECTION[usize::from(session % 2 == 1)] {
        if *number >= plan.messages || counts.stopped.load(Ordering::Relaxed) {
            break;
        }
        server.say(&format!("MAIL FROM:<{}>", plan.sender), '2')?;
        server.say(&format!("RCPT TO:<{}>", plan.recipient), '2')?;
        server.say("DATA", '3')?;
        server.say(&format!("Subject: load-{session}-{number}\r\n\r\n{}.", "A line of text.\r\n".repeat(60)), '2')?;
        counts.acked.fetch_add(1, Ordering::Relaxed);
        *number += plan.sessions;
        thread::sleep(pace);
    }
    // All is sent: how the server says goodbye is of no consequence.
    drop(server.say("QUIT", '2'));
    Ok(())
}

struct Server(BufReader<TcpStream>);

impl Server {
    fn connect(to: &str) -> Option<Self> {
        let address = to.to_socket_addrs().ok()?.next()?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    fn say(&mut self, line: &str, good: char) -> Result<(), Ended> {
        // A server that goes away may have said so already: what cannot be written does not keep that from being read.
        let written = self.0.get_mut().write_all(format!("{line}\r\n").as_bytes());
        self.expect(good)?;
        Ok(written?)
    }

    /// Reads a reply of however many lines.
    fn expect(&mut self, good: char) -> Result<(), Ended> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(Ended::Cut);
            }
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            return match line.trim_end() {
                reply if reply.starts_with(good) => Ok(()),
                reply if reply.starts_with("421") => Err(Ended::Again),
                reply => Err(Ended::Worse(reply.to_owned())),
            };
        }
    }
}
