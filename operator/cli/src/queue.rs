//! `postern queue`: what waits in a relay's spool, why, and trying it again now. It talks with a running relay through its
//! control socket; in a cluster, through `kubectl exec`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use postern_relay::control::{Answer, Client, ClientError, Command, Detail, Message, Pending, Which};
use postern_relay::queue_id::QueueId;
use serde::Serialize;

/// See what waits in a relay's queue, and try it again
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern queue list
  postern queue show 06H08JKHTMZKN8K8
  postern queue retry --to contoso.com
  kubectl exec -n dmz postern-relay-0 -- postern queue list -o json")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,

    /// The control socket of the relay
    #[arg(
        long,
        global = true,
        env = "POSTERN_CONTROL",
        hide_env_values = true,
        value_name = "SOCKET",
        default_value = ".postern/control.sock"
    )]
    control: PathBuf,

    /// How to print the result
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line for each message, the oldest first
    List,
    /// One message: its header, and what became of each recipient
    Show {
        /// Its id, as it stands in the list, the log and the Received field
        id: QueueId,
    },
    /// Try messages again now, instead of when they are due
    Retry {
        /// Their ids
        #[arg(required_unless_present_any = ["all", "to"])]
        ids: Vec<QueueId>,
        /// All of them
        #[arg(long, conflicts_with_all = ["ids", "to"])]
        all: bool,
        /// Those with a recipient in this domain that is still waiting
        #[arg(long, value_name = "DOMAIN", conflicts_with = "ids")]
        to: Option<String>,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut client = Client::connect(&args.control)?;
    let text = match &args.action {
        Action::List => list(&messages(&mut client)?, args.output)?,
        Action::Show { id } => match one(&mut client, Command::Show { id: *id })? {
            Answer::Detail(detail) => show(&detail, args.output)?,
            other => bail!("the relay answered something else: {other:?}"),
        },
        Action::Retry { ids, all, to } => {
            let which = match to {
                Some(domain) => Which::To(domain.clone()),
                None if *all => Which::All {},
                None => Which::Ids(ids.clone()),
            };
            match one(&mut client, Command::Retry(which))? {
                Answer::Retried { messages } => retried(messages, args.output)?,
                other => bail!("the relay answered something else: {other:?}"),
            }
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads only the first lines has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(ExitCode::SUCCESS)
}

fn messages(client: &mut Client) -> Result<Vec<Message>> {
    let message = |answer: Result<Answer, ClientError>| match answer {
        Ok(Answer::Message(message)) => Ok(*message),
        Ok(other) => bail!("the relay answered something else: {other:?}"),
        Err(error) => Err(error.into()),
    };
    client.ask(Command::List {})?.map(message).collect()
}

fn one(client: &mut Client, command: Command) -> Result<Answer> {
    let answers = client.ask(command)?.collect::<Result<Vec<_>, _>>()?;
    answers.into_iter().next().context("the relay gave no answer")
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn list(messages: &[Message], output: Output) -> Result<String> {
    if output == Output::Json {
        return json(&messages);
    }
    if messages.is_empty() {
        return Ok("The queue is empty.\n".to_owned());
    }
    let now = Timestamp::now();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "AGE", "SIZE", "FROM", "TO", "TRIES", "NEXT", "LAST REPLY"]);
    for message in messages {
        let first = message.pending.first();
        let others = message.pending.len().saturating_sub(1);
        let more = if others > 0 { format!(" +{others}") } else { String::new() };
        table.add_row([
            message.id.to_string(),
            ago(now, message.arrived),
            size(message.size),
            message.sender.to_string(),
            first.map(|pending| format!("{}{more}", pending.recipient)).unwrap_or_default(),
            message.pending.iter().map(|pending| pending.attempts).max().unwrap_or(0).to_string(),
            first.map(|pending| next(now, pending)).unwrap_or_default(),
            first.map(|pending| last(pending, 60)).unwrap_or_default(),
        ]);
    }
    Ok(table.trim_fmt() + "\n")
}

fn show(detail: &Detail, output: Output) -> Result<String> {
    if output == Output::Json {
        return json(detail);
    }
    let (now, Detail { message, header }) = (Timestamp::now(), detail);
    let mut text = String::new();
    writeln!(
        text,
        "{}  {}  accepted {} ago, at {}",
        message.id,
        size(message.size),
        ago(now, message.arrived),
        message.arrived
    )?;
    writeln!(text, "From {}, {} settled, {} waiting:", message.sender, message.settled, message.pending.len())?;
    for pending in &message.pending {
        let tries = pending.attempts;
        writeln!(text, "  <{}>  tried {tries} times, next {}", pending.recipient, next(now, pending))?;
        if pending.last.is_some() {
            writeln!(text, "      {}", last(pending, usize::MAX))?;
        }
    }
    writeln!(text)?;
    for line in header.lines() {
        writeln!(text, "{}", printable(line))?;
    }
    Ok(text)
}

fn retried(messages: usize, output: Output) -> Result<String> {
    #[derive(Serialize)]
    struct Retried {
        messages: usize,
    }
    match output {
        Output::Json => json(&Retried { messages }),
        Output::Text if messages == 1 => Ok("1 message is tried again now.\n".to_owned()),
        Output::Text => Ok(format!("{messages} messages are tried again now.\n")),
    }
}

fn next(now: Timestamp, pending: &Pending) -> String {
    match pending.trying {
        true => "trying".to_owned(),
        false if pending.due <= now => "due".to_owned(),
        false => format!("in {}", ago(pending.due, now)),
    }
}

/// `server said: reply`, at most so many characters of the reply.
fn last(pending: &Pending, width: usize) -> String {
    let Some(remote) = &pending.last else { return String::new() };
    let reply: String = remote.reply.chars().take(width).collect();
    let cut = if reply.len() < remote.reply.len() { "…" } else { "" };
    let said = if remote.server.is_empty() { String::new() } else { format!("{}: ", remote.server) };
    printable(&format!("{said}{reply}{cut}"))
}

/// What a stranger wrote must not steer the terminal.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() && char != '\t' {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}

/// The time between, in its largest unit: `5s`, `12m`, `3h`, `2d`.
fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.duration_since(then).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn size(octets: u64) -> String {
    match octets {
        0..10_240 => octets.to_string(),
        10_240..10_485_760 => format!("{}Ki", octets >> 10),
        _ => format!("{}Mi", octets >> 20),
    }
}

#[cfg(test)]
mod tests {
    use postern_relay::address::ReversePath;
    use postern_relay::envelope::{Origin, Remote};

    use super::*;

    fn message() -> Message {
        let now = Timestamp::now();
        let pending = |address: &str, attempts, last| Pending {
            recipient: address.parse().unwrap(),
            attempts,
            due: now + jiff::SignedDuration::from_secs(300),
            trying: false,
            last,
        };
        let remote =
            Remote { server: "mx[192.0.2.1]:25".into(), reply: "451 later \u{1b}[31m".into(), status: "4.0.0".into() };
        Message {
            id: "06H08JKHTMZKN8K8".parse().unwrap(),
            arrived: now - jiff::SignedDuration::from_secs(600),
            size: 20_480,
            sender: ReversePath::Null,
            origin: Origin::Outsider { client: [192, 0, 2, 1].into() },
            settled: 1,
            pending: vec![pending("bob@contoso.com", 2, Some(remote)), pending("carol@contoso.com", 0, None)],
        }
    }

    #[test]
    fn a_list_has_one_line_for_each_message() {
        assert_eq!(list(&[], Output::Text).unwrap(), "The queue is empty.\n");
        let text = list(&[message()], Output::Text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in
            ["06H08JKHTMZKN8K8", "10m", "20Ki", "<>", "bob@contoso.com +1", "in 4m", "mx[192.0.2.1]:25: 451 later"]
        {
            assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
        }
        let back: Vec<Message> = serde_json::from_str(&list(&[message()], Output::Json).unwrap()).unwrap();
        assert_eq!(back[0].pending.len(), 2);
    }

    #[test]
    fn what_a_stranger_wrote_does_not_steer_the_terminal() {
        let detail = Detail { message: message(), header: "Subject: \u{1b}]0;pwned\u{7}\r\nTo: bob\r\n".to_owned() };
        let text = show(&detail, Output::Text).unwrap();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        assert!(text.contains("Subject: \\u{1b}]0;pwned\\u{7}\nTo: bob\n"), "{text}");
        assert!(text.contains("<bob@contoso.com>  tried 2 times"), "{text}");
        assert!(!list(&[message()], Output::Text).unwrap().contains('\u{1b}'));
    }
}
