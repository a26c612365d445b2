//! A connection, plain or protected by TLS, with one buffer and one deadline.
//!
//! The buffer is taken when the socket has something to read and given back when all of it was consumed, so an idle
//! connection holds none. The deadline is a single timer that moves only when it fires too early.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::prefixed::Prefixed;

/// Octets read at once.
const READ: usize = 16 << 10;
/// What is left of a line when a connection waits is kept in a buffer of its own up to here.
const SMALL: usize = 512;
/// Spare buffers that are kept.
const SPARE: usize = 256;
/// How much, and for how long, is read and thrown away after our last word: closing with unread octets would reset the
/// connection, and the reply might never be seen.
const LINGER: (usize, Duration) = (1 << 20, Duration::from_millis(500));

/// Buffers that no connection needs now.
#[derive(Debug)]
pub(super) struct Buffers {
    size: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Each holds a line of `line_max` octets and more.
    pub(super) fn new(line_max: u64) -> Arc<Self> {
        let size = READ.max(usize::try_from(line_max).unwrap_or(READ) + SMALL);
        Arc::new(Self { size, spare: Mutex::default() })
    }

    fn take(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < self.size {
            return;
        }
        buffer.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    input: Input,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    /// Boxed, so that a plain connection is not as large as this.
    Tls(Box<TlsStream<Prefixed>>),
    /// A handshake has failed, and taken it along.
    Lost,
}

/// What was read.
#[derive(Debug)]
struct Input {
    buffers: Arc<Buffers>,
    buffer: Vec<u8>,
    consumed: usize,
}

/// What became of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// More octets are there.
    Read,
    /// The deadline has passed.
    Late,
    /// Something else came first.
    Interrupted,
}

/// The peer is gone, or does not read what we say: nothing more can be told to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It closed the connection, or the network did.
    Closed,
    /// It has not read our replies in time.
    Deaf,
    /// It is over before a word of SMTP could be said, and the log was told why.
    Told,
}

/// Why a TLS handshake has come to nothing.
#[derive(Debug)]
pub(super) enum Unsecured {
    /// The deadline has passed.
    Late,
    /// Something else came first.
    Interrupted,
    /// It failed, or the client is gone.
    Failed(io::Error),
}

