//! Delivery at its seam: a real spool in front, real and scripted mail servers behind.

#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod authority;
mod extensions;
mod flow;
mod hop;
mod hostile;
mod limits;
mod login;
mod peers;
mod post;
mod postfix;
mod queue;
mod returned;
mod tls;
