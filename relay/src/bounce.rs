//! Notifications (RFC 3461 and 3464): what a sender reads when a message could not be delivered, waits for long, or was
//! handed to a server that will tell nothing more about it. Pure.
//!
//! Never to the null sender, and never with more of the original than it asked for with RET, and that is at most 50,000 octets:
//! its header, or with `RET=FULL` all of a failed message that is no larger. What a stranger sent under a forged sender must
//! not be carried further by us in any size. The id is derived from the original and the recipients, so that a crash between a
//! notification's commit and the original's settling does not send two.
//!
//! A sender that wants to hear nothing (NOTIFY) hears nothing. It keeps its name all the same where the message goes on to a
//! server without DSN: RFC 3461, section 5.2.2, allows the null sender there, but that would break what SPF says of it.

mod explanation;
mod report;
mod wording;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Envelope, Notify, Origin, OriginalRecipient, RecipientDsn, Remote, Return};
use crate::queue_id::QueueId;
use explanation::explanation;
use report::report;

/// Octets of the original that are returned.
pub const RETURNED_MAX: usize = 50_000;
/// The status of a message that was tried until its lifetime ended (RFC 3463, "Delivery time expired").
pub const EXPIRED: &str = "4.4.7";

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The message will never reach these recipients.
    Failed,
    /// It waits, and is tried until then.
    Delayed {
        /// The end of its lifetime.
        until: Timestamp,
    },
    /// It was handed to a server that cannot tell about its delivery.
    Relayed,
}

impl Kind {
    /// `Action` (RFC 3464, section 2.3.3).
    fn action(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed { .. } => "delayed",
            Self::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered",
            Self::Delayed { .. } => "Your message is delayed, and will be tried again",
            Self::Relayed => "Your message was passed on",
        }
    }
}

/// A recipient that something is told about.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// Who.
    pub mailbox: &'a Mailbox,
    /// Who said what.
    pub remote: &'a Remote,
    /// To whom the message was addressed first.
    pub original: Option<&'a OriginalRecipient>,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a notification tells.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What is told.
    pub kind: Kind,
    /// The relay's name.
    pub hostname: &'a str,
    /// The notification's own id.
    pub id: QueueId,
    /// The message that it is about.
    pub about: QueueId,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// At least one.
    pub recipients: &'a [Recipient<'a>],
    /// Its content from the beginning, as far as it was read.
    pub original: &'a [u8],
    /// Whether that is all of it.
    pub complete: bool,
    /// When the last attempt was made.
    pub now: Timestamp,
}

/// Who is told. `None`: nobody, because the message is itself a notification or has no sender.
pub fn addressee(envelope: &Envelope) -> Option<&Mailbox> {
    match (&envelope.origin, &envelope.sender) {
        (Origin::Notification { .. }, _) | (_, ReversePath::Null) => None,
        (_, ReversePath::Mailbox(mailbox)) => Some(mailbox),
    }
}

/// Whether the sender wants to hear this about a recipient (its place in the envelope). Without a wish it hears of failures,
/// and of delays, and not of success.
pub fn is_wanted(envelope: &Envelope, recipient: u32, kind: Kind) -> bool {
    let wishes = envelope.dsn.as_ref().and_then(|dsn| dsn.recipients.get(&recipient)).and_then(|wishes| wishes.notify);
    match (wishes, kind) {
        (None, Kind::Failed | Kind::Delayed { .. }) => true,
        (None, Kind::Relayed) => false,
        (Some(Notify { failure, .. }), Kind::Failed) => failure,
        (Some(Notify { delay, .. }), Kind::Delayed { .. }) => delay,
        (Some(Notify { success, .. }), Kind::Relayed) => success,
    }
}

/// To whom the message was addressed first, if the sender said so.
pub fn original_recipient(envelope: &Envelope, recipient: u32) -> Option<&OriginalRecipient> {
    let RecipientDsn { notify: _, original } = envelope.dsn.as_ref()?.recipients.get(&recipient)?;
    original.as_ref()
}

/// The domain of ours whose mail it is about: it decides how the notification leaves.
pub fn domain(envelope: &Envelope, recipient: &Mailbox) -> String {
    match &envelope.origin {
        Origin::Source { domain, .. } => domain.clone(),
        Origin::Outsider { .. } | Origin::Notification { .. } => recipient.domain().as_str().to_owned(),
    }
}

