//! Reads the parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), and what a sender
//! asks about notifications: RET and ENVID, NOTIFY and ORCPT (RFC 3461, RFC 6533).
//!
//! Each stands once. A value that hides octets (xtext) is decoded, and then held to the same rules as if it had stood there
//! openly: what comes out is printable, so no line of a spool, a header or a report can be broken by it (CVE-2020-28026).

use super::command::{Body, Mail, Malformed};
use crate::address::{ReversePath, is_atext, is_text_outside_ascii};
use crate::envelope::{Notify, OriginalRecipient, RecipientDsn, Return};

/// The longest ENVID, decoded (RFC 3461, section 4.4).
const ENVID_MAX: usize = 100;
/// The longest ORCPT, decoded, with its type (RFC 3461, section 4.2).
const ORCPT_MAX: usize = 500;

/// The type of an address outside ASCII (RFC 6533, section 3).
const UTF8: &str = "utf-8";

const TWICE: Malformed = Malformed::Arguments("a parameter stands twice");
const ENVID: Malformed = Malformed::Arguments("ENVID is xtext of at most 100 printable characters");
const NOTIFY: Malformed = Malformed::Arguments("NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY, each once");
const ORCPT: Malformed = Malformed::Arguments("ORCPT is TYPE;ADDRESS in xtext, at most 500 printable characters");

/// MAIL, with what stands behind its path.
pub(super) fn mail(sender: ReversePath, parameters: &str) -> Result<Mail, Malformed> {
    let (mut size, mut body, mut utf8, mut ret, mut envid) = (None, None, None, None, None);
    for parameter in words(parameters) {
        let (keyword, value) = keyword(parameter)?;
        if keyword.eq_ignore_ascii_case("SIZE") {
            let octets = value.and_then(number).ok_or(Malformed::Arguments("SIZE needs a number of octets"))?;
            once(&mut size, octets)?;
        } else if keyword.eq_ignore_ascii_case("BODY") {
            once(&mut body, declared(value)?)?;
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            match value {
                None => once(&mut utf8, ())?,
                Some(_) => return Err(Malformed::Arguments("SMTPUTF8 takes no value")),
            }
        } else if keyword.eq_ignore_ascii_case("RET") {
            once(&mut ret, returned(value)?)?;
        } else if keyword.eq_ignore_ascii_case("ENVID") {
            once(&mut envid, value.and_then(envelope_id).ok_or(ENVID)?)?;
        } else {
            return Err(Malformed::Parameter);
        }
    }
    Ok(Mail { sender, size, body: body.unwrap_or_default(), utf8: utf8.is_some(), ret, envid })
}

/// What stands behind RCPT's path. `utf8`: in a transaction with SMTPUTF8.
pub(super) fn recipient(parameters: &str, utf8: bool) -> Result<RecipientDsn, Malformed> {
    let mut dsn = RecipientDsn::default();
    for parameter in words(parameters) {
        let (keyword, value) = keyword(parameter)?;
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            once(&mut dsn.notify, value.and_then(notify).ok_or(NOTIFY)?)?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            once(&mut dsn.original, value.and_then(|value| original(value, utf8)).ok_or(ORCPT)?)?;
        } else {
            return Err(Malformed::Parameter);
        }
    }
    Ok(dsn)
}

fn words(parameters: &str) -> impl Iterator<Item = &str> {
    parameters.split(' ').filter(|parameter| !parameter.is_empty())
}

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321, section 4.1.2)
fn keyword(parameter: &str) -> Result<(&str, Option<&str>), Malformed> {
    let (keyword, value) = match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    };
    let named = keyword.starts_with(|first: char| first.is_ascii_alphanumeric())
        && keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match named && value.is_none_or(|value| !value.is_empty() && !value.contains('=')) {
        true => Ok((keyword, value)),
        false => Err(Malformed::Arguments("a parameter is KEYWORD or KEYWORD=value")),
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(TWICE),
    }
}

/// Up to twenty digits, as RFC 1870 and RFC 3030 have them. What a u64 cannot hold is the most that it holds.
pub(super) fn number(digits: &str) -> Option<u64> {
    let valid = (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn declared(value: Option<&str>) -> Result<Body, Malformed> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBit),
        Some(value) if value.eq_ignore_ascii_case("BINARYMIME") => Ok(Body::Binary),
        _ => Err(Malformed::Arguments("BODY is 7BIT, 8BITMIME or BINARYMIME")),
    }
}

fn returned(value: Option<&str>) -> Result<Return, Malformed> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("FULL") => Ok(Return::Full),
        Some(value) if value.eq_ignore_ascii_case("HDRS") => Ok(Return::Headers),
        _ => Err(Malformed::Arguments("RET is FULL or HDRS")),
    }
}

fn envelope_id(value: &str) -> Option<String> {
    decode_xtext(value, false).filter(|id| id.len() <= ENVID_MAX && is_printable(id))
}

fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for event in value.split(',') {
        let wish = if event.eq_ignore_ascii_case("SUCCESS") {
            &mut notify.success
        } else if event.eq_ignore_ascii_case("FAILURE") {
            &mut notify.failure
        } else if event.eq_ignore_ascii_case("DELAY") {
            &mut notify.delay
        } else {
            return None;
        };
        if std::mem::replace(wish, true) {
            return None;
        }
    }
    Some(notify)
}

/// `addr-type ";" xtext`, or for the type `utf-8` one of the forms of RFC 6533, section 3. Postfix writes an address outside
/// ASCII as `rfc822;` and the xtext of its UTF-8: with SMTPUTF8 that is read as the `utf-8` that it is.
fn original(value: &str, utf8: bool) -> Option<OriginalRecipient> {
    let (kind, address) = value.split_once(';')?;
    if kind.is_empty() || !kind.bytes().all(is_atext) {
        return None;
    }
    let mut kind = kind.to_ascii_lowercase();
    let mut address = decode_xtext(address, utf8 && kind == UTF8)?;
    if kind == UTF8 {
        address = decode_embedded(&address)?;
    } else if utf8 && kind == "rfc822" && !address.is_ascii() {
        kind = UTF8.to_owned();
    }
    let outside_ascii = |character: char| kind == UTF8 && is_text_outside_ascii(character);
    let printable = address.chars().all(|character| matches!(character, ' '..='~') || outside_ascii(character));
    let fits = kind.len() + ";".len() + address.len() <= ORCPT_MAX;
    (!address.is_empty() && printable && fits).then_some(OriginalRecipient { kind, address })
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// `xtext` (RFC 3461, section 4): printable ASCII, in which `+` and two digits are an octet. The digits may be in lower case,
/// as some senders write them.
fn decode_xtext(text: &str, utf8: bool) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => hexadecimal(rest.next()?)? << 4 | hexadecimal(rest.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => octet,
            0x80.. if utf8 => octet,
            _ => return None,
        });
    }
    String::from_utf8(octets).ok()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `utf-8-addr-xtext` (RFC 6533, section 3): `\x{HEX}` is a character, and a backslash is nothing else.
fn decode_embedded(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        let (digits, after) = escape.strip_prefix("x{")?.split_once('}')?;
        let valid = (1..=6).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let point = valid.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
        decoded.push_str(before);
        decoded.push(char::from_u32(point)?);
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}
