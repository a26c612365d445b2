//! One connection: moves octets between socket, session, decoder and spool, within its deadlines.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use self::content::Chunks;
use super::desk::Desk;
use super::seats::Seat;
use super::wire::{Buffers, Gone, Waited, Wire};
use super::{Port, Server};
use crate::metrics::{self, Why};
use crate::shutdown::{Shutdown, Stage};
use crate::smtp::line::{Framed, Framer};
use crate::smtp::reply::Replies;
use crate::smtp::session::{Answer, Closed, Input, Next, Question, Session};
use crate::spool::Receipt;

mod content;

/// Replies that wait are sent when there are so many octets of them, or when no complete line is left to answer.
const REPLIES_MAX: usize = 4 << 10;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) port: Arc<Port>,
    /// By its own word, or that of a trusted proxy.
    pub(super) client: IpAddr,
    /// The trusted proxy in between, if there is one.
    pub(super) proxy: Option<IpAddr>,
    pub(super) seat: Seat,
    shutdown: Shutdown,
    pub(super) wire: Wire,
    session: Session<Receipt>,
    framer: Framer,
    replies: Replies,
    pub(super) desk: Desk,
    /// Between two chunks of one content.
    chunks: Option<Box<Chunks>>,
    /// When the line that is awaited must be complete.
    line_deadline: Option<Instant>,
    draining: bool,
}

impl Connection {
    /// Fails when the connection is already gone.
    pub(super) fn new(
        stream: TcpStream,
        client: SocketAddr,
        seat: Seat,
        server: Arc<Server>,
        port: Arc<Port>,
        buffers: Arc<Buffers>,
        shutdown: Shutdown,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?.ip();
        let client = client.ip().to_canonical();
        let octets = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        server.metrics.server().open_connections.inc();
        Ok(Self {
            client,
            seat,
            shutdown,
            wire: Wire::new(stream, buffers),
            session: Session::new(Arc::clone(&server.hostname), server.session_limits()),
            framer: Framer::new(octets(server.limits.command_line), octets(server.limits.command_line_discard)),
            replies: Replies::default(),
            desk: Desk::new(Arc::clone(&server), Arc::clone(&port), client, local),
            chunks: None,
            line_deadline: None,
            draining: false,
            proxy: None,
            server,
            port,
        })
    }

