//! Notifications of failure (RFC 3464): what a sender reads when a message could not be delivered. Pure.
//!
//! Never to the null sender, and never with more of the original than its header, at most 50,000 octets: what a stranger
//! sent under a forged sender must not be carried further by us. The id is derived from the original and the recipients, so
//! that a crash between a notification's commit and the original's settling does not send two.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Envelope, Origin, Remote};
use crate::queue_id::QueueId;

/// Octets of the original's header that are returned.
pub const HEADER_MAX: usize = 50_000;
/// The status of a message that was tried until its lifetime ended (RFC 3463, "Delivery time expired").
pub const EXPIRED: &str = "4.4.7";

/// A recipient that the message will never reach.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Who.
    pub recipient: &'a Mailbox,
    /// Who said what.
    pub remote: &'a Remote,
}

/// What a notification tells.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The relay's name.
    pub hostname: &'a str,
    /// The notification's own id.
    pub id: QueueId,
    /// The message that it is about.
    pub about: QueueId,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// At least one.
    pub failures: &'a [Failure<'a>],
    /// Its content from the beginning, as far as it was read; what comes after the header is not used.
    pub original: &'a [u8],
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

/// The domain of ours whose mail failed: it decides how the notification leaves.
pub fn domain(envelope: &Envelope, failed: &Mailbox) -> String {
    match &envelope.origin {
        Origin::Source { domain, .. } => domain.clone(),
        Origin::Outsider { .. } | Origin::Notification { .. } => failed.domain().as_str().to_owned(),
    }
}

