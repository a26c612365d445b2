//! The queue, for people.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use postern_operator::kept;
use postern_relay::control::{AGES, Act, Detail, Message, Pending, Row, State};
use postern_relay::envelope::Remote;

use crate::cluster::Kept;
use crate::text::{ago, printable, size};

/// Lines that are set under each other; more are printed as they come.
const TOGETHER: usize = 500;
/// Characters of a reply in a list.
const REPLY: usize = 60;

/// A list, printed piece by piece.
#[derive(Debug, Default)]
pub(super) struct List {
    waiting: Vec<(String, Message)>,
    printed: bool,
    /// Whether each line says whose it is.
    named: bool,
}

impl List {
    pub(super) fn new(named: bool) -> Self {
        Self { named, ..Self::default() }
    }

    pub(super) fn add(&mut self, out: &mut impl Write, relay: String, message: Message) -> Result<()> {
        self.waiting.push((relay, message));
        if self.waiting.len() >= TOGETHER { self.print(out) } else { Ok(()) }
    }

    pub(super) fn end(mut self, out: &mut impl Write, is_all: bool) -> Result<()> {
        if !self.waiting.is_empty() {
            return self.print(out);
        }
        match (self.printed, is_all) {
            (true, _) => Ok(()),
            (false, true) => Ok(writeln!(out, "The queue is empty.")?),
            (false, false) => Ok(writeln!(out, "No message is meant.")?),
        }
    }

    fn print(&mut self, out: &mut impl Write) -> Result<()> {
        let now = Timestamp::now();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !self.printed {
            let columns = ["ID", "AGE", "SIZE", "STATE", "FROM", "TO", "TRIES", "NEXT", "WHY"];
            table.set_header(self.named.then_some("RELAY").into_iter().chain(columns));
        }
        for (relay, message) in self.waiting.drain(..) {
            let first = message.pending.first();
            let others = message.pending.len().saturating_sub(1);
            let more = if others > 0 { format!(" +{others}") } else { String::new() };
            let cells = [
                message.id.to_string(),
                ago(now, message.arrived),
                size(message.size),
                state(message.state).to_owned(),
                message.sender.to_string(),
                first.map(|pending| format!("{}{more}", pending.recipient)).unwrap_or_default(),
                message.pending.iter().map(|pending| pending.attempts).max().unwrap_or(0).to_string(),
                first.map(|pending| next(now, message.state, pending)).unwrap_or_default(),
                first.and_then(|pending| why(pending, REPLY)).unwrap_or_default(),
            ];
            table.add_row(self.named.then_some(relay).into_iter().chain(cells));
        }
        self.printed = true;
        Ok(writeln!(out, "{}", table.trim_fmt())?)
    }
}

