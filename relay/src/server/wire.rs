//! A socket with one buffer and one deadline.
//!
//! The buffer is taken when the socket has something to read and given back when all of it was consumed, so an idle
//! connection holds none. The deadline is a single timer that moves only when it fires too early.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

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
    stream: TcpStream,
    buffers: Arc<Buffers>,
    buffer: Vec<u8>,
    consumed: usize,
    timer: Pin<Box<Sleep>>,
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
}

impl Wire {
    pub(super) fn new(stream: TcpStream, buffers: Arc<Buffers>) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + Duration::from_secs(3600)));
        Self { stream, buffers, buffer: Vec::new(), consumed: 0, timer }
    }

    /// Read, and not consumed.
    pub(super) fn octets(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.consumed = (self.consumed + octets).min(self.buffer.len());
    }

    /// Waits for more octets, until the deadline or until `interrupt` is ready.
    pub(super) async fn fill(
        &mut self,
        deadline: Instant,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Waited, Gone> {
        self.settle();
        tokio::pin!(interrupt);
        loop {
            tokio::select! {
                biased;
                () = &mut interrupt => return Ok(Waited::Interrupted),
                () = expired(&mut self.timer, deadline) => return Ok(Waited::Late),
                ready = self.stream.readable() => {
                    ready.map_err(|_| Gone::Closed)?;
                    self.make_room();
                    match self.stream.try_read_buf(&mut self.buffer) {
                        Ok(0) => return Err(Gone::Closed),
                        Ok(_) => return Ok(Waited::Read),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.settle(),
                        Err(_) => return Err(Gone::Closed),
                    }
                }
            }
        }
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

    /// Sends all of it.
    pub(super) async fn send(&mut self, octets: &[u8], time: Duration) -> Result<(), Gone> {
        let deadline = Instant::now() + time;
        let mut sent = 0;
        while sent < octets.len() {
            match self.stream.try_write(&octets[sent..]) {
                Ok(0) => return Err(Gone::Closed),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::select! {
                        ready = self.stream.writable() => ready.map_err(|_| Gone::Closed)?,
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
        let lingering = async {
            self.stream.shutdown().await.ok();
            let mut thrown_away = 0;
            while thrown_away < octets_max {
                self.stream.readable().await.ok();
                self.consumed = self.buffer.len();
                self.make_room();
                match self.stream.try_read_buf(&mut self.buffer) {
                    Ok(0) => return,
                    Ok(octets) => thrown_away += octets,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        timeout(time, lingering).await.ok();
    }
}

impl Drop for Wire {
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
