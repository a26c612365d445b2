//! Times as a person writes them.

/// `90s`, `5m`, `2h`, `3d`, or seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| "not a time such as 90s, 5m, 2h or 3d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn reads_times() {
        for (text, expected) in [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("3d", 259_200)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "m", "-1", "1w", "99999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
