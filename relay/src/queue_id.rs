//! The name of a message in the spool, in `Received`, in replies, in logs and in notifications.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 48 bits of Unix milliseconds and 32 random bits, as 16 characters of Crockford's base32.
///
/// It sorts by the time of arrival. The random part keeps pods and restarts apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId([u8; 10]);

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl QueueId {
    /// The id of a message that arrived at `unix_millis` (its low 48 bits count).
    pub fn new(unix_millis: u64, random: u32) -> Self {
        let mut bytes = [0; 10];
        bytes[..6].copy_from_slice(&unix_millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random.to_be_bytes());
        Self(bytes)
    }

    /// As stored in a spool record.
    pub const fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// As stored in a spool record.
    pub const fn to_bytes(self) -> [u8; 10] {
        self.0
    }

    /// Unix milliseconds of the arrival.
    pub fn unix_millis(self) -> u64 {
        self.0[..6].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        for place in (0..16).rev() {
            let digit = (value >> (place * 5) & 31) as usize;
            write!(f, "{}", char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 16 characters of Crockford's base32.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a queue id: 16 characters of 0-9 and A-Z without I, L, O, U")]
pub struct NotAQueueId(String);

impl FromStr for QueueId {
    type Err = NotAQueueId;

    fn from_str(text: &str) -> Result<Self, NotAQueueId> {
        let refused = || NotAQueueId(text.chars().take(40).collect());
        if text.len() != 16 {
            return Err(refused());
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|known| *known == byte.to_ascii_uppercase()).ok_or_else(refused)?;
            value = value << 5 | digit as u128;
        }
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&value.to_be_bytes()[6..]);
        Ok(Self(bytes))
    }
}

impl Serialize for QueueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints_and_sorts_by_time() {
        let first = QueueId::new(1_790_000_000_000, u32::MAX);
        let second = QueueId::new(1_790_000_000_001, 0);
        assert_eq!(first.to_string().parse::<QueueId>().unwrap(), first);
        assert_eq!(first.to_string().len(), 16);
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!(second.unix_millis(), 1_790_000_000_001);
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in ["", "0", "0123456789ABCDEFG", "0123456789ABCDEU", "0123456789ABCDé"] {
            assert!(text.parse::<QueueId>().is_err(), "{text}");
        }
    }
}
