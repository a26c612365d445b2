//! What the relay reads in a header section (RFC 5322), and the one field that it writes: Received.
//!
//! Reading is for two decisions only: how many hops a message has made, and as which domain a null sender sends. It runs
//! over the octets once, keeps no tree and has no recursion, so no message can make it slow or deep. A From that can be
//! read in more than one way (two of them, a group, a comment that never ends) names no domain at all.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::address::{Domain, Mailbox};
use crate::queue_id::QueueId;

/// Longest line of a field that we write, without CRLF (RFC 5322, section 2.1.1).
const LINE_MAX: usize = 998;
/// More addresses than this in From are not looked at: no RelayDomain is chosen by them.
const FROM_MAX: usize = 100;

/// What a header section says, as far as a decision needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Received fields.
    pub hops: u32,
    /// The domain of each address in From, each once, lower-case; none when there is not exactly one readable From.
    pub from_domains: Vec<String>,
}

/// Reads a header section, or a message: it ends at the first empty line.
pub fn scan(octets: &[u8]) -> Facts {
    let mut hops = 0;
    let mut from = From::Absent;
    for (name, value) in fields(octets) {
        if name.eq_ignore_ascii_case(b"Received") {
            hops += 1;
        } else if name.eq_ignore_ascii_case(b"From") {
            from = match from {
                From::Absent => From::Once(value),
                From::Once(_) | From::Twice => From::Twice,
            };
        }
    }
    let from_domains = match from {
        From::Once(value) => from_domains(value).unwrap_or_default(),
        From::Absent | From::Twice => Vec::new(),
    };
    Facts { hops, from_domains }
}

enum From<'a> {
    Absent,
    Once(&'a [u8]),
    Twice,
}

/// Each field's name and its value, still folded. White space before the colon, which was allowed once (RFC 5322, section
/// 4.5), hides no field; a line that is no field is passed over.
fn fields(octets: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() || rest.starts_with(b"\r\n") {
                return None;
            }
            let (field, after) = rest.split_at(field_len(rest));
            rest = after;
            if let Some(colon) = memchr::memchr(b':', field) {
                let name = field[..colon].trim_ascii_end();
                if !name.is_empty() && name.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
                    return Some((name, &field[colon + 1..]));
                }
            }
        }
    })
}

/// With its folded lines and the CRLF behind the last.
fn field_len(octets: &[u8]) -> usize {
    let mut end = 0;
    while let Some(found) = memchr::memchr(b'\n', &octets[end..]) {
        end += found + 1;
        if !matches!(octets.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    octets.len()
}

/// The domains of an address list (RFC 5322, section 3.4) without groups, or `None` when it is anything else.
fn from_domains(value: &[u8]) -> Option<Vec<String>> {
    let mut domains: Vec<String> = Vec::new();
    let (mut current, mut angled, mut count) = (String::new(), None, 0);
    let mut tokens = Tokens { rest: std::str::from_utf8(value).ok()? };
    loop {
        let token = tokens.next()?;
        match token {
            Token::Space => {}
            Token::Angle(address) if angled.is_none() => angled = Some(address),
            Token::Comma | Token::End => {
                if current.is_empty() && angled.is_none() {
                    return None; // nothing between two commas
                }
                let address = angled.take().unwrap_or(&current);
                let mailbox: Mailbox = address.trim_matches([' ', '\t', '\r', '\n']).parse().ok()?;
                let domain = mailbox.domain().as_str();
                if !domains.iter().any(|known| known == domain) {
                    domains.push(domain.to_owned());
                }
                current.clear();
                count += 1;
                if matches!(token, Token::End) || count > FROM_MAX {
                    return (count <= FROM_MAX).then_some(domains);
                }
            }
            Token::Word(text) if angled.is_none() => current.push_str(text),
            Token::Angle(_) | Token::Word(_) => return None, // behind an address in angle brackets
        }
    }
}

/// A piece of an address list.
enum Token<'a> {
    /// White space or a comment.
    Space,
    /// A quoted string, an address literal, or other text.
    Word(&'a str),
    /// What stands between `<` and `>`.
    Angle(&'a str),
    Comma,
    End,
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// `None`: this is no address list without groups.
    fn next(&mut self) -> Option<Token<'a>> {
        let Some(first) = self.rest.bytes().next() else { return Some(Token::End) };
        let text = match first {
            b',' => self.take(1),
            b' ' | b'\t' | b'\r' | b'\n' => self.take(1),
            b'(' => self.take(comment_len(self.rest)?),
            b'"' => self.take(quoted_len(self.rest)?),
            b'<' => self.take(angle_len(self.rest)?),
            b'[' => self.take(self.rest.find(']')? + 1),
            b':' | b';' | b'>' | b')' | b']' | b'\\' => return None,
            _ => self.take(
                self.rest.find(|character: char| " \t\r\n,()\"<>[]:;\\".contains(character)).unwrap_or(self.rest.len()),
            ),
        };
        Some(match first {
            b',' => Token::Comma,
            b' ' | b'\t' | b'\r' | b'\n' | b'(' => Token::Space,
            b'<' => Token::Angle(&text[1..text.len() - 1]),
            _ => Token::Word(text),
        })
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        text
    }
}

/// A comment with those inside it: counted, not descended into.
fn comment_len(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0u32, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(index + 1),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// Up to the `>` that is not inside a quoted local part.
fn angle_len(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index + 1),
            b'<' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// What must stand between our fields and content that begins with white space, or it would continue the last of them:
/// the empty line that ends the header section. Such content has none of its own.
pub fn separator(content: &[u8]) -> &'static [u8] {
    match content.first() {
        Some(b' ' | b'\t') => b"\r\n",
        _ => b"",
    }
}

/// What a client spoke, without TLS (the registry of mail transmission types; RFC 3848, and RFC 6531, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
    /// EHLO, and SMTPUTF8 with MAIL.
    Utf8Smtp,
}

impl Protocol {
    /// What stands behind `with`. TLS needs EHLO to begin with, and has no name for HELO.
    fn with(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Self::Smtp, false) => "SMTP",
            (Self::Esmtp, false) => "ESMTP",
            (Self::Smtp | Self::Esmtp, true) => "ESMTPS",
            (Self::Utf8Smtp, false) => "UTF8SMTP",
            (Self::Utf8Smtp, true) => "UTF8SMTPS",
        }
    }
}

