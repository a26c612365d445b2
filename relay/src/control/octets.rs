//! Octets in JSON: each as the character with its number, U+0000 to U+00FF. Most of mail is ASCII, and stays readable.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Any octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|octet| char::from(*octet)).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octet = |char: char| {
            u8::try_from(u32::from(char)).map_err(|_| de::Error::custom(format!("{char:?} stands for no octet")))
        };
        text.chars().map(octet).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_octets_read_back() {
        let all = Octets((0..=255).collect());
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Octets>(&json).unwrap(), all);
        assert_eq!(serde_json::to_string(&Octets(b"a\r\n".to_vec())).unwrap(), r#""a\r\n""#);
        assert!(serde_json::from_str::<Octets>("\"\u{100}\"").unwrap_err().to_string().contains("stands for no octet"));
    }
}
