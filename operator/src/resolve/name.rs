//! DNS names as people write them → lower-case A-labels without a trailing dot, as the Snapshot holds them.
//!
//! Unicode names go through UTS #46 (RFC 5891), so that a name has one form only, and a look-alike never equals it.
//! Nothing is looked up, and nothing is guessed: what is no host name (RFC 1123, section 2.1) is refused with the reason.

use std::net::IpAddr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Why something is not a name of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAName {
    #[error("is empty")]
    Empty,
    #[error("is an address, not a domain name")]
    Address,
    #[error("may have `*` only as its whole first label, as in `*.example.com`")]
    Wildcard,
    #[error("is not a domain name: letters, digits and inner hyphens, labels up to 63 and 253 characters in all")]
    Form,
}

/// A host name: no wildcard, no address.
pub(crate) fn host_name(text: &str) -> Result<String, NotAName> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(NotAName::Empty);
    }
    if name.contains('*') {
        return Err(NotAName::Wildcard);
    }
    let ascii = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| if looks_like_address(name) { NotAName::Address } else { NotAName::Form })?
        .into_owned();
    if looks_like_address(&ascii) { Err(NotAName::Address) } else { Ok(ascii) }
}

/// The name of a mail domain: a host name, or `*.` and a host name for all of its subdomains.
pub(crate) fn domain_name(text: &str) -> Result<String, NotAName> {
    match text.strip_prefix("*.") {
        Some(parent) => Ok(format!("*.{}", host_name(parent)?)),
        None => host_name(text),
    }
}

/// Whether `name`, a host name, is meant by `pattern`, a domain name: itself, or some subdomain of a wildcard's parent.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == name,
    }
}

/// A last label of digits only is no name but (part of) an IPv4 address, however it is misspelt: `10.0.0.011`, `1.2.3`.
fn looks_like_address(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || name.rsplit('.').next().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_spelling_of_a_name_in_one_form() {
        for (text, want) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("BU\u{308}CHER.example", "xn--bcher-kva.example"),
            ("ⓔxample.test", "example.test"),
            ("exa\u{ad}mple.test", "example.test"),
            ("mail.corp.example", "mail.corp.example"),
            ("r3---sn.example", "r3---sn.example"),
        ] {
            assert_eq!(host_name(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(domain_name("*.Example.com.").as_deref(), Ok("*.example.com"));
    }

    #[test]
    fn keeps_a_look_alike_apart_from_the_name_it_imitates() {
        let cyrillic = host_name("раураl.test").expect("a name of its own");
        assert_ne!(cyrillic, "paypal.test");
        assert!(cyrillic.starts_with("xn--"), "{cyrillic}");
    }

    #[test]
    fn refuses_what_is_no_name_and_says_why() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "abcdefgh.".repeat(30));
        for (text, want) in [
            ("", NotAName::Empty),
            (".", NotAName::Empty),
            ("*", NotAName::Wildcard),
            ("a.*.example", NotAName::Wildcard),
            ("*.*.example", NotAName::Wildcard),
            ("a*.example", NotAName::Wildcard),
            ("*.", NotAName::Empty),
            ("10.0.0.1", NotAName::Address),
            ("10.0.0.011", NotAName::Address),
            ("[192.0.2.1]", NotAName::Address),
            ("2001:db8::1", NotAName::Address),
            ("a..example", NotAName::Form),
            ("-a.example", NotAName::Form),
            ("a-.example", NotAName::Form),
            ("a_b.example", NotAName::Form),
            ("a b.example", NotAName::Form),
            ("a\n.example", NotAName::Form),
            ("xn--", NotAName::Form),
            ("xn--a", NotAName::Form),
            ("xn--example-.com", NotAName::Form),
            (&long_label, NotAName::Form),
            (&long_name, NotAName::Form),
        ] {
            assert_eq!(domain_name(text), Err(want), "{text}");
        }
    }

    #[test]
    fn a_wildcard_covers_subdomains_at_any_depth_and_not_the_parent() {
        assert!(covers("*.example.com", "a.example.com"));
        assert!(covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", "badexample.com"));
        assert!(!covers("*.example.com", ".example.com"));
        assert!(covers("example.com", "example.com"));
        assert!(!covers("example.com", "a.example.com"));
    }
}
