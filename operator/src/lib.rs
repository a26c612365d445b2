//! The operator of Postern: custom resources in; settings, secrets, NetworkPolicies and status out.
//!
//! One reconcile is one namespace. [`inputs`] is all that it knows; [`resolve`], [`render`], [`fit`] and [`status`] are total
//! functions of it, without a client, a clock or an environment, so that the cli gives the same answers from files.

pub mod fit;
pub mod history;
pub mod inputs;
pub mod kept;
pub mod limits;
pub mod problem;
pub mod render;
pub mod resolve;
pub mod status;

mod admin;
mod apply;
mod cache;
mod controller;
mod custom;
mod discover;
mod drift;
mod events;
mod gather;
mod going;
mod lease;
mod metrics;
mod names;
mod nodes;
mod operator;
mod programmed;
mod reminders;
mod services;

pub use apply::FIELD_MANAGER;
pub use lease::LeaseSettings;
pub(crate) use operator::RELAY_SELECTOR;
pub use operator::{Settings, addresses_of, domain_name, run};

#[cfg(test)]
mod fixture;
