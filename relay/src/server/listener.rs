//! Takes connections. Always: over the limit whoever has been idle longest makes room, or the newcomer is told to come
//! back. Waiting for a free place before accepting would starve every new client behind a few slow ones.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Server;
use super::connection::Connection;
use super::seats::Seats;
use super::wire::Buffers;
use crate::metrics::{Closed, Why};
use crate::shutdown::{Shutdown, Stage};

/// How long to wait when no descriptor is left, at first and at most. A connection that ends frees one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
const FULL: &[u8] = b"421 4.3.2 too many connections, come back later\r\n";

/// Serves until [`Stage::Draining`], then lets what was begun finish. Returns when the last connection has ended; at
/// [`Stage::Ended`] those that are left are cut.
pub async fn run(listener: TcpListener, server: Server, shutdown: Shutdown) {
    let seats = Seats::new(server.limits.connections);
    let server = Arc::new(server);
    let buffers = Buffers::new(server.limits.command_line);
    let mut sessions = JoinSet::new();
    let mut back_off = BACK_OFF.0;
    let draining = shutdown.reached(Stage::Draining);
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => break,
            Some(ended) = sessions.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    back_off = BACK_OFF.0;
                    server.metrics.server().connections.inc();
                    let Some(seat) = seats.take(Instant::now()) else {
                        turn_away(&server, &stream, client);
                        continue;
                    };
                    let connection = Connection::new(stream, client, seat, Arc::clone(&server), Arc::clone(&buffers), shutdown.clone());
                    if let Ok(connection) = connection {
                        sessions.spawn(connection.serve());
                    }
                }
                Err(error) => back_off = wait_out(&error, back_off).await,
            },
        }
    }
    drop(listener);
    let ended = shutdown.reached(Stage::Ended);
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

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic: a bug of the relay");
    }
}

/// In one write that never waits: there is no place to wait in.
fn turn_away(server: &Server, stream: &TcpStream, client: SocketAddr) {
    server.metrics.server().closed.get_or_create(&Why { why: Closed::Full }).inc();
    tracing::info!(client = %client.ip().to_canonical(), reply = "421 4.3.2", decision = "too-many-connections", "turned away");
    stream.try_write(FULL).ok();
}

/// A connection that broke off before it was taken is no reason to wait; a lack of descriptors or memory is.
async fn wait_out(error: &io::Error, back_off: Duration) -> Duration {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) {
        return back_off;
    }
    tracing::warn!(%error, wait = ?back_off, "no connection can be taken for the moment");
    sleep(back_off).await;
    (back_off * 2).min(BACK_OFF.1)
}
