//! The SMTP relay of Postern. It runs from a directory of files and knows no Kubernetes.
//!
//! Imports point only downwards; `tests/` holds the rule:
//!
//! | layer | modules | never |
//! |---|---|---|
//! | 4 wiring | `main`, `options`, `run`, `signals`, `admin`, `control` | decide |
//! | 3 drivers | `server`, `delivery`, `reload`, `names`, `canary` | know each other: they meet in the spool |
//! | 2 resources | `config`, `tls`, `client`, `dns`, `spool`, `limits`, `metrics`, `shutdown` | each other's insides |
//! | 1 pure | `smtp`, `policy`, `schedule`, `route`, `bounce`, `header` | tokio, sockets, files, clocks (`now` is an argument) |
//! | 0 nouns | `address`, `envelope`, `queue_id` | anything of ours |

pub mod address;
pub mod admin;
pub mod bounce;
pub mod canary;
pub mod client;
pub mod config;
pub mod control;
pub mod delivery;
pub mod dns;
pub mod envelope;
pub mod header;
pub mod limits;
pub mod metrics;
pub mod names;
pub mod options;
pub mod policy;
pub mod queue_id;
pub mod reload;
pub mod route;
mod run;
pub mod schedule;
pub mod server;
pub mod shutdown;
pub mod signals;
pub mod smtp;
pub mod spool;
pub mod tls;

pub use run::{Failure, Handle, run, runtime};
