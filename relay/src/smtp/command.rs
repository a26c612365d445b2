//! Reads one command line (RFC 5321, section 4.1). Strict, with two exceptions of the field: spaces between the colon
//! and the path, and spaces at the end of the line.
//!
//! A command that is not offered is told apart from one that nobody knows. A line of another protocol (HTTP, SSH, an
//! unasked PROXY header) is recognised, since what follows it is not meant for us either.

use std::net::IpAddr;
use std::str::FromStr;

use super::reply::{Enhanced, Reply};
use crate::address::{DOMAIN_MAX, Domain, ForwardPath, Mailbox, NotAnAddress, ReversePath};

/// A command that this server carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `HELO name`
    Helo(HeloName),
    /// `EHLO name`
    Ehlo(HeloName),
    /// `MAIL FROM:<path> parameters`
    Mail(Mail),
    /// `RCPT TO:<path>`
    Rcpt(ForwardPath),
    /// `DATA`
    Data,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `VRFY string`
    Vrfy,
    /// `HELP`
    Help,
    /// `QUIT`
    Quit,
}

/// MAIL with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// To whom failures are reported.
    pub sender: ReversePath,
    /// `SIZE=` (RFC 1870): octets. More digits than a u64 holds are the most that it holds.
    pub size: Option<u64>,
    /// `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
}

/// What a client calls itself: an address literal, or letters, digits, `-`, `.` and the `_` of many a workstation. Never
/// verified (RFC 5321, section 4.1.4), so it need not be a name; but nothing else ever gets into a header or a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeloName(Box<str>);

impl HeloName {
    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeloName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let valid = match text.starts_with('[') {
            true => text.parse::<Domain>().is_ok(),
            false => {
                (!text.is_empty() && text.len() <= DOMAIN_MAX && text.bytes().all(named))
                    || text.parse::<IpAddr>().is_ok()
            }
        };
        match valid {
            true => Ok(Self(text.into())),
            false => Err(Malformed::Arguments("a domain or an address literal is needed")),
        }
    }
}

/// Why a line is no command of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nobody knows it.
    #[error("unknown command")]
    Unknown,
    /// It exists, and is not offered.
    #[error("command not implemented")]
    NotImplemented,
    /// The command is right, what follows is not.
    #[error("syntax error: {0}")]
    Arguments(&'static str),
    /// MAIL's path.
    #[error("bad sender address: {0}")]
    Sender(NotAnAddress),
    /// RCPT's path.
    #[error("bad recipient address: {0}")]
    Recipient(NotAnAddress),
    /// A parameter of MAIL or RCPT that was not offered.
    #[error("parameter not recognised")]
    Parameter,
    /// Another protocol.
    #[error("this is an SMTP server")]
    OtherProtocol,
}

impl Malformed {
    /// What the client is told.
    pub fn reply(self) -> Reply {
        let (code, enhanced) = match self {
            Self::Unknown => (500, Enhanced(5, 5, 2)),
            Self::NotImplemented => (502, Enhanced(5, 5, 1)),
            Self::Arguments(_) => (501, Enhanced(5, 5, 4)),
            Self::Sender(NotAnAddress::Form) => (553, Enhanced(5, 1, 7)),
            Self::Sender(_) => (501, Enhanced(5, 1, 7)),
            Self::Recipient(NotAnAddress::Form) => (553, Enhanced(5, 1, 3)),
            Self::Recipient(_) => (501, Enhanced(5, 1, 3)),
            Self::Parameter => (555, Enhanced(5, 5, 4)),
            Self::OtherProtocol => (521, Enhanced(5, 5, 1)),
        };
        Reply::new(code, enhanced, self.to_string())
    }
}

