//! The control socket: a unix socket through which a person sees and moves the queue (`postern queue`).
//!
//! One JSON object a line, both ways, each with the version of this protocol. A request is answered by any number of
//! lines, the last of which is `done` or `failed`. Whoever may open the socket has authority over the queue: it has mode
//! 0600, and nothing here listens on the network.
//!
//! Requests are bounded in size and number, and go on beside delivery. Messages are chosen by what the index knows first;
//! only of those are envelopes read, a few at a time, as fast as the client takes the answers.

mod answer;
mod ask;
mod client;
mod destination;
mod octets;
mod select;
mod server;
mod socket;
mod transfer;

use std::sync::Arc;

pub use answer::{
    AGES, Answer, Destination, Detail, Exported, FORMAT, Message, Pending, Response, Row, Standing, Unreachable,
};
pub use ask::{Act, By, Command, Filter, List, Request, Sort, State};
pub use client::{Answers, Client, ClientError};
pub use destination::{destinations, unreachable};
pub use octets::Octets;
pub use server::{Serving, serve};
pub use socket::{Socket, SocketError};

use crate::address::Mailbox;
use crate::envelope::Origin;

/// The version of the protocol. A relay answers no other one.
pub const VERSION: u32 = 2;

/// Where a recipient's mail goes now, and what stands in its way.
pub type Destinations = Arc<dyn Fn(&Origin, &Mailbox) -> Destination + Send + Sync>;

/// How the relay stands now.
pub type Standings = Arc<dyn Fn() -> Standing + Send + Sync>;

#[cfg(test)]
mod tests;
