//! Postern on a whole Kubernetes: two nodes on this machine, with kubelets, containerds, Services and NetworkPolicies that
//! are enforced. Both charts are installed as an administrator would; each test has a namespace, a DMZ, of its own.
//!
//! `tests/cluster/up` brings such a cluster up and leaves it running; with `POSTERN_CLUSTER` set to what it printed, the
//! tests use that one. Without, they bring one up themselves and take it down at the end. The logs of its programs are in
//! `target/tests/cluster`; a test that fails shows the rest: its pods, events, and what operator and relays said.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod cluster;
mod dmz;
mod network;
mod peer;
mod spot;
mod trouble;
mod world;

mod before;
mod guard;
mod isolation;
mod latency;
mod life;
mod moving;
mod paths;
mod quickstart;
mod scaling;
mod standing;
mod tool;
