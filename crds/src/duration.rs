//! Durations as the Gateway API writes them: `120h`, `1h30m`, `500ms`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration as it was written: one to four of a number and `h`, `m`, `s` or `ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// Its milliseconds; `None` when it is not in the form above, which the CRD does not let through.
    pub fn as_millis(&self) -> Option<u64> {
        let mut rest = self.0.as_str();
        let mut total = 0u64;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 {
                return None;
            }
            let (number, tail) = rest.split_at(digits);
            let (unit, tail) = split_unit(tail)?;
            total += number.parse::<u64>().ok()? * unit;
            if tail.is_empty() {
                return Some(total);
            }
            rest = tail;
        }
        None
    }

    /// Its whole seconds, rounded down; `None` as in [`Self::as_millis`].
    pub fn as_secs(&self) -> Option<u64> {
        self.as_millis().map(|millis| millis / 1000)
    }
}

/// The milliseconds of the unit that `text` begins with, and the rest.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    UNITS.iter().find_map(|(name, millis)| Some((*millis, text.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u64> {
        Duration(text.to_owned()).as_millis()
    }

    #[test]
    fn reads_the_form_of_the_gateway_api() {
        assert_eq!(millis("120h"), Some(432_000_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("1h1m1s1ms"), Some(3_661_001));
        assert_eq!(Duration("1500ms".to_owned()).as_secs(), Some(1));
    }

    #[test]
    fn reads_nothing_else() {
        for text in ["", "h", "5d", "1.5h", "-1h", "123456h", "1h2", "1h1h1h1h1h", " 1h", "1H"] {
            assert_eq!(millis(text), None, "{text:?}");
        }
    }
}
