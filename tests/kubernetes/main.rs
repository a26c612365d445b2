//! Postern against a real Kubernetes API server.
//!
//! The first run builds kube-apiserver from Go modules (see `assets`); later ones find it in the cache.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod api_server;
mod certificates;
mod charts;
mod cluster;
mod dmz;
mod files;
mod manifests;
mod operator;
mod process;
mod proxy;

mod answers;
mod away;
mod end_to_end;
mod events;
mod harness;
mod healing;
mod hostile;
mod invalid;
mod kept;
mod large;
mod leader;
mod one_namespace;
mod outbound;
mod programmed;
mod quickstart;
mod rights;
mod services;
mod tool;
mod woken;
