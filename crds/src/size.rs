//! Sizes as Kubernetes quantities: `35Mi`, `1G`, `36700160`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A size as it was written: a number of octets, or a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Size {
    /// A number of octets.
    Octets(u64),
    /// A quantity: a decimal number and a suffix.
    Quantity(String),
}

impl Size {
    /// Its octets, a fraction rounded up as Kubernetes does; `None` when it is no quantity, is negative or does not fit,
    /// which the CRD does not let through.
    pub fn octets(&self) -> Option<u64> {
        match self {
            Self::Octets(octets) => Some(*octets),
            Self::Quantity(text) => parse(text),
        }
    }
}

/// Kubernetes: `<digits>[.<digits>]` and one of `Ki…Ei`, `n u m k…E`, or a decimal exponent.
fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) || number.len() > 18 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = factor(suffix)?;
    let divisor = divisor * 10u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from((digits * multiplier).div_ceil(divisor)).ok()
}

/// The suffix as a fraction.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    if let Some(binary) = suffix.strip_suffix('i') {
        let exponent = ["K", "M", "G", "T", "P", "E"].iter().position(|unit| *unit == binary)?;
        return Some((1 << (10 * (exponent + 1)), 1));
    }
    let exponent: i32 = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        other => other.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    let power = 10u128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.unsigned_abs() <= 18)?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Option<u64> {
        Size::Quantity(text.to_owned()).octets()
    }

    #[test]
    fn reads_quantities_as_kubernetes_does() {
        assert_eq!(octets("35Mi"), Some(35 << 20));
        assert_eq!(octets("1.5Ki"), Some(1536));
        assert_eq!(octets("1G"), Some(1_000_000_000));
        assert_eq!(octets("1e6"), Some(1_000_000));
        assert_eq!(octets("1E"), Some(1_000_000_000_000_000_000));
        assert_eq!(octets("1500m"), Some(2));
        assert_eq!(octets("65536"), Some(65536));
        assert_eq!(Size::Octets(7).octets(), Some(7));
    }

    #[test]
    fn reads_nothing_else() {
        for text in ["", "Mi", "-1", "1.2.3", "35MB", "35 Mi", "1Ei9", "99Ei9", "100Ei", "1e99", "1e999999999999"] {
            assert_eq!(octets(text), None, "{text:?}");
        }
    }

    #[test]
    fn takes_a_number_or_a_string() {
        assert_eq!(serde_json::from_str::<Size>("65536").unwrap(), Size::Octets(65536));
        assert_eq!(serde_json::from_str::<Size>("\"64Ki\"").unwrap(), Size::Quantity("64Ki".to_owned()));
    }
}
