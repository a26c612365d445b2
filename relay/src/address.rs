//! Addresses, as RFC 5321 section 4.1.2 writes them. The one parser for policy *and* routing.
//!
//! Never interpreted: source routes, `%` and `!` forms. A local part compares case-insensitively and travels unchanged.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The domain of a mailbox: a lower-case name of A-labels without trailing dot, or an address literal in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// The name, or the literal with its brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address literal, such as `[192.0.2.1]`.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

/// `Local-part "@" Domain`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    local_part: Arc<str>,
    domain: Domain,
}

impl Mailbox {
    /// The local part as it came, quotes included: `"a b"`. This is what travels.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The address by which it is looked up and compared: the local part without needless quotes, lower-case.
    pub fn key(&self) -> String {
        format!("{}@{}", self.local_part.to_lowercase(), self.domain.as_str())
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain.as_str())
    }
}

/// `Reverse-path`: the sender, to whom failures are reported. `<>` for notifications.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<Mailbox>`
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox, unless it is `<>`.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

/// With the angle brackets: `<>`, `<a@example.com>`.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// `Forward-path`: a recipient as RCPT names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain (RFC 5321, section 4.5.1).
    Postmaster,
    /// `<Mailbox>`
    Mailbox(Mailbox),
}

/// With the angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<postmaster>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Why something is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// No `@`, nothing before it, or nothing after it.
    #[error("not of the form local-part@domain")]
    Form,
    /// A local part that is neither a Dot-string nor a Quoted-string, or longer than 64 octets.
    #[error("bad local part")]
    LocalPart,
    /// A domain that is neither a name of LDH labels nor an address literal, or longer than 255 octets.
    #[error("bad domain")]
    Domain,
}

impl FromStr for Domain {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.is_empty() {
            return Err(NotAnAddress::Domain);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl FromStr for Mailbox {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (local_part, domain) = text.rsplit_once('@').ok_or(NotAnAddress::Form)?;
        if local_part.is_empty() {
            return Err(NotAnAddress::LocalPart);
        }
        Ok(Self { local_part: local_part.into(), domain: domain.parse()? })
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Without the angle brackets; the null sender is the empty string.
impl Serialize for ReversePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_str(""),
            Self::Mailbox(mailbox) => mailbox.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ReversePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(Self::Null),
            text => text.parse().map(Self::Mailbox).map_err(serde::de::Error::custom),
        }
    }
}
