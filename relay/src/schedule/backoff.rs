//! How long to wait after a failure. Pure.

use std::time::Duration;

/// How waits grow: each is twice the one before, and up to an eighth longer by chance, so that what failed together does not
/// come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row (at least one). `chance` is from 0 to 1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        let wait = self.first.saturating_mul(doubled).min(self.max);
        wait + wait.mul_f64(chance.clamp(0.0, 1.0) / 8.0)
    }

    /// What comes after a message's failed attempt. `attempts` counts this one too. `None`: it was the last one, for the
    /// message is older than its lifetime. The last attempt falls on the end of the lifetime, not long before it.
    ///
    /// A clock that jumped ahead makes no message expire untried: whoever asks has tried it.
    pub fn retry(&self, attempts: u32, age: Duration, lifetime: Duration, chance: f64) -> Option<Duration> {
        let left = lifetime.checked_sub(age).filter(|left| !left.is_zero())?;
        Some(self.wait(attempts, chance).min(left))
    }
}
