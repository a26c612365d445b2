//! Reads one command line (RFC 5321, section 4.1). Strict, with two exceptions of the field: spaces between the colon
//! and the path, and spaces at the end of the line. Outside ASCII nothing is read, but for addresses, and ORCPT, where the
//! client has said SMTPUTF8 (RFC 6531): with the same command, or for a recipient with the MAIL before it.
//!
//! A command that is not offered is told apart from one that nobody knows. A line of another protocol (HTTP, SSH, an
//! unasked PROXY header) is recognised, since what follows it is not meant for us either.

use std::net::IpAddr;
use std::str::FromStr;

use super::parameters;
use super::reply::{Enhanced, Reply};
use crate::address::{DOMAIN_MAX, Domain, ForwardPath, Mailbox, NotAnAddress, ReversePath, is_text_outside_ascii};
use crate::envelope::{RecipientDsn, Return};

/// A command that this server carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `HELO name`
    Helo(HeloName),
    /// `EHLO name`
    Ehlo(HeloName),
    /// `MAIL FROM:<path> parameters`
    Mail(Mail),
    /// `RCPT TO:<path> parameters`
    Rcpt(Rcpt),
    /// `DATA`
    Data,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `BDAT octets [LAST]` (RFC 3030): so many octets of content follow the line.
    Bdat {
        /// As many as a u64 holds; more digits than that are the most that it holds.
        bytes: u64,
        /// The message ends with them.
        last: bool,
    },
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

impl Command {
    /// Whether a client must await the answer before it says more (RFC 2920, section 3.1). Whoever does not is out of step,
    /// or lets somebody else speak in his name. (STARTTLS looks after itself, where it is offered.)
    pub fn ends_group(&self) -> bool {
        match self {
            Self::Helo(_) | Self::Ehlo(_) | Self::Data | Self::Noop | Self::Vrfy => true,
            Self::Mail(_)
            | Self::Rcpt(_)
            | Self::Bdat { .. }
            | Self::StartTls
            | Self::Rset
            | Self::Help
            | Self::Quit => false,
        }
    }
}

/// MAIL with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// To whom failures are reported.
    pub sender: ReversePath,
    /// `SIZE=` (RFC 1870): octets. More digits than a u64 holds are the most that it holds.
    pub size: Option<u64>,
    /// `BODY=`
    pub body: Body,
    /// `SMTPUTF8` (RFC 6531): addresses and header may be in UTF-8.
    pub utf8: bool,
    /// `RET=` (RFC 3461, section 4.3).
    pub ret: Option<Return>,
    /// `ENVID=` (RFC 3461, section 4.4), decoded.
    pub envid: Option<String>,
}

/// What a client declares its content to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`, or nothing.
    #[default]
    SevenBit,
    /// `8BITMIME` (RFC 6152).
    EightBit,
    /// `BINARYMIME` (RFC 3030): no lines behind the header, and BDAT only.
    Binary,
}

/// RCPT with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// To whom.
    pub to: ForwardPath,
    /// `NOTIFY=` and `ORCPT=` (RFC 3461), decoded.
    pub dsn: RecipientDsn,
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
    /// An address outside ASCII, and no SMTPUTF8 with MAIL or VRFY (RFC 6531, section 3.5).
    #[error("an address outside ASCII needs SMTPUTF8")]
    NeedsUtf8,
    /// BDAT with anything but a number of octets: nobody knows where the next command begins.
    #[error("write BDAT octets [LAST]; closing")]
    Chunk,
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
            Self::NeedsUtf8 => (553, Enhanced(5, 6, 7)),
            Self::Chunk => (501, Enhanced(5, 5, 4)),
            Self::OtherProtocol => (521, Enhanced(5, 5, 1)),
        };
        Reply::new(code, enhanced, self.to_string())
    }
}

/// The longest verb that we know.
const VERB_MAX: usize = 8;
const NOT_TEXT: Malformed = Malformed::Arguments("control or non-ASCII character");

