//! SMTP as the relay speaks it to the world, over real sockets, to a real relay with a mail server behind it.
//!
//! - [`transcripts`]: sessions that anyone can read, in `transcripts/*.smtp`;
//! - [`smuggling`], [`chunks`], [`states`], [`addresses`], [`volume`], [`loops`], [`handshakes`], [`descriptors`]: the rows of
//!   the catalogue of hostile inputs, each test named after its row;
//! - [`peers`]: a real Postfix as the client;
//! - [`tls`]: STARTTLS, implicit TLS, and certificates that change; [`certified`]: sources by client certificate;
//! - [`proxy`]: the PROXY protocol;
//! - [`tls_peers`]: Postfix and OpenSSL as clients that use it;
//! - [`scene`]: the relay, the mail server, the bystander, and the four oracles that hold for every row;
//!   [`secured`]: the same with certificates.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod addresses;
mod certified;
mod chunks;
mod descriptors;
mod handshakes;
mod loops;
mod peers;
mod proxy;
mod scene;
mod secured;
mod smuggling;
mod states;
mod tls;
mod tls_peers;
mod transcripts;
mod volume;
