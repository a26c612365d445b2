//! Addresses, as RFC 5321 section 4.1.2 and RFC 6531 section 3.3 write them. The one parser for policy *and* routing.
//!
//! Never interpreted: source routes, `%` and `!` forms. A local part compares case-insensitively, whichever way its letters
//! are composed, and travels unchanged. A domain has one form, that of the DNS: a name in Unicode is kept as its A-labels.
//! Whether anything outside ASCII may stand on a line is for the reader of that line to know.

mod name;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The domain of a mailbox: a lower-case name of A-labels without trailing dot, or an address literal in brackets in its
/// shortest form, `[192.0.2.1]` or `[IPv6:2001:db8::1]`. Always ASCII: U-labels are read, and turned into A-labels.
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

    /// Whether it can be written in ASCII: it can when its local part is, as its domain always is.
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii()
    }

    /// The address by which it is looked up and compared: the local part without needless quotes, lower-case, in Unicode's
    /// normalization form C. What still needs quotes has them, in one spelling, so that the first `@` outside of quotes is
    /// always the last of all.
    pub fn key(&self) -> String {
        let local_part = unquoted(&self.local_part);
        match local_part.is_ascii() {
            true => format!("{}@{}", local_part.to_ascii_lowercase(), self.domain.as_str()),
            false => format!("{}@{}", folded(&local_part), self.domain.as_str()),
        }
    }
}

/// Lower-case letter by letter, and composed (Unicode's NFC).
fn folded(text: &str) -> String {
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    let lower: String = nfc.normalize(text).chars().flat_map(char::to_lowercase).collect();
    nfc.normalize(&lower).into_owned()
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

/// Why something is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// No `@` outside of quotes, or a source route.
    #[error("not of the form local-part@domain")]
    Form,
    /// A local part that is neither a Dot-string nor a Quoted-string with something in it, or longer than 64 octets.
    #[error("bad local part")]
    LocalPart,
    /// A domain that is neither a name of LDH labels or U-labels nor an address literal, or longer than 255 octets. A name
    /// that ends in a number is none either: what looks like an address must say so in brackets.
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
            None => name::canonical(text).map(|name| Self(name.into())).ok_or(NotAnAddress::Domain),
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
        let domain: Domain = domain.parse()?;
        // As it came, and as it will be read back: A-labels may be longer than what they stand for.
        let kept = local_part.len() + "@".len() + domain.as_str().len();
        if text.len().max(kept) + "<>".len() > PATH_MAX {
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
            0x80.. if !escaped => {} // a piece of a character that `is_local_part` looks at
            _ => return None,
        }
    }
    None
}

/// Dot-string, or Quoted-string with something in it.
fn is_local_part(text: &str) -> bool {
    match text.starts_with('"') {
        true => {
            text.len() > 2
                && quoted_len(text) == Some(text.len())
                && text.chars().all(|character| character.is_ascii() || is_text_outside_ascii(character))
        }
        false => is_dot_string(text),
    }
}

/// Atoms with single dots between them (RFC 5322, section 3.2.3, and RFC 6531, section 3.3, for what an atom is).
fn is_dot_string(text: &str) -> bool {
    let part_of_atom = |character: char| match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => is_atext(byte),
        _ => is_text_outside_ascii(character),
    };
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(part_of_atom))
}

/// `UTF8-non-ascii` (RFC 6531, section 3.3) without what controls, or ends a line: U+0080 to U+009F, U+2028, U+2029.
pub fn is_text_outside_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}')
}

/// A character of an atom.
pub fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
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