/// What a Received field tells of a message (RFC 5321, section 4.4).
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// What the client calls itself.
    pub hello: &'a str,
    /// Where it connected from.
    pub client: IpAddr,
    /// What we call ourselves.
    pub by: &'a str,
    /// What was spoken.
    pub protocol: Protocol,
    /// How the connection was protected, if it was.
    pub tls: Option<&'a Protection>,
    /// The message's name in the spool.
    pub id: QueueId,
    /// The only recipient. Of several none is told, or each would learn of the others.
    pub recipient: Option<&'a Mailbox>,
    /// When it was accepted.
    pub now: Timestamp,
}

/// What TLS has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: String,
}

impl Protection {
    /// Of the cipher's key.
    fn bits(&self) -> u16 {
        if self.cipher.contains("AES_128") { 128 } else { 256 }
    }
}

/// As a log tells it: `TLSv1.3 TLS_AES_256_GCM_SHA384`.
impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)
    }
}

/// The Received field, folded, with CRLF. Whatever the names are made of, it holds no control character but its folds.
pub fn received(trace: &Trace<'_>) -> Vec<u8> {
    let protocol = trace.protocol.with(trace.tls.is_some());
    let mut lines =
        vec![format!("Received: from {} ({})", visible(trace.hello), Domain::from_ip(trace.client).as_str())];
    if let Some(tls @ Protection { version, cipher }) = trace.tls {
        let bits = tls.bits();
        lines.push(format!("\t(using {version} with cipher {cipher} ({bits}/{bits} bits))"));
    }
    lines.push(format!("\tby {} with {protocol} id {}", visible(trace.by), trace.id));
    // An address outside ASCII would make the whole header need SMTPUTF8.
    if let Some(recipient) = trace.recipient.filter(|recipient| recipient.is_ascii()) {
        lines.push(format!("\tfor <{recipient}>"));
    }
    let date = trace.now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let mut field = String::new();
    for line in lines {
        field.push_str(line.get(..LINE_MAX).unwrap_or(&line));
        field.push_str("\r\n");
    }
    field.truncate(field.len() - "\r\n".len());
    field.push_str(&format!(";\r\n\t{date}\r\n"));
    field.into_bytes()
}

/// Names were checked where they came in; this is the second net.
fn visible(name: &str) -> String {
    name.chars()
        .map(|character| if character.is_ascii_graphic() && !"()<>;\\\"".contains(character) { character } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests;