/// The id of the notification of this kind about these recipients (places in the envelope). `salt` is 0, unless that id is in
/// use for something else.
pub fn id(about: QueueId, kind: Kind, recipients: &[u32], salt: u32) -> QueueId {
    let mut hash = Sha256::new();
    hash.update(about.to_bytes());
    hash.update(kind.action());
    hash.update(salt.to_be_bytes());
    for recipient in recipients {
        hash.update(recipient.to_be_bytes());
    }
    let digest = hash.finalize();
    QueueId::new(about.unix_millis(), u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// Whether the notification's own header needs SMTPUTF8: it names its addressee.
pub fn needs_utf8(envelope: &Envelope) -> bool {
    addressee(envelope).is_some_and(|mailbox| !mailbox.local_part().is_ascii())
}

/// The whole message, CRLF line ends. `None` when [`addressee`] says that nobody is told.
pub fn compose(notice: &Notice<'_>) -> Option<Vec<u8>> {
    let to = addressee(notice.envelope)?;
    let Notice { kind, hostname, id, now, .. } = notice;
    let boundary = format!("{id}/{hostname}");
    let returned = Returned::of(notice);
    // RFC 6533: addresses beyond ASCII are told as they are.
    let international = needs_utf8(notice.envelope)
        || notice.recipients.iter().any(|recipient| !recipient.mailbox.local_part().is_ascii())
        || notice.recipients.iter().any(|recipient| recipient.original.is_some_and(|one| !one.address.is_ascii()));
    let (charset, global) = if international { ("utf-8", "global-") } else { ("us-ascii", "") };
    let text_encoding = encoding(!international);
    let mut text = String::new();
    for line in [
        format!("Date: {}", date(*now)),
        format!("From: Mail Delivery System <mailer-daemon@{hostname}>"),
        format!("To: <{to}>"),
        format!("Subject: {}", kind.subject()),
        format!("Message-ID: <{id}@{hostname}>"),
        "Auto-Submitted: auto-replied".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: multipart/report; report-type=delivery-status;".to_owned(),
        format!("\tboundary=\"{boundary}\""),
        String::new(),
        "This is a notification in MIME format.".to_owned(),
        String::new(),
        format!("--{boundary}"),
        format!("Content-Type: text/plain; charset={charset}"),
        "Content-Description: Notification".to_owned(),
        format!("Content-Transfer-Encoding: {text_encoding}"),
        String::new(),
        explanation(notice),
        format!("--{boundary}"),
        format!("Content-Type: message/{global}delivery-status"),
        "Content-Description: Delivery report".to_owned(),
        format!("Content-Transfer-Encoding: {text_encoding}"),
        String::new(),
        report(notice),
        format!("--{boundary}"),
        format!("Content-Type: {}", returned.kind),
        format!("Content-Description: {}", returned.description),
        format!("Content-Transfer-Encoding: {}", encoding(returned.octets.is_ascii())),
        String::new(),
    ] {
        text.push_str(&line.replace('\n', "\r\n"));
        text.push_str("\r\n");
    }
    let mut message = text.into_bytes();
    message.extend_from_slice(returned.octets);
    message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Some(message)
}

fn encoding(ascii: bool) -> &'static str {
    if ascii { "7bit" } else { "8bit" }
}

/// What of the original comes back.
struct Returned<'a> {
    kind: &'static str,
    description: &'static str,
    octets: &'a [u8],
}

impl<'a> Returned<'a> {
    fn of(notice: &Notice<'a>) -> Self {
        let Notice { kind, envelope, original, complete, .. } = notice;
        let full = envelope.dsn.as_ref().is_some_and(|dsn| dsn.ret == Some(Return::Full));
        // Binary content would make the notification binary, and not every server takes that.
        let whole = full && *kind == Kind::Failed && *complete && original.len() <= RETURNED_MAX && !envelope.binary;
        match (whole, envelope.utf8) {
            (true, false) => Self { kind: "message/rfc822", description: "Your message", octets: original },
            (true, true) => Self { kind: "message/global", description: "Your message", octets: original },
            (false, utf8) => Self {
                kind: if utf8 { "message/global-headers" } else { "text/rfc822-headers" },
                description: "Header of your message",
                octets: header(original),
            },
        }
    }
}

/// The header section, in whole lines and at most [`RETURNED_MAX`] octets.
fn header(original: &[u8]) -> &[u8] {
    let end = if original.starts_with(b"\r\n") {
        0
    } else {
        memchr::memmem::find(original, b"\r\n\r\n").map_or(original.len(), |at| at + 2)
    };
    if end <= RETURNED_MAX {
        return &original[..end];
    }
    let whole_lines = memchr::memrchr(b'\n', &original[..RETURNED_MAX]).map_or(0, |at| at + 1);
    &original[..whole_lines]
}

fn date(at: Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_else(|_| at.to_string())
}

/// Whether the reply is a server's own. Our sentences do not begin with a number.
fn is_smtp(remote: &Remote) -> bool {
    remote.reply.len() >= 3 && remote.reply.as_bytes()[..3].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
