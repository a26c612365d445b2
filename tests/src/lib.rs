//! What the integration tests share: real programs, peers that they can watch, and the means to measure both.
//!
//! - [`program`]: a child process that never outlives its test, its log, and where our own programs are;
//! - [`relay`]: a real `postern-relay` on addresses of its own, killed and started again on the same spool;
//! - [`settings`]: the mounted volume of such a relay, written as the operator's ConfigMap is mounted;
//! - [`smtp`]: a client that says and expects lines;
//! - [`sink`]: a mail server that keeps all that it is given, and does as it is told;
//! - [`postfix`]: Postfix's smtp-sink and smtp-source, and a whole Postfix;
//! - [`tls`]: certificates that nobody else trusts;
//! - [`usage`]: what a process costs, from `/proc`;
//! - [`alone`]: a test in a process of its own, to be measured;
//! - [`loopback`]: addresses that nobody else listens on;
//! - [`clock`]: waiting with a limit;
//! - [`chart`]: the charts, rendered by the real Helm.
//!
//! Everything here blocks, for a test that reads from top to bottom; each peer is a thread.

pub mod alone;
pub mod chart;
pub mod clock;
pub mod loopback;
pub mod postfix;
pub mod program;
pub mod relay;
pub mod settings;
pub mod sink;
pub mod smtp;
pub mod tls;
pub mod usage;