/// Reads a line, without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Malformed> {
    let verb_len = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let verb = line[..verb_len].to_ascii_uppercase();
    let arguments = match std::str::from_utf8(&line[verb_len..]) {
        Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => Ok(text.trim_end_matches(' ')),
        _ => Err(Malformed::Arguments("control or non-ASCII character")),
    };
    match verb.as_slice() {
        b"HELO" => Ok(Command::Helo(arguments?.trim_start_matches(' ').parse()?)),
        b"EHLO" => Ok(Command::Ehlo(arguments?.trim_start_matches(' ').parse()?)),
        b"MAIL" => Ok(Command::Mail(mail(arguments?)?)),
        b"RCPT" => Ok(Command::Rcpt(recipient(arguments?)?)),
        b"DATA" => alone(arguments?, Command::Data),
        b"STARTTLS" => alone(arguments?, Command::StartTls),
        b"RSET" => alone(arguments?, Command::Rset),
        b"QUIT" => alone(arguments?, Command::Quit),
        b"NOOP" => arguments.map(|_| Command::Noop),
        b"HELP" => arguments.map(|_| Command::Help),
        b"VRFY" if arguments?.is_empty() => Err(Malformed::Arguments("VRFY needs a user or an address")),
        b"VRFY" => Ok(Command::Vrfy),
        b"AUTH" | b"BDAT" | b"EXPN" | b"ETRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => Err(Malformed::NotImplemented),
        b"GET" | b"POST" | b"PUT" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"PATCH" | b"TRACE" | b"CONNECT" | b"PRI"
        | b"PROXY" => Err(Malformed::OtherProtocol),
        other if other.starts_with(b"SSH-") => Err(Malformed::OtherProtocol),
        _ => Err(Malformed::Unknown),
    }
}

fn alone(arguments: &str, command: Command) -> Result<Command, Malformed> {
    match arguments {
        "" => Ok(command),
        _ => Err(Malformed::Arguments("this command takes no arguments")),
    }
}

fn mail(arguments: &str) -> Result<Mail, Malformed> {
    let (path, parameters) = path(arguments, "FROM:", "write MAIL FROM:<address>")?;
    let sender = match path {
        "" => ReversePath::Null,
        path => ReversePath::Mailbox(path.parse().map_err(Malformed::Sender)?),
    };
    let (mut size, mut eight_bit) = (None, None);
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        match parse_parameter(parameter)? {
            Parameter::Size(octets) => once(&mut size, octets)?,
            Parameter::Body { eight_bit: declared } => once(&mut eight_bit, declared)?,
        }
    }
    Ok(Mail { sender, size, eight_bit: eight_bit.unwrap_or(false) })
}

fn recipient(arguments: &str) -> Result<ForwardPath, Malformed> {
    let (path, parameters) = path(arguments, "TO:", "write RCPT TO:<address>")?;
    if let Some(parameter) = parameters.split(' ').find(|parameter| !parameter.is_empty()) {
        keyword(parameter)?;
        return Err(Malformed::Parameter); // nothing that RCPT could take is offered
    }
    match path {
        path if path.eq_ignore_ascii_case("postmaster") => Ok(ForwardPath::Postmaster),
        path => path.parse::<Mailbox>().map(ForwardPath::Mailbox).map_err(Malformed::Recipient),
    }
}

/// What stands between the angle brackets, and what stands behind them. A `>` inside a Quoted-string ends nothing.
fn path<'a>(arguments: &'a str, keyword: &str, usage: &'static str) -> Result<(&'a str, &'a str), Malformed> {
    let refused = Malformed::Arguments(usage);
    let arguments = arguments.trim_start_matches(' ');
    let start = arguments.get(..keyword.len()).filter(|start| start.eq_ignore_ascii_case(keyword)).ok_or(refused)?;
    let rest = arguments[start.len()..].trim_start_matches(' ').strip_prefix('<').ok_or(refused)?;
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let parameters = &rest[index + 1..];
                let separated = parameters.is_empty() || parameters.starts_with(' ');
                return if separated { Ok((&rest[..index], parameters)) } else { Err(refused) };
            }
            _ => {}
        }
    }
    Err(refused)
}

/// An `esmtp-param` that was offered (RFC 5321, section 4.1.2).
enum Parameter {
    Size(u64),
    Body { eight_bit: bool },
}

fn parse_parameter(parameter: &str) -> Result<Parameter, Malformed> {
    let (keyword, value) = keyword(parameter)?;
    if keyword.eq_ignore_ascii_case("SIZE") {
        let digits =
            value.filter(|value| (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit()));
        let digits = digits.ok_or(Malformed::Arguments("SIZE needs 1 to 20 digits"))?;
        return Ok(Parameter::Size(digits.parse().unwrap_or(u64::MAX)));
    }
    if keyword.eq_ignore_ascii_case("BODY") {
        return match value {
            Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(Parameter::Body { eight_bit: true }),
            Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(Parameter::Body { eight_bit: false }),
            _ => Err(Malformed::Arguments("BODY is 7BIT or 8BITMIME")),
        };
    }
    Err(Malformed::Parameter)
}

/// `esmtp-keyword ["=" esmtp-value]`
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
        Some(_) => Err(Malformed::Arguments("a parameter stands twice")),
    }
}

#[cfg(test)]
mod tests;