/// Reads a line, without its CRLF. `utf8`: the open transaction is one with SMTPUTF8.
pub fn parse(line: &[u8], utf8: bool) -> Result<Command, Malformed> {
    let verb_len = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (written, arguments) = line.split_at(verb_len);
    let mut verb = [0; VERB_MAX];
    let verb = match verb.get_mut(..verb_len) {
        Some(verb) => {
            verb.copy_from_slice(written);
            verb.make_ascii_uppercase();
            &*verb
        }
        None => &[],
    };
    match verb {
        b"HELO" => Ok(Command::Helo(ascii(arguments)?.trim_start_matches(' ').parse()?)),
        b"EHLO" => Ok(Command::Ehlo(ascii(arguments)?.trim_start_matches(' ').parse()?)),
        b"MAIL" => Ok(Command::Mail(mail(text(arguments)?)?)),
        b"RCPT" => Ok(Command::Rcpt(recipient(text(arguments)?, utf8)?)),
        b"DATA" => alone(arguments, Command::Data),
        b"BDAT" => chunk(arguments),
        b"STARTTLS" => alone(arguments, Command::StartTls),
        b"RSET" => alone(arguments, Command::Rset),
        b"QUIT" => alone(arguments, Command::Quit),
        b"NOOP" => ascii(arguments).map(|_| Command::Noop),
        b"HELP" => ascii(arguments).map(|_| Command::Help),
        b"VRFY" => vrfy(text(arguments)?),
        b"AUTH" | b"EXPN" | b"ETRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => Err(Malformed::NotImplemented),
        b"GET" | b"POST" | b"PUT" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"PATCH" | b"TRACE" | b"CONNECT" | b"PRI"
        | b"PROXY" => Err(Malformed::OtherProtocol),
        _ if written.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SSH-")) => Err(Malformed::OtherProtocol),
        _ => Err(Malformed::Unknown),
    }
}

/// What follows a verb, as text without control characters.
fn text(arguments: &[u8]) -> Result<&str, Malformed> {
    let harmless = |text: &&str| match text.is_ascii() {
        true => text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        false => text.chars().all(|character| matches!(character, ' '..='~') || is_text_outside_ascii(character)),
    };
    let text = std::str::from_utf8(arguments).ok().filter(harmless).ok_or(NOT_TEXT)?;
    Ok(text.trim_end_matches(' '))
}

fn ascii(arguments: &[u8]) -> Result<&str, Malformed> {
    text(arguments).and_then(|text| if text.is_ascii() { Ok(text) } else { Err(NOT_TEXT) })
}

fn alone(arguments: &[u8], command: Command) -> Result<Command, Malformed> {
    match ascii(arguments)? {
        "" => Ok(command),
        _ => Err(Malformed::Arguments("this command takes no arguments")),
    }
}

fn chunk(arguments: &[u8]) -> Result<Command, Malformed> {
    let arguments = ascii(arguments).map_err(|_| Malformed::Chunk)?;
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let bytes = words.next().and_then(parameters::number).ok_or(Malformed::Chunk)?;
    let last = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(Malformed::Chunk),
    };
    Ok(Command::Bdat { bytes, last })
}

/// With SMTPUTF8 behind it what is asked for may be in UTF-8 (RFC 6531, section 3.7.4.2).
fn vrfy(arguments: &str) -> Result<Command, Malformed> {
    let asked = arguments.trim_start_matches(' ');
    let utf8 = asked.rsplit_once(' ').is_some_and(|(_, last)| last.eq_ignore_ascii_case("SMTPUTF8"));
    match asked {
        "" => Err(Malformed::Arguments("VRFY needs a user or an address")),
        asked if asked.is_ascii() || utf8 => Ok(Command::Vrfy),
        _ => Err(Malformed::NeedsUtf8),
    }
}

fn mail(arguments: &str) -> Result<Mail, Malformed> {
    let (path, parameters) = path(arguments, "FROM:", "write MAIL FROM:<address>")?;
    let sender = match path {
        "" => ReversePath::Null,
        path => ReversePath::Mailbox(path.parse().map_err(Malformed::Sender)?),
    };
    let mail = parameters::mail(sender, parameters)?;
    if path.is_ascii() || mail.utf8 { Ok(mail) } else { Err(Malformed::NeedsUtf8) }
}

fn recipient(arguments: &str, utf8: bool) -> Result<Rcpt, Malformed> {
    let (path, parameters) = path(arguments, "TO:", "write RCPT TO:<address>")?;
    let to = match path {
        path if path.eq_ignore_ascii_case("postmaster") => ForwardPath::Postmaster,
        path => path.parse::<Mailbox>().map(ForwardPath::Mailbox).map_err(Malformed::Recipient)?,
    };
    if !path.is_ascii() && !utf8 {
        return Err(Malformed::NeedsUtf8);
    }
    Ok(Rcpt { to, dsn: parameters::recipient(parameters, utf8)? })
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

#[cfg(test)]
mod tests;