    /// Until one side closes it.
    #[expect(clippy::manual_async_fn, reason = "an async fn would keep a second place for `self`")]
    pub(super) fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move {
            match self.talk().await {
                Ok(why) => {
                    self.note_end(why);
                    if self.flush().await.is_ok() && why != Closed::Evicted {
                        self.seat.idle(Instant::now()); // whoever only waits to see our last word may be sent away
                        self.wire.close().await;
                    }
                }
                Err(Gone::Closed) => tracing::debug!(client = %self.client, "the client has closed the connection"),
                Err(Gone::Deaf) => self.note_end(Closed::Timeout),
                Err(Gone::Told) => {}
            }
        }
    }

    async fn talk(&mut self) -> Result<Closed, Gone> {
        Box::pin(self.introduce()).await?;
        if self.port.implicit {
            Box::pin(self.secure()).await?;
            self.step(Input::TlsUp);
        }
        let mut next = self.step(Input::Connected);
        loop {
            next = match next {
                Next::Ask(serial, question) => {
                    let ahead = question == Question::StartTls && !self.wire.octets().is_empty();
                    let answer = match self.desk.answer(question).await {
                        Answer::Yes if ahead => Answer::Ahead,
                        answer => answer,
                    };
                    self.step(Input::Answer(serial, answer))
                }
                Next::Body(framing) => {
                    let input = self.content(framing).await?.map_or(Input::Deadline, Input::Body);
                    self.step(input)
                }
                Next::Skip(octets) => {
                    let in_time = self.skip(octets).await?;
                    self.step(if in_time { Input::Skipped } else { Input::Deadline })
                }
                Next::Commit => match Box::pin(self.desk.commit(self.session.hello())).await {
                    Ok(receipt) => self.step(Input::Accepted(receipt)),
                    Err(reply) => self.step(Input::Refused(reply)),
                },
                Next::Discard => {
                    self.desk.discard();
                    self.chunks = None;
                    Next::Read
                }
                Next::StartTls => {
                    self.flush().await?;
                    Box::pin(self.secure()).await?;
                    self.step(Input::TlsUp)
                }
                Next::Read | Next::Unchanged => self.command().await?,
                Next::Close(why) => return Ok(why),
            };
        }
    }

    fn step(&mut self, input: Input<'_, Receipt>) -> Next {
        self.session.step(input, &mut self.replies)
    }

    /// Reads a line and gives it to the session; or tells it why there is none.
    async fn command(&mut self) -> Result<Next, Gone> {
        loop {
            let octets = self.wire.octets();
            let (consumed, next) = match self.framer.next(octets) {
                Framed::Line(length) => {
                    let input = Input::Line { line: &octets[..length], more: octets.len() > length + 2 };
                    (length + 2, Some(self.session.step(input, &mut self.replies)))
                }
                Framed::TooLong(length) => (length, Some(self.step(Input::LineTooLong))),
                Framed::Broken(why) => (0, Some(self.step(Input::LineBroken(why)))),
                Framed::Discard(length) => (length, None),
                Framed::Incomplete => match self.wait_for_command().await? {
                    Some(next) => return Ok(next),
                    None => continue,
                },
            };
            self.wire.consume(consumed);
            if let Some(next) = next {
                self.line_deadline = None;
                if self.replies.as_bytes().len() > REPLIES_MAX {
                    self.flush().await?;
                }
                return Ok(next);
            }
        }
    }

    /// Until more is there (`None`), or something ends the wait.
    async fn wait_for_command(&mut self) -> Result<Option<Next>, Gone> {
        self.flush().await?;
        let deadline = *self.line_deadline.get_or_insert_with(|| Instant::now() + self.server.limits.command_time);
        if self.session.is_idle() && self.wire.octets().is_empty() {
            self.seat.idle(Instant::now());
        }
        let (seat, shutdown, draining) = (&self.seat, &self.shutdown, self.draining);
        let interrupt = async {
            tokio::select! {
                () = seat.asked_to_leave() => {}
                () = shutdown.reached(Stage::Draining), if !draining => {}
            }
        };
        let waited = self.wire.fill(deadline, interrupt).await?;
        self.seat.busy();
        Ok(match waited {
            Waited::Read => None,
            Waited::Late => Some(self.step(Input::Deadline)),
            Waited::Interrupted if !self.draining && self.shutdown.stage() >= Stage::Draining => {
                self.draining = true;
                Some(self.step(Input::Draining))
            }
            Waited::Interrupted => Some(self.step(Input::Evicted)),
        })
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if !self.replies.as_bytes().is_empty() {
            self.wire.send(self.replies.as_bytes(), self.server.limits.reply_time).await?;
            self.replies.clear();
        }
        Ok(())
    }

    /// Whoever is cut off finds out why in the log; whoever says QUIT needs no line.
    fn note_end(&self, why: Closed) {
        let (counted, decision) = match why {
            Closed::Quit => return,
            Closed::Blocked => (metrics::Closed::Blocked, "blocked-client"),
            Closed::Timeout => (metrics::Closed::Timeout, "timeout"),
            Closed::Errors => (metrics::Closed::Errors, "too-many-errors"),
            Closed::Protocol => (metrics::Closed::Protocol, "protocol"),
            Closed::Draining => (metrics::Closed::Draining, "draining"),
            Closed::Evicted => (metrics::Closed::Full, "idle-longest"),
            Closed::Fault => (metrics::Closed::Protocol, "fault"),
        };
        self.server.metrics.server().closed.get_or_create(&Why { why: counted }).inc();
        if why != Closed::Blocked {
            let reply = String::from_utf8_lossy(self.replies.as_bytes());
            let reply = reply.lines().next_back().unwrap_or_default();
            let proxy = self.proxy.map(tracing::field::display);
            tracing::info!(client = %self.client, proxy, reply, decision, "connection closed");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.metrics.server().open_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand idle connections are ten thousand of these.
    #[test]
    fn a_connection_is_small() {
        fn size<F>(_: impl FnOnce(Connection) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(Connection::serve) <= 2048, "{} octets", size(Connection::serve));
    }
}
