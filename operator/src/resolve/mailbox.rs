//! Mail addresses in lists → the key by which the relay looks a recipient up, and sender patterns.
//!
//! The relay parses addresses of the wire with a parser of its own (it imports nothing of ours, nor we of it); what is
//! agreed is the key: local part in lower case, composed (Unicode's normalization form C), without needless quotes, `@`, domain
//! as lower-case A-labels. Local parts outside ASCII are those of RFC 6531.

use icu_normalizer::ComposingNormalizerBorrowed;

use super::name::{NotAName, host_name};

/// Octets of a local part (RFC 5321, section 4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;

/// Why something is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAnAddress {
    #[error("is not of the form local-part@domain")]
    Form,
    #[error("has no valid local part before the `@` (RFC 5321, section 4.1.2; at most 64 octets)")]
    LocalPart,
    #[error("has a domain that {0}")]
    Domain(NotAName),
    #[error("must be local-part@domain, in which `*` stands for any characters")]
    Pattern,
}

/// The look-up key of an address, and its domain.
pub(crate) fn recipient(text: &str) -> Result<(String, String), NotAnAddress> {
    let (local, domain) = text.rsplit_once('@').ok_or(NotAnAddress::Form)?;
    if local.is_empty() || domain.is_empty() {
        return Err(NotAnAddress::Form);
    }
    let local = local_part(local)?;
    let domain = host_name(domain).map_err(NotAnAddress::Domain)?;
    Ok((format!("{local}@{domain}"), domain))
}

/// A pattern of sender addresses, in the relay's form.
pub(crate) fn sender_pattern(text: &str) -> Result<String, NotAnAddress> {
    let (local, domain) = text.rsplit_once('@').ok_or(NotAnAddress::Pattern)?;
    if local.is_empty() || domain.is_empty() {
        return Err(NotAnAddress::Pattern);
    }
    let atoms = local.chars().all(|c| is_atext(c) || c == '.');
    if !atoms || local.len() > LOCAL_PART_MAX {
        return Err(NotAnAddress::Pattern);
    }
    Ok(format!("{}@{}", folded(local), domain_pattern(domain)?))
}

/// A domain in which `*` may stand anywhere; without one, and after a leading `*.`, Unicode is taken too.
fn domain_pattern(domain: &str) -> Result<String, NotAnAddress> {
    let (wild, rest) = match domain.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", domain),
    };
    if !rest.contains('*') {
        return Ok(format!("{wild}{}", host_name(rest).map_err(NotAnAddress::Domain)?));
    }
    let ldh = domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*'));
    if ldh && domain.len() <= 253 { Ok(domain.to_ascii_lowercase()) } else { Err(NotAnAddress::Pattern) }
}

fn local_part(text: &str) -> Result<String, NotAnAddress> {
    if text.len() > LOCAL_PART_MAX {
        return Err(NotAnAddress::LocalPart);
    }
    if is_dot_string(text) {
        return Ok(folded(text));
    }
    let content = unquote(text).ok_or(NotAnAddress::LocalPart)?;
    let lower = folded(&content);
    if is_dot_string(&lower) {
        return Ok(lower);
    }
    let escaped = lower.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("\"{escaped}\""))
}

/// The content of a Quoted-string (RFC 5321, section 4.1.2).
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"').filter(|_| text.len() >= 2)?;
    let mut content = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '"' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        if !matches!(c, ' '..='~') && !is_text_outside_ascii(c) {
            return None;
        }
        content.push(c);
    }
    Some(content)
}

fn is_dot_string(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// `atext` of RFC 5322, section 3.2.3, and of RFC 6531, section 3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_text_outside_ascii(c)
}

/// Neither a control character nor a line end: U+0080 to U+009F, U+2028, U+2029.
fn is_text_outside_ascii(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// Lower-case letter by letter, and composed: how the relay compares.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    let lower: String = nfc.normalize(text).chars().flat_map(char::to_lowercase).collect();
    nfc.normalize(&lower).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, NotAnAddress> {
        recipient(text).map(|(key, _)| key)
    }

    #[test]
    fn writes_every_spelling_of_an_address_in_one_form() {
        for (text, want) in [
            ("Anna@Example.COM", "anna@example.com"),
            ("anna@example.com.", "anna@example.com"),
            ("anna@bücher.example", "anna@xn--bcher-kva.example"),
            ("\"anna\"@example.com", "anna@example.com"),
            ("\"an\\na\"@example.com", "anna@example.com"),
            ("\"Anna B\"@example.com", "\"anna b\"@example.com"),
            ("\"a@b\"@example.com", "\"a@b\"@example.com"),
            ("\"a\\\"b\"@example.com", "\"a\\\"b\"@example.com"),
            ("o'brien+news@example.com", "o'brien+news@example.com"),
            ("Émile@example.com", "émile@example.com"),
            ("E\u{301}mile@example.com", "émile@example.com"),
            ("\"émile\"@bücher.example", "émile@xn--bcher-kva.example"),
            ("用户@example.com", "用户@example.com"),
        ] {
            assert_eq!(key(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_address_and_says_why() {
        let long = format!("{}@example.com", "a".repeat(65));
        for (text, want) in [
            ("anna", NotAnAddress::Form),
            ("@example.com", NotAnAddress::Form),
            ("anna@", NotAnAddress::Form),
            ("änn\u{85}a@example.com", NotAnAddress::LocalPart),
            ("änn\u{2028}a@example.com", NotAnAddress::LocalPart),
            ("an na@example.com", NotAnAddress::LocalPart),
            (".anna@example.com", NotAnAddress::LocalPart),
            ("an..na@example.com", NotAnAddress::LocalPart),
            ("\"@example.com", NotAnAddress::LocalPart),
            ("\"\\\"@example.com", NotAnAddress::LocalPart),
            ("<anna@example.com>", NotAnAddress::LocalPart),
            ("anna@b@example.com", NotAnAddress::LocalPart),
            (&long, NotAnAddress::LocalPart),
            ("anna@*.example.com", NotAnAddress::Domain(NotAName::Wildcard)),
            ("anna@[192.0.2.1]", NotAnAddress::Domain(NotAName::Address)),
        ] {
            assert_eq!(key(text), Err(want), "{text}");
        }
    }

    #[test]
    fn writes_sender_patterns_in_lower_case_a_labels() {
        for (text, want) in [
            ("*@Spam.example", "*@spam.example"),
            ("Bounce-*@*", "bounce-*@*"),
            ("*@*.bücher.example", "*@*.xn--bcher-kva.example"),
            ("*@spam*.example", "*@spam*.example"),
            ("É*@spam.example", "é*@spam.example"),
        ] {
            assert_eq!(sender_pattern(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["spam.example", "@spam.example", "*@", "a b@*", "*@b ü*.example", "*@a_*"] {
            assert!(sender_pattern(text).is_err(), "{text}");
        }
    }
}
