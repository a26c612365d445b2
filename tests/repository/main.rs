//! What the architecture promises about the source, held by reading the source.
//!
//! - [`crates`]: which crate may know which, and what comes in from outside;
//! - [`layers`]: inside the relay, imports point only downwards, and the pure layers stay pure;
//! - [`sizes`]: the numbers and names that keep a file readable;
//! - [`contract`]: the relay takes every field of the Snapshot apart;
//! - [`charts`]: values, their documentation and schema, and what the charts copy agree with where they come from;
//! - [`readme`]: what the README names exists, and the invariants stand in it.
//!
//! Each rule is a function from source text to the violations that it finds, and has a test in which it finds one. Functions
//! of more than 70 lines are clippy's to find.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]

mod charts;
mod contract;
mod crates;
mod layers;
mod readme;
mod sizes;
mod source;

/// Fails with the list, one on each line.
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
