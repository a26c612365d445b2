//! The part of a notification for people: what happened, whose server said what, when it was tried, and what to do. Pure.

use std::fmt::Write as _;

use super::wording::{advice, capitalised, times, wrap};
use super::{Kind, Notice, Recipient, date, is_smtp};

pub(super) fn explanation(notice: &Notice<'_>) -> String {
    let Notice { kind, recipients, .. } = notice;
    let whom = match recipients.len() {
        1 => "one recipient".to_owned(),
        count => format!("{count} recipients"),
    };
    let mut text = match kind {
        Kind::Failed => format!("Your message could not be delivered to {whom}.\n"),
        Kind::Delayed { .. } => format!(
            "Your message has not yet been delivered to {whom}.\nIt is not lost, and you need not send it again.\n"
        ),
        Kind::Relayed => format!("Your message was passed on for {whom}.\n"),
    };
    for recipient in *recipients {
        about(&mut text, *kind, recipient);
    }
    text.push('\n');
    wrap(&mut text, &history(notice), "");
    text
}

fn about(text: &mut String, kind: Kind, recipient: &Recipient<'_>) {
    let Recipient { mailbox, remote, .. } = recipient;
    let _ = write!(text, "\n  {mailbox}\n\n");
    let server = &remote.server;
    match kind {
        Kind::Relayed => {
            let sentence = format!(
                "The mail server {server} took it. It does not tell when it has delivered a message, so this is the last that \
                 you hear of it, unless it fails there."
            );
            return wrap(text, &sentence, "    ");
        }
        _ if server.is_empty() => wrap(text, &capitalised(&remote.reply), "    "),
        _ if is_smtp(remote) => {
            let how = if kind == Kind::Failed { "refused it" } else { "does not take it now" };
            wrap(text, &format!("The mail server {server} {how} and said:"), "    ");
            text.push('\n');
            wrap(text, &remote.reply, "        ");
        }
        _ => wrap(text, &format!("The mail server {server} {}", remote.reply), "    "),
    }
    if kind == Kind::Failed {
        text.push('\n');
        wrap(text, advice(&remote.status), "    ");
    }
}

/// When it was tried, how often, and what comes next.
fn history(notice: &Notice<'_>) -> String {
    let Notice { kind, hostname, about, envelope, recipients, now, .. } = notice;
    let (accepted, last) = (date(envelope.arrived), date(*now));
    let attempts = recipients.iter().map(|recipient| recipient.attempts).max().unwrap_or(1);
    let came = format!("The mail relay {hostname} accepted your message on {accepted}, under the name {about}");
    let tried = match attempts {
        0 | 1 => format!("tried once, on {last}"),
        more => format!("tried {} since then, the last time on {last}", times(more)),
    };
    let below =
        "Below are a report for programs, and the header of your message by which you can tell which one it was.";
    match kind {
        Kind::Failed => format!("{came}, and {tried}. It will not try again. {below}"),
        Kind::Delayed { until } => format!(
            "{came}, and {tried}. It goes on trying until {}. If that does not succeed you get another notification; you get \
             none when it does. {below}",
            date(*until)
        ),
        Kind::Relayed => format!("{came}. It went on to that server on {last}. {below}"),
    }
}
