//! Takes connections. Always: over the limit whoever has been idle longest makes room, or the newcomer is told to come
//! back. Waiting for a free place before accepting would starve every new client behind a few slow ones.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::seats::Seats;
use super::wire::Buffers;
use super::{Port, Server};
use crate::metrics::{Closed, Why};
use crate::shutdown::{Shutdown, Stage};
use crate::tls::Acceptor;

/// How long to wait when no descriptor is left, at first and at most. A connection that ends frees one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
const FULL: &[u8] = b"421 4.3.2 too many connections, come back later\r\n";

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    /// Bound already.
    pub socket: TcpListener,
    /// For TLS. Absent: there is none here.
    pub acceptor: Option<Acceptor>,
    /// TLS comes before anything else, as on port 465; otherwise after STARTTLS.
    pub implicit: bool,
}

/// What all listeners share.
struct House {
    server: Arc<Server>,
    seats: Seats,
    buffers: Arc<Buffers>,
    shutdown: Shutdown,
}

/// Serves until [`Stage::Draining`], then lets what was begun finish. Returns when the last connection has ended; at
/// [`Stage::Ended`] those that are left are cut. The listeners share their limits.
pub async fn run(listeners: Vec<Listener>, server: Server, shutdown: Shutdown) {
    let (seats, buffers) = (Seats::new(server.limits.connections), Buffers::new(server.limits.command_line));
    let house = House { server: Arc::new(server), seats, buffers, shutdown };
    futures::future::join_all(listeners.into_iter().map(|listener| house.listen(listener))).await;
}

impl House {
    async fn listen(&self, listener: Listener) {
        let Listener { socket, acceptor, implicit } = listener;
        let port = Arc::new(Port { acceptor, implicit });
        let mut sessions = JoinSet::new();
        let mut back_off = BACK_OFF.0;
        let draining = self.shutdown.reached(Stage::Draining);
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => break,
                Some(ended) = sessions.join_next() => report(ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, client)) => {
                        back_off = BACK_OFF.0;
                        if let Some(connection) = self.admit(stream, client, &port) {
                            sessions.spawn(connection.serve());
                        }
                    }
                    Err(error) => back_off = wait_out(&error, back_off, &mut sessions).await,
                },
            }
        }
        drop(socket);
        let ended = self.shutdown.reached(Stage::Ended);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                joined = sessions.join_next() => match joined {
                    Some(joined) => report(joined),
                    None => return,
                },
                () = &mut ended => {
                    tracing::warn!(connections = sessions.len(), "connections are cut at the end of the drain");
                    sessions.shutdown().await;
                    return;
                }
            }
        }
    }

    /// Gives it a place, unless there is none, or it is gone already.
    fn admit(&self, stream: TcpStream, client: SocketAddr, port: &Arc<Port>) -> Option<Connection> {
        self.server.metrics.server().connections.inc();
        let Some(seat) = self.seats.take(Instant::now()) else {
            turn_away(&self.server, &stream, client, port);
            return None;
        };
        let (server, buffers) = (Arc::clone(&self.server), Arc::clone(&self.buffers));
        Connection::new(stream, client, seat, server, Arc::clone(port), buffers, self.shutdown.clone()).ok()
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic: a bug of the relay");
    }
}

/// In one write that never waits: there is no place to wait in.
fn turn_away(server: &Server, stream: &TcpStream, client: SocketAddr, port: &Port) {
    server.metrics.server().closed.get_or_create(&Why { why: Closed::Full }).inc();
    tracing::info!(client = %client.ip().to_canonical(), reply = "421 4.3.2", decision = "too-many-connections", "turned away");
    if !port.implicit {
        stream.try_write(FULL).ok();
    }
}

/// A connection that broke off before it was taken is no reason to wait; a lack of descriptors or memory is, until a
/// connection of ours has ended or a while has passed.
async fn wait_out(error: &io::Error, back_off: Duration, sessions: &mut JoinSet<()>) -> Duration {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) {
        return back_off;
    }
    tracing::warn!(%error, wait = ?back_off, "no connection can be taken for the moment");
    tokio::select! {
        () = sleep(back_off) => {}
        Some(ended) = sessions.join_next() => report(ended),
    }
    (back_off * 2).min(BACK_OFF.1)
}
