//! Postern against a real Kubernetes API server.
//!
//! The first run builds kube-apiserver from Go modules (see `assets`); later ones find it in the cache.

mod api_server;
mod certificates;
mod cluster;
mod process;

mod harness;
