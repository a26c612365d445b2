//! The limits of the operator process: one table, and how a flag is held against it.

use std::time::Duration;

pub use postern_wire::limits::Limit;

/// `--lease-duration`
pub const LEASE_DURATION: Limit = Limit {
    name: "lease-duration",
    unit: "seconds",
    default: 15,
    min: 3,
    max: 300,
    meaning: "a leader that has not renewed its lease for so long, as the others see it, is followed by one of them",
};

/// `--lease-renew-deadline`
pub const LEASE_RENEW_DEADLINE: Limit = Limit {
    name: "lease-renew-deadline",
    unit: "seconds",
    default: 10,
    min: 2,
    max: 299,
    meaning: "a leader that could not renew its lease for so long ends: another may lead soon. Less than --lease-duration",
};

/// `--lease-retry-period`
pub const LEASE_RETRY_PERIOD: Limit = Limit {
    name: "lease-retry-period",
    unit: "seconds",
    default: 2,
    min: 1,
    max: 60,
    meaning: "how often the leader renews its lease; the others look twice as often. Less than --lease-renew-deadline",
};

/// What `--help` says of one: what happens at it, and its bounds.
pub fn help(limit: &Limit) -> String {
    let Limit { name: _, unit, default: _, min, max, meaning } = limit;
    let (first, rest) = meaning.split_at(1);
    format!("{}{rest}. In {unit}, from {min} to {max}", first.to_uppercase())
}

/// Reads a number of seconds, with or without the `s`, within the bounds of its row.
///
/// # Errors
/// A sentence with the bounds; clap puts flag and value before it.
pub fn seconds(limit: &Limit, text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    let number = number.map_err(|_| format!("not a number of seconds, such as {}", limit.default))?;
    if limit.allows(number) {
        Ok(number)
    } else {
        Err(format!("must be between {} and {} seconds", limit.min, limit.max))
    }
}

/// The times of a lease, each less than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// [`LEASE_DURATION`]
    pub(crate) duration: Duration,
    /// [`LEASE_RENEW_DEADLINE`]
    pub(crate) renew_deadline: Duration,
    /// [`LEASE_RETRY_PERIOD`]
    pub(crate) retry_period: Duration,
}

impl LeaseTimes {
    /// From seconds that are each within their bounds.
    ///
    /// # Errors
    /// When one is not less than the one before: a sentence with both flags.
    pub fn new(duration: u64, renew_deadline: u64, retry_period: u64) -> Result<Self, String> {
        let rows = [&LEASE_DURATION, &LEASE_RENEW_DEADLINE, &LEASE_RETRY_PERIOD];
        let values = [duration, renew_deadline, retry_period];
        for (rows, values) in rows.windows(2).zip(values.windows(2)) {
            let ([longer, shorter], [more, less]) = (rows, values) else { continue };
            if less >= more {
                return Err(format!("--{} {less}: must be less than --{} {more}", shorter.name, longer.name));
            }
        }
        let [duration, renew_deadline, retry_period] = values.map(Duration::from_secs);
        Ok(Self { duration, renew_deadline, retry_period })
    }
}

impl Default for LeaseTimes {
    fn default() -> Self {
        let [duration, renew_deadline, retry_period] =
            [LEASE_DURATION, LEASE_RENEW_DEADLINE, LEASE_RETRY_PERIOD].map(|row| Duration::from_secs(row.default));
        Self { duration, renew_deadline, retry_period }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_outside_of_its_bounds_is_refused_with_them() {
        assert_eq!(seconds(&LEASE_DURATION, "20s"), Ok(20));
        assert_eq!(seconds(&LEASE_DURATION, "3"), Ok(3));
        for text in ["2", "301", "301s"] {
            assert_eq!(seconds(&LEASE_DURATION, text), Err("must be between 3 and 300 seconds".to_owned()), "{text}");
        }
        for text in ["", "s", "15m", "-1", "1.5"] {
            assert!(seconds(&LEASE_DURATION, text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_time_of_a_lease_is_less_than_the_one_before() {
        assert_eq!(LeaseTimes::new(15, 10, 2), Ok(LeaseTimes::default()));
        let told = LeaseTimes::new(15, 15, 2).unwrap_err();
        assert_eq!(told, "--lease-renew-deadline 15: must be less than --lease-duration 15");
        let told = LeaseTimes::new(15, 10, 12).unwrap_err();
        assert_eq!(told, "--lease-retry-period 12: must be less than --lease-renew-deadline 10");
    }
}