/// The id of the notification about these recipients (places in the envelope). `salt` is 0, unless that id is in use for
/// something else.
pub fn id(about: QueueId, recipients: &[u32], salt: u32) -> QueueId {
    let mut hash = Sha256::new();
    hash.update(about.to_bytes());
    hash.update(salt.to_be_bytes());
    for recipient in recipients {
        hash.update(recipient.to_be_bytes());
    }
    let digest = hash.finalize();
    QueueId::new(about.unix_millis(), u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// The whole message, CRLF line ends. `None` when [`addressee`] says that nobody is told.
pub fn compose(notice: &Notice<'_>) -> Option<Vec<u8>> {
    let to = addressee(notice.envelope)?;
    let Notice { hostname, id, now, .. } = notice;
    let boundary = format!("{id}/{hostname}");
    let header = header(notice.original);
    let mut text = String::new();
    for line in [
        format!("Date: {}", date(*now)),
        format!("From: Mail Delivery System <mailer-daemon@{hostname}>"),
        format!("To: <{to}>"),
        "Subject: Your message could not be delivered".to_owned(),
        format!("Message-ID: <{id}@{hostname}>"),
        "Auto-Submitted: auto-replied".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: multipart/report; report-type=delivery-status;".to_owned(),
        format!("\tboundary=\"{boundary}\""),
        String::new(),
        "This is a notification in MIME format.".to_owned(),
        String::new(),
        format!("--{boundary}"),
        "Content-Type: text/plain; charset=us-ascii".to_owned(),
        "Content-Description: Notification".to_owned(),
        String::new(),
        explanation(notice),
        format!("--{boundary}"),
        "Content-Type: message/delivery-status".to_owned(),
        "Content-Description: Delivery report".to_owned(),
        String::new(),
        report(notice),
        format!("--{boundary}"),
        "Content-Type: text/rfc822-headers".to_owned(),
        "Content-Description: Header of your message".to_owned(),
        format!("Content-Transfer-Encoding: {}", if header.is_ascii() { "7bit" } else { "8bit" }),
        String::new(),
    ] {
        text.push_str(&line.replace('\n', "\r\n"));
        text.push_str("\r\n");
    }
    let mut message = text.into_bytes();
    message.extend_from_slice(header);
    message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Some(message)
}

/// The header section, in whole lines and at most [`HEADER_MAX`] octets.
fn header(original: &[u8]) -> &[u8] {
    let end = if original.starts_with(b"\r\n") {
        0
    } else {
        memchr::memmem::find(original, b"\r\n\r\n").map_or(original.len(), |at| at + 2)
    };
    if end <= HEADER_MAX {
        return &original[..end];
    }
    let whole_lines = memchr::memrchr(b'\n', &original[..HEADER_MAX]).map_or(0, |at| at + 1);
    &original[..whole_lines]
}

/// The part for people.
fn explanation(notice: &Notice<'_>) -> String {
    let Notice { hostname, about, envelope, failures, now, .. } = notice;
    let whom = match failures.len() {
        1 => "one recipient".to_owned(),
        count => format!("{count} recipients"),
    };
    let mut text = format!("Your message could not be delivered to {whom}.\n");
    for Failure { recipient, remote } in *failures {
        let _ = write!(text, "\n  {recipient}\n\n");
        if remote.server.is_empty() {
            wrap(&mut text, &capitalised(&remote.reply), "    ");
        } else if is_smtp(remote) {
            wrap(&mut text, &format!("The mail server {} refused it and said:", remote.server), "    ");
            text.push('\n');
            wrap(&mut text, &remote.reply, "        ");
        } else {
            wrap(&mut text, &format!("The mail server {} {}", remote.server, remote.reply), "    ");
        }
        text.push('\n');
        wrap(&mut text, advice(&remote.status), "    ");
    }
    text.push('\n');
    let accepted = date(envelope.arrived);
    wrap(
        &mut text,
        &format!(
            "The mail relay {hostname} accepted your message on {accepted}, under the name {about}, and tried for the last \
             time on {}. It will not try again. Below are a report for programs, and the header of your message by which \
             you can tell which one it was.",
            date(*now)
        ),
        "",
    );
    text
}

/// What the sender can do about it, by RFC 3463.
fn advice(status: &str) -> &'static str {
    let (class, detail) = status.split_once('.').unwrap_or(("5", "0.0"));
    match (class, detail) {
        (_, "1.1" | "1.2" | "1.3" | "1.6" | "1.10") => {
            "What you can do: check the address, letter by letter. As it is written it does not exist there, or not any more."
        }
        (_, "1.7" | "1.8") => {
            "What you can do: check the sender address that your program uses. The other side does not accept it."
        }
        (_, "2.2") => {
            "What you can do: tell the recipient in another way that the mailbox is full, and send it again later."
        }
        (_, "2.3" | "3.4") => {
            "What you can do: make it smaller. It is larger than the other side takes; share large files in another way."
        }
        (_, "4.6") => {
            "What you can do: show this to the administrator of your mail. The message would go round in a circle, which is a \
             mistake in the settings of a mail server."
        }
        (_, "4.7") => {
            "What you can do: send it again later, or ask the recipient in another way whether their mail works. All tries \
             until now failed."
        }
        (_, detail) if detail.starts_with("7.") => {
            "What you can do: ask the recipient, or the administrator of their mail, to allow it. The rules of the other side \
             refuse it, and sending it again unchanged will not help."
        }
        _ => "What you can do: if the reason above does not tell you, show this to the administrator of your mail.",
    }
}

/// The part for programs (RFC 3464, section 2).
fn report(notice: &Notice<'_>) -> String {
    let Notice { hostname, about, envelope, failures, now, .. } = notice;
    let mut text = format!("Reporting-MTA: dns; {hostname}\nX-Postern-Queue-ID: {about}\n");
    if let ReversePath::Mailbox(sender) = &envelope.sender {
        let _ = writeln!(text, "X-Postern-Sender: rfc822; {sender}");
    }
    let _ = writeln!(text, "Arrival-Date: {}", date(envelope.arrived));
    for Failure { recipient, remote } in *failures {
        let _ = write!(text, "\nFinal-Recipient: rfc822; {recipient}\nAction: failed\nStatus: {}\n", remote.status);
        if let Some((name, _)) = remote.server.split_once('[') {
            let _ = writeln!(text, "Remote-MTA: dns; {name}");
        }
        let kind = if is_smtp(remote) { "smtp" } else { "x-postern" };
        let _ = writeln!(text, "Diagnostic-Code: {kind}; {}", remote.reply);
        let _ = writeln!(text, "Last-Attempt-Date: {}", date(*now));
    }
    text
}

/// Whether the reply is a server's own. Our sentences do not begin with a number.
fn is_smtp(remote: &Remote) -> bool {
    remote.reply.len() >= 3 && remote.reply.as_bytes()[..3].iter().all(u8::is_ascii_digit)
}

fn date(at: Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_else(|_| at.to_string())
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Appends `sentence` in lines of at most 76 characters where its words allow.
fn wrap(text: &mut String, sentence: &str, indent: &str) {
    let mut column = 0;
    for word in sentence.split(' ').filter(|word| !word.is_empty()) {
        if column > 0 && column + 1 + word.len() > 76 {
            text.push('\n');
            column = 0;
        }
        text.push_str(if column == 0 { indent } else { " " });
        text.push_str(word);
        column += word.len() + if column == 0 { indent.len() } else { 1 };
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
