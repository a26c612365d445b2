//! Waiting for what another process does. Tests are drivers: here they read the clock.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a test measures other processes")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until the answer is `Some`.
///
/// # Errors
/// Names `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if begun.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks again and again until it is true.
///
/// # Errors
/// Names `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut ask: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, limit, || ask().then_some(()))
}
