//! SMTP as a client (RFC 5321): one connection to one address, and the transactions on it.
//!
//! Whoever is at the other end is not trusted: a reply is at most 8 KiB and 100 lines, each one has a deadline that a slow
//! drip does not move, and nothing of it is kept but printable ASCII. Before a command, no reply counts; before the final
//! dot, no yes counts.
//!
//! Never retries and never chooses: which address, which message and what to do next is the caller's. Nothing is lost on
//! failure: each recipient of a transaction has its [`Verdict`], whatever happened to the connection.

mod body;
mod capabilities;
mod connection;
mod dialogue;
mod login;
mod opening;
mod reply;
mod timeouts;
mod transaction;
mod verdict;
mod wire;

pub use body::Content;
pub use capabilities::Capabilities;
pub use connection::{Connection, Target, TlsUse, server};
pub use reply::{Malformed, Reply};
pub use timeouts::Timeouts;
pub use transaction::{Recipient, Transaction};
pub use verdict::{Fault, Said, Sent, Verdict};