pub(super) fn show(out: &mut impl Write, relay: Option<&str>, detail: &Detail) -> Result<ExitCode> {
    let (now, Detail { message, envelope, header }) = (Timestamp::now(), detail);
    let (id, age) = (message.id, ago(now, message.arrived));
    writeln!(
        out,
        "{id}  {}  {}  accepted {age} ago, at {}",
        size(message.size),
        state(message.state),
        message.arrived.strftime("%Y-%m-%dT%H:%M:%SZ")
    )?;
    if let Some(relay) = relay {
        writeln!(out, "In the queue of {relay}")?;
    }
    writeln!(out, "From {}, {} settled, {} waiting:", message.sender, message.settled, message.pending.len())?;
    for pending in &message.pending {
        let tries = match pending.attempts {
            0 => "not tried yet".to_owned(),
            1 => "tried once".to_owned(),
            tries => format!("tried {tries} times"),
        };
        writeln!(out, "  <{}>  {tries}, next {}", pending.recipient, next(now, message.state, pending))?;
        if !pending.destination.hosts.is_empty() {
            writeln!(out, "      goes to {}", pending.destination.hosts.join(", "))?;
        }
        if let Some(remote) = &pending.destination.problem {
            writeln!(out, "      waits because {}", said(remote, usize::MAX))?;
        }
        if let Some(remote) = &pending.last {
            writeln!(out, "      last try: {}", said(remote, usize::MAX))?;
        }
    }
    writeln!(out, "Envelope: {}", printable(&serde_json::to_string(envelope)?))?;
    writeln!(out)?;
    for line in header.lines() {
        writeln!(out, "{}", printable(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All lines of a summary together.
pub(super) fn total(rows: &[Row]) -> Row {
    let mut total = Row { name: "TOTAL".to_owned(), recipients: 0, ages: Default::default() };
    for row in rows {
        total.recipients += row.recipients;
        for (sum, more) in total.ages.iter_mut().zip(row.ages) {
            *sum += more;
        }
    }
    total
}

/// The rows of two relays as one summary, the longest queue first.
pub(super) fn together(mut rows: Vec<Row>, more: Vec<Row>) -> Vec<Row> {
    for row in more {
        match rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => {
                known.recipients += row.recipients;
                for (sum, more) in known.ages.iter_mut().zip(row.ages) {
                    *sum += more;
                }
            }
            None => rows.push(row),
        }
    }
    rows.sort_by(|one, other| other.recipients.cmp(&one.recipients).then_with(|| one.name.cmp(&other.name)));
    rows
}

pub(super) fn summary(out: &mut impl Write, total: &Row, rows: &[Row]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let bounds = AGES.iter().map(|minutes| format!("<{minutes}"));
    let oldest = AGES.last().map(|minutes| format!("{minutes}+"));
    table.set_header(["MINUTES".to_owned(), "ALL".to_owned()].into_iter().chain(bounds).chain(oldest));
    for Row { name, recipients, ages } in std::iter::once(total).chain(rows) {
        let name = if name.is_empty() { "(no route)".to_owned() } else { printable(name) };
        table.add_row([name, recipients.to_string()].into_iter().chain(ages.iter().map(u64::to_string)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(writeln!(out, "{}", table.trim_fmt())?)
}

/// What relays have left that are not there any more.
pub(super) fn left(out: &mut impl Write, kept: &Kept) -> Result<()> {
    if kept.full().next().is_none() {
        return Ok(());
    }
    writeln!(out, "Left behind by relays that were scaled in, and in no list:")?;
    for volume in kept.full() {
        writeln!(out, "  {}", printable(&kept::said(volume)))?;
    }
    match kept.back(kept.full()) {
        Some(back) => Ok(writeln!(out, "To have them delivered, {back}.")?),
        None => Ok(()),
    }
}

pub(super) fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

pub(super) fn changed(act: Act, count: usize) -> String {
    let done = match (act, count == 1) {
        (Act::Retry, true) => "is tried again now",
        (Act::Retry, false) => "are tried again now",
        (Act::Hold, true) => "is held now",
        (Act::Hold, false) => "are held now",
        (Act::Release, _) => "released",
        (Act::Delete, _) => "deleted",
    };
    format!("{} {done}.", messages(count))
}

/// Where nothing came of it, and so many of those that are meant are held.
pub(super) fn unchanged(act: Act, held: usize) -> String {
    match (act, held) {
        (Act::Hold, 1) => "1 message is held already.".to_owned(),
        (Act::Hold, 2..) => format!("{held} messages are held already."),
        (Act::Retry, 1) => "1 message is held: release it first.".to_owned(),
        (Act::Retry, 2..) => format!("{held} messages are held: release them first."),
        _ => changed(act, 0),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Trying => "trying",
        State::Held => "held",
    }
}

fn next(now: Timestamp, state: State, pending: &Pending) -> String {
    match state {
        _ if pending.trying => "trying".to_owned(),
        State::Held => "held".to_owned(),
        // While its servers cannot be reached, nothing for them is tried before they are.
        _ => match pending.due.max(pending.destination.next_probe.unwrap_or(Timestamp::MIN)) {
            due if due <= now => "due".to_owned(),
            due => format!("in {}", ago(due, now)),
        },
    }
}

/// Why it waits: because all mail for its destination does, or by what its own last try heard.
fn why(pending: &Pending, width: usize) -> Option<String> {
    let remote = pending.destination.problem.as_ref().or(pending.last.as_ref())?;
    Some(said(remote, width))
}

/// `server: reply`, at most so many characters of the reply.
fn said(remote: &Remote, width: usize) -> String {
    let reply: String = remote.reply.chars().take(width).collect();
    let cut = if reply.len() < remote.reply.len() { "…" } else { "" };
    let server = if remote.server.is_empty() { String::new() } else { format!("{}: ", remote.server) };
    printable(&format!("{server}{reply}{cut}"))
}

#[cfg(test)]
mod tests {
    use postern_relay::address::ReversePath;
    use postern_relay::control::Destination;
    use postern_relay::envelope::{Envelope, Origin};

    use super::*;

    fn remote(reply: &str) -> Remote {
        Remote { server: "mx[192.0.2.1]:25".into(), reply: reply.into(), status: "4.0.0".into() }
    }

    fn message() -> Message {
        let now = Timestamp::now();
        let pending = |address: &str, attempts, last| Pending {
            recipient: address.parse().unwrap(),
            attempts,
            due: now + jiff::SignedDuration::from_secs(300),
            trying: false,
            last,
            destination: Destination { hosts: vec!["mailbox".to_owned()], ..Destination::default() },
        };
        let last = Some(remote("451 later \u{1b}[31m"));
        Message {
            id: "06H08JKHTMZKN8K8".parse().unwrap(),
            arrived: now - jiff::SignedDuration::from_secs(600),
            size: 20_480,
            state: State::Waiting,
            sender: ReversePath::Null,
            origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
            settled: 1,
            pending: vec![pending("bob@contoso.com", 2, last), pending("carol@contoso.com", 0, None)],
        }
    }

    fn list(messages: Vec<Message>) -> String {
        let (mut list, mut out) = (List::default(), Vec::new());
        messages.into_iter().for_each(|message| list.add(&mut out, String::new(), message).unwrap());
        list.end(&mut out, true).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_has_one_line_for_each_message() {
        assert_eq!(list(Vec::new()), "The queue is empty.\n");
        let text = list(vec![message()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in
            ["06H08JKHTMZKN8K8", "10m", "20Ki", "<>", "bob@contoso.com +1", "in 4m", "mx[192.0.2.1]:25: 451 later"]
        {
            assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
        }
        let mut held = message();
        held.state = State::Held;
        held.pending[0].destination.problem = Some(remote("cannot be reached"));
        let text = list(vec![held]);
        assert!(text.contains("held") && text.contains("cannot be reached") && !text.contains("451"), "{text}");
        assert_eq!(list(vec![message(); 1200]).lines().count(), 1201, "one header, however long it is");
    }

    fn envelope() -> Envelope {
        Envelope {
            arrived: Timestamp::UNIX_EPOCH,
            sender: ReversePath::Null,
            recipients: vec!["bob@contoso.com".parse().unwrap()],
            origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
            eight_bit: false,
            binary: false,
            utf8: false,
            dsn: None,
        }
    }

    #[test]
    fn what_a_stranger_wrote_does_not_steer_the_terminal() {
        let header = "Subject: \u{1b}]0;pwned\u{7}\r\nTo: bob\r\n".to_owned();
        let mut out = Vec::new();
        show(&mut out, None, &Detail { message: message(), envelope: envelope(), header }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        assert!(text.contains("Subject: \\u{1b}]0;pwned\\u{7}\nTo: bob\n"), "{text}");
        assert!(text.contains("<bob@contoso.com>  tried 2 times") && text.contains("goes to mailbox"), "{text}");
        assert!(!list(vec![message()]).contains('\u{1b}'));
    }

    #[test]
    fn a_message_is_shown_as_people_count() {
        let mut message = message();
        message.arrived = "2026-01-01T10:00:00.123456789Z".parse().unwrap();
        message.pending[0].attempts = 1;
        let mut out = Vec::new();
        show(&mut out, None, &Detail { message, envelope: envelope(), header: String::new() }).unwrap();
        let text = String::from_utf8(out).unwrap();
        for said in ["ago, at 2026-01-01T10:00:00Z\n", "<bob@contoso.com>  tried once, next", "not tried yet, next"] {
            assert!(text.contains(said), "{said:?} is not in {text}");
        }
    }

    #[test]
    fn a_summary_begins_with_the_total() {
        let row = |name: &str, recipients| Row {
            name: name.to_owned(),
            recipients,
            ages: [recipients, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        let rows = [row("contoso.com", 70), row("", 5)];
        let mut out = Vec::new();
        summary(&mut out, &total(&rows), &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().take(3).collect::<Vec<_>>();
        assert_eq!((words(0), words(1)), (vec!["MINUTES", "ALL", "<5"], vec!["TOTAL", "75", "75"]));
        assert_eq!((words(2), words(3)), (vec!["contoso.com", "70", "70"], vec!["(no", "route)", "5"]));
    }
}