impl Wire {
    pub(super) fn new(stream: TcpStream, buffers: Arc<Buffers>) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + Duration::from_secs(3600)));
        Self { stream: Stream::Plain(stream), input: Input { buffers, buffer: Vec::new(), consumed: 0 }, timer }
    }

    /// Read, and not consumed.
    pub(super) fn octets(&self) -> &[u8] {
        self.input.octets()
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.input.consume(octets);
    }

    /// What TLS knows of the connection, once it stands.
    pub(super) fn tls(&self) -> Option<&rustls::ServerConnection> {
        match &self.stream {
            Stream::Tls(stream) => Some(stream.get_ref().1),
            Stream::Plain(_) | Stream::Lost => None,
        }
    }

    /// Lets the client begin TLS. What was read and not consumed is its first part.
    pub(super) async fn secure(
        &mut self,
        config: Arc<ServerConfig>,
        deadline: Instant,
        interrupt: impl Future<Output = ()>,
    ) -> Result<(), Unsecured> {
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Lost) else {
            return Err(Unsecured::Failed(io::ErrorKind::NotConnected.into()));
        };
        let begun = self.input.octets().to_vec();
        self.input.consume(begun.len());
        self.input.settle();
        let handshake = Box::pin(TlsAcceptor::from(config).accept(Prefixed::new(begun, stream)));
        tokio::select! {
            biased;
            () = interrupt => Err(Unsecured::Interrupted),
            () = expired(&mut self.timer, deadline) => Err(Unsecured::Late),
            secured = handshake => {
                self.stream = Stream::Tls(Box::new(secured.map_err(Unsecured::Failed)?));
                Ok(())
            }
        }
    }

    /// Waits for more octets, until the deadline or until `interrupt` is ready.
    pub(super) async fn fill(
        &mut self,
        deadline: Instant,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Waited, Gone> {
        self.input.settle();
        let (stream, input) = (&mut self.stream, &mut self.input);
        tokio::select! {
            biased;
            () = interrupt => Ok(Waited::Interrupted),
            () = expired(&mut self.timer, deadline) => Ok(Waited::Late),
            read = poll_fn(|context| stream.poll_read(input, context)) => match read {
                Ok(0) | Err(_) => Err(Gone::Closed),
                Ok(_) => Ok(Waited::Read),
            }
        }
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, octets: &[u8], time: Duration) -> Result<(), Gone> {
        let deadline = Instant::now() + time;
        let stream = match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => {
                let sending = async {
                    stream.write_all(octets).await?;
                    stream.flush().await
                };
                tokio::select! {
                    biased;
                    sent = sending => return sent.map_err(|_| Gone::Closed),
                    () = expired(&mut self.timer, deadline) => return Err(Gone::Deaf),
                }
            }
            Stream::Lost => return Err(Gone::Closed),
        };
        let mut sent = 0;
        while sent < octets.len() {
            match stream.try_write(&octets[sent..]) {
                Ok(0) => return Err(Gone::Closed),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::select! {
                        ready = stream.writable() => ready.map_err(|_| Gone::Closed)?,
                        () = expired(&mut self.timer, deadline) => return Err(Gone::Deaf),
                    }
                }
                Err(_) => return Err(Gone::Closed),
            }
        }
        Ok(())
    }

    /// Ends the connection so that what was sent last is seen.
    pub(super) async fn close(&mut self) {
        let (octets_max, time) = LINGER;
        let (stream, input) = (&mut self.stream, &mut self.input);
        let lingering = async {
            match stream {
                Stream::Plain(stream) => stream.shutdown().await.ok(),
                Stream::Tls(stream) => stream.shutdown().await.ok(),
                Stream::Lost => None,
            };
            let mut thrown_away = 0;
            while thrown_away < octets_max {
                input.consume(usize::MAX);
                match poll_fn(|context| stream.poll_read(input, context)).await {
                    Ok(0) | Err(_) => return,
                    Ok(octets) => thrown_away += octets,
                }
            }
        };
        timeout(time, lingering).await.ok();
    }
}

impl Stream {
    /// Reads some octets behind those that are there; 0 at the end. Takes a buffer only for as long as there is something to
    /// read.
    fn poll_read(&mut self, input: &mut Input, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => loop {
                ready!(stream.poll_read_ready(context))?;
                input.make_room();
                match stream.try_read_buf(&mut input.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => input.settle(),
                    read => return Poll::Ready(read),
                }
            },
            Self::Tls(stream) => {
                input.make_room();
                let read = pin!(stream.read_buf(&mut input.buffer)).poll(context);
                if read.is_pending() {
                    input.settle();
                }
                read
            }
            Self::Lost => Poll::Ready(Ok(0)),
        }
    }
}

impl Input {
    fn octets(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    fn consume(&mut self, octets: usize) {
        self.consumed = self.consumed.saturating_add(octets).min(self.buffer.len());
    }

    /// A connection that waits holds what it has not consumed, and no more.
    fn settle(&mut self) {
        let left = self.octets().len();
        if left > SMALL || self.buffer.capacity() < self.buffers.size {
            return;
        }
        let small = self.octets().to_vec();
        self.buffers.give(std::mem::replace(&mut self.buffer, small));
        self.consumed = 0;
    }

    fn make_room(&mut self) {
        if self.buffer.capacity() < self.buffers.size {
            let mut buffer = self.buffers.take();
            buffer.extend_from_slice(self.octets());
            self.buffer = buffer;
        } else {
            self.buffer.drain(..self.consumed);
        }
        self.consumed = 0;
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve(READ);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.buffer));
    }
}

/// Waits until `deadline`. The timer is moved back only when it is too late, and forward only when it fires.
async fn expired(timer: &mut Pin<Box<Sleep>>, deadline: Instant) {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    loop {
        timer.as_mut().await;
        if Instant::now() >= deadline {
            // A timer that has fired is ready for ever; whoever waits next sets it.
            return;
        }
        timer.as_mut().reset(deadline);
    }
}
