//! The part of a notification for programs (RFC 3464, section 2; RFC 6533, section 3, for addresses beyond ASCII). Pure.

use std::fmt::Write as _;

use super::{Kind, Notice, Recipient, date, is_smtp};
use crate::address::{Mailbox, ReversePath};

pub(super) fn report(notice: &Notice<'_>) -> String {
    let Notice { kind, hostname, about, envelope, recipients, now, .. } = notice;
    let mut text = String::new();
    if let Some(envid) = envelope.dsn.as_ref().and_then(|dsn| dsn.envid.as_deref()) {
        let _ = writeln!(text, "Original-Envelope-Id: {}", printable(envid));
    }
    let _ = write!(text, "Reporting-MTA: dns; {hostname}\nX-Postern-Queue-ID: {about}\n");
    if let ReversePath::Mailbox(sender) = &envelope.sender {
        let _ = writeln!(text, "X-Postern-Sender: {}", typed(sender));
    }
    let _ = writeln!(text, "Arrival-Date: {}", date(envelope.arrived));
    for Recipient { mailbox, remote, original, .. } in *recipients {
        text.push('\n');
        if let Some(original) = original {
            let _ =
                writeln!(text, "Original-Recipient: {}; {}", printable(&original.kind), printable(&original.address));
        }
        let _ = writeln!(text, "Final-Recipient: {}", typed(mailbox));
        let _ = write!(text, "Action: {}\nStatus: {}\n", kind.action(), remote.status);
        if let Some((name, _)) = remote.server.split_once('[') {
            let _ = writeln!(text, "Remote-MTA: dns; {name}");
        }
        let diagnostic = if is_smtp(remote) { "smtp" } else { "x-postern" };
        let _ = writeln!(text, "Diagnostic-Code: {diagnostic}; {}", remote.reply);
        let _ = writeln!(text, "Last-Attempt-Date: {}", date(*now));
        if let Kind::Delayed { until } = kind {
            let _ = writeln!(text, "Will-Retry-Until: {}", date(*until));
        }
    }
    text
}

fn typed(mailbox: &Mailbox) -> String {
    let kind = if mailbox.local_part().is_ascii() { "rfc822" } else { "utf-8" };
    format!("{kind}; {mailbox}")
}

/// What a client wrote never ends a line.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
