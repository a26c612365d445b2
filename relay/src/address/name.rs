//! Domain names (RFC 1123 section 2.1, RFC 5890): what is one, and the one form in which it is kept.
//!
//! Strict, because a name decides whose mail passes: a label outside ASCII must be the U-label that its own A-label stands
//! for, but for upper case and for how its letters are composed. What IDNA would only map to a name of ours (circled letters,
//! soft hyphens, other dots) is none, and a look-alike has another A-label.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::folded;

/// The longest label (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// The name in lower-case A-labels, or `None` when it is no name.
pub(super) fn canonical(text: &str) -> Option<String> {
    match text.is_ascii() {
        true => is_name(text).then(|| text.to_ascii_lowercase()),
        false => from_unicode(text),
    }
}

/// UTS 46, non-transitional, with the rules of the DNS; then the way back, which must lead to where it began.
fn from_unicode(text: &str) -> Option<String> {
    let (ascii_only, hyphens) = (AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    let ascii = Uts46::new().to_ascii(text.as_bytes(), ascii_only, hyphens, DnsLength::Verify).ok()?;
    let (unicode, valid) = Uts46::new().to_unicode(ascii.as_bytes(), ascii_only, hyphens);
    let mut labels = unicode.split('.');
    let same = |written: &str| labels.next().is_some_and(|label| written.is_ascii() || folded(written) == label);
    let all_same = text.split('.').all(same) && labels.next().is_none();
    (valid.is_ok() && all_same && is_name(&ascii)).then(|| ascii.into_owned())
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
