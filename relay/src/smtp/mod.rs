//! The SMTP server's side of the wire, without a socket (RFC 5321).
//!
//! Nothing here awaits, reads a clock or opens a file: bytes and answers go in, replies and questions come out.

pub mod body;
pub mod chunk;
pub mod command;
pub mod line;
mod parameters;
pub mod proxy;
pub mod reply;
pub mod session;
pub mod turn;

pub use reply::Reply;
