//! Addresses, as RFC 5321 section 4.1.2 writes them. The one parser for policy *and* routing.
//!
//! Never interpreted: source routes, `%` and `!` forms. A local part compares case-insensitively and travels unchanged.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The domain of a mailbox: a lower-case name of A-labels without trailing dot, or an address literal in brackets in its
/// shortest form, `[192.0.2.1]` or `[IPv6:2001:db8::1]`. A name in Unicode is none: SMTPUTF8 is not offered.
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

    /// The address that a literal holds.
    pub fn ip(&self) -> Option<IpAddr> {
        parse_literal(self.0.strip_prefix('[')?.strip_suffix(']')?)
    }

    /// The literal of an address.
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(format!("[{address}]").into()),
            IpAddr::V6(address) => Self(format!("[IPv6:{address}]").into()),
        }
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

    /// The address by which it is looked up and compared: the local part without needless quotes, lower-case. What still
    /// needs quotes has them, in one spelling, so that the first `@` outside of quotes is always the last of all.
    pub fn key(&self) -> String {
        format!("{}@{}", unquoted(&self.local_part).to_ascii_lowercase(), self.domain.as_str())
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

/// The longest local part, quotes included (RFC 5321, section 4.5.3.1.1).
pub const LOCAL_PART_MAX: usize = 64;
/// The longest domain (RFC 5321, section 4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;
/// The longest path, angle brackets included (RFC 5321, section 4.5.3.1.3).
pub const PATH_MAX: usize = 256;
/// The longest label of a name (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// Why something is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// No `@` outside of quotes, or a source route.
    #[error("not of the form local-part@domain")]
    Form,
    /// A local part that is neither a Dot-string nor a Quoted-string with something in it, or longer than 64 octets.
    #[error("bad local part")]
    LocalPart,
    /// A domain that is neither a name of LDH labels nor an address literal, or longer than 255 octets. A name that ends
    /// in a number is none either: what looks like an address must say so in brackets.
    #[error("bad domain")]
    Domain,
    /// Together with its angle brackets longer than 256 octets.
    #[error("longer than 256 octets")]
    TooLong,
}

impl FromStr for Domain {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.len() > DOMAIN_MAX {
            return Err(NotAnAddress::Domain);
        }
        match text.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or(NotAnAddress::Domain)?;
                parse_literal(inner).map(Self::from_ip).ok_or(NotAnAddress::Domain)
            }
            None if is_name(text) => Ok(Self(text.to_ascii_lowercase().into())),
            None => Err(NotAnAddress::Domain),
        }
    }
}

impl FromStr for Mailbox {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.len() + "<>".len() > PATH_MAX + LOCAL_PART_MAX {
            return Err(NotAnAddress::TooLong); // before anything looks at it closely
        }
        let (local_part, domain) = split(text)?;
        if local_part.len() > LOCAL_PART_MAX || !is_local_part(local_part) {
            return Err(NotAnAddress::LocalPart);
        }
        let domain = domain.parse()?;
        if text.len() + "<>".len() > PATH_MAX {
            return Err(NotAnAddress::TooLong);
        }
        Ok(Self { local_part: local_part.into(), domain })
    }
}

/// The shortest spelling of a local part (RFC 5321, section 4.1.2: quotes and quoted pairs are the same mailbox).
fn unquoted(local_part: &str) -> Cow<'_, str> {
    if !local_part.starts_with('"') {
        return local_part.into();
    }
    let mut content = String::with_capacity(local_part.len());
    let mut characters = local_part[1..local_part.len() - 1].chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => content.extend(characters.next()),
            _ => content.push(character),
        }
    }
    match is_dot_string(&content) {
        true => content.into(),
        false => format!("\"{}\"", content.replace('\\', "\\\\").replace('"', "\\\"")).into(),
    }
}

/// At the `@` behind the local part. A quoted local part may hold more of them; the rest never does.
fn split(text: &str) -> Result<(&str, &str), NotAnAddress> {
    let end = match text.starts_with('"') {
        true => quoted_len(text).ok_or(NotAnAddress::LocalPart)?,
        false => text.find('@').ok_or(NotAnAddress::Form)?,
    };
    let domain = text[end..].strip_prefix('@').ok_or(NotAnAddress::Form)?;
    match end {
        0 => Err(NotAnAddress::Form), // `@relay:a@b`, a source route, or nothing before the `@`
        _ => Ok((&text[..end], domain)),
    }
}

/// The length of the Quoted-string with which `text` begins.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b' '..=b'~' if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            b' '..=b'~' => {}
            _ => return None,
        }
    }
    None
}

/// Dot-string, or Quoted-string with something in it.
fn is_local_part(text: &str) -> bool {
    match text.starts_with('"') {
        true => text.len() > 2 && quoted_len(text) == Some(text.len()),
        false => is_dot_string(text),
    }
}

/// Atoms with single dots between them (RFC 5322, section 3.2.3, for what an atom is).
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// A character of an atom.
pub fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Labels of letters, digits and inner hyphens. An A-label must be one that IDNA itself would write (UTS 46): what
/// decodes to another spelling of a name must never pass for it.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(label) && !ends_in_number(text) && a_labels_are_canonical(text)
}

/// `127.1`, `0x7f000001`, `2130706433`: some resolvers take them for addresses.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn a_labels_are_canonical(name: &str) -> bool {
    let encoded = |label: &str| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    !name.split('.').any(encoded) || idna::domain_to_ascii(name).is_ok_and(|ascii| ascii.eq_ignore_ascii_case(name))
}

/// What stands between the brackets: an IPv4 address, or an IPv6 address with its tag (RFC 5321, section 4.1.3).
fn parse_literal(inner: &str) -> Option<IpAddr> {
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok().map(IpAddr::V4),
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

#[cfg(test)]
mod tests;
