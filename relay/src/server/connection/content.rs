//! Reads content from the wire, after DATA or in chunks after BDAT, within its deadlines: a whole message has one, a pause
//! has one, and so has a message that comes too slowly.

use std::time::Duration;

use tokio::time::Instant;

use super::{Connection, Gone, Waited};
use crate::limits::Limits;
use crate::smtp::body::{Decoder, Step};
use crate::smtp::chunk::Checker;
use crate::smtp::session::{BodyEnd, Framing};

/// What lasts from the first chunk of a content to its last.
#[derive(Debug)]
pub(super) struct Chunks {
    checker: Checker,
    pace: Pace,
}

/// How fast content has come so far.
#[derive(Debug)]
struct Pace {
    began: Instant,
    progress: Instant,
    received: u64,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self { began: now, progress: now, received: 0 }
    }

    /// When more must have come.
    fn deadline(&self, limits: &Limits) -> Instant {
        let by_rate = self.began + limits.body_time + Duration::from_secs(self.received / limits.body_rate.max(1));
        by_rate.min(self.progress + limits.body_time).min(self.began + limits.message_time)
    }
}

impl Connection {
    /// Reads content to its end, and keeps of it what may be kept. `None`: it came too slowly.
    pub(super) async fn content(&mut self, framing: Framing) -> Result<Option<BodyEnd>, Gone> {
        match framing {
            Framing::Dot => self.dotted().await,
            Framing::Chunk { bytes, last } => self.chunk(bytes, last).await,
        }
    }

    async fn dotted(&mut self) -> Result<Option<BodyEnd>, Gone> {
        let mut pace = Pace::new();
        let mut decoder = Decoder::new(self.line_max());
        loop {
            let octets = self.wire.octets();
            let mut rest = octets;
            let end = loop {
                match decoder.next(&mut rest) {
                    Step::Content(clean) => self.desk.write(clean).await,
                    Step::More => break None,
                    Step::End => break Some(self.desk.body_end(decoder.overlong())),
                    Step::Broken(why) => break Some(BodyEnd::Broken(why)),
                }
            };
            let consumed = octets.len() - rest.len();
            self.wire.consume(consumed);
            pace.received += consumed as u64;
            if end.is_some() {
                return Ok(end);
            }
            if !self.more(&mut pace).await? {
                return Ok(None);
            }
        }
    }

    async fn chunk(&mut self, bytes: u64, last: bool) -> Result<Option<BodyEnd>, Gone> {
        let mut chunks = match self.chunks.take() {
            Some(chunks) => chunks,
            None => {
                Box::new(Chunks { checker: Checker::new(self.line_max(), self.desk.is_binary()), pace: Pace::new() })
            }
        };
        chunks.pace.progress = Instant::now();
        if chunks.pace.progress >= chunks.pace.deadline(&self.server.limits) {
            return Ok(None); // in pieces that are each in time
        }
        self.desk.announce(bytes);
        let mut left = bytes;
        while left > 0 {
            let octets = self.wire.octets();
            let octets = &octets[..octets.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            if octets.is_empty() {
                if !self.more(&mut chunks.pace).await? {
                    return Ok(None);
                }
                continue;
            }
            match chunks.checker.take(octets) {
                Ok(()) => self.desk.write(octets).await,
                Err(why) => self.desk.spoil(BodyEnd::Broken(why)),
            }
            let taken = octets.len();
            self.wire.consume(taken);
            chunks.pace.received += taken as u64;
            left -= taken as u64;
        }
        if !last {
            self.chunks = Some(chunks);
            return Ok(Some(self.desk.chunk_end()));
        }
        match chunks.checker.end() {
            Ok(overlong) => Ok(Some(self.desk.body_end(overlong))),
            Err(why) => {
                self.desk.spoil(BodyEnd::Broken(why));
                Ok(Some(self.desk.body_end(false)))
            }
        }
    }

    /// Throws so many octets away; false when they came too slowly.
    pub(super) async fn skip(&mut self, octets: u64) -> Result<bool, Gone> {
        let (mut pace, mut left) = (Pace::new(), octets);
        while left > 0 {
            let there = self.wire.octets().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.wire.consume(there);
            pace.received += there as u64;
            left -= there as u64;
            if left > 0 && !self.more(&mut pace).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for more, once all that waits to be said is sent; false when it did not come in time.
    async fn more(&mut self, pace: &mut Pace) -> Result<bool, Gone> {
        self.flush().await?;
        let deadline = pace.deadline(&self.server.limits);
        if self.wire.fill(deadline, std::future::pending()).await? != Waited::Read {
            return Ok(false);
        }
        pace.progress = Instant::now();
        Ok(true)
    }

    fn line_max(&self) -> u64 {
        self.server.limits.body_line.saturating_sub("\r\n".len() as u64)
    }
}
