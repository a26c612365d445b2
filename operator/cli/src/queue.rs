//! `postern queue`: what waits in the relays' spools, why, and what a person does about it. It talks with running relays
//! through their control sockets; with those of a cluster through the API server's exec.

mod filter;
mod list;
mod text;
mod transfer;

use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use postern_crds::status::KeptVolume;
use postern_relay::control::{Act, Answer, By, ClientError, Command, Detail, Filter, List, Row, Sort, State};
use postern_relay::queue_id::QueueId;
use serde::Serialize;

use crate::cluster::Kept;
use crate::format::{Format, structured};
use crate::relays::{self, Relays, one, unexpected};
use filter::{Chosen, Narrowed};

/// No message is meant, or none is changed by it.
const NONE: u8 = 3;
/// Some messages were left out, each named.
const NOT_ALL: u8 = 4;

/// See what waits in the relays' queues, and decide about it
#[derive(Debug, ClapArgs)]
#[command(after_help = format!("Examples:
  postern queue list --domain contoso.com --older-than 1h --sort attempts
  postern queue summary
  postern queue show 06H08JKHTMZKN8K8
  postern queue retry --host mailbox
  postern queue hold --sender @fabrikam.com
  postern queue delete --state held --older-than 3d --yes
  postern queue export --all --out backup/
  kubectl postern queue list -n dmz
  kubectl postern queue release --all -n dmz --pod postern-relay-2

{}

Nobody is told of mail that is deleted: no bounce is sent, as with postsuper -d and exim -Mrm. \
Held mail is not delivered, and does not expire, until it is released; it stays held through restarts.

A relay of a cluster that is scaled in leaves its volume. list and summary name those volumes, with how many messages waited \
there when the relay was last asked: below what they print, or as elements {{keptVolume: {{claim, relay, messages}}}}. The \
messages on them are left out.

Exit codes: 0 done; 1 failed, with the reason on standard error; 2 wrong usage; 3 no message is meant, or none is \
changed; 4 some messages were left out, or a relay did not answer, with the reasons on standard error.", relays::RULE))]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    which: relays::Which,

    /// How to print the result
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line for each message
    List {
        #[command(flatten)]
        which: Narrowed,
        /// In which order
        #[arg(long, value_enum, default_value_t = Order::Age)]
        sort: Order,
        /// The other way round
        #[arg(long)]
        reverse: bool,
        /// No more than so many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// One message: its envelope, its header, and what became of each recipient
    Show {
        /// Its id, as it stands in the list, the log and the Received field
        id: QueueId,
    },
    /// How many recipients wait, by destination and by age in minutes (as qshape does)
    Summary {
        #[command(flatten)]
        which: Narrowed,
        /// What makes a line
        #[arg(long, value_enum, default_value_t = Lines::Domain)]
        by: Lines,
        /// No more lines than so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Try messages again now, instead of when they are due
    Retry(Chosen),
    /// Keep messages from being delivered
    Hold(Chosen),
    /// Let held messages be delivered
    Release(Chosen),
    /// Delete messages; nobody is told
    Delete {
        #[command(flatten)]
        which: Chosen,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Copy messages out of the queue: as ID.json and ID.eml into a directory, or all into one file
    #[command(after_help = "In a directory a message is two files: ID.json holds its envelope and how each recipient \
stands, ID.eml its content as it will be sent. One file holds, for each message, a line with the same JSON, the content \
(as many octets as the JSON's `size`) and a line feed.

Export copies. Hold the messages first, and delete them afterwards, to move them.")]
    Export {
        #[command(flatten)]
        which: Chosen,
        /// A directory (existing, or ending with a slash), a file, or - for standard output
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
    },
    /// Bring exported messages into one relay, which then holds them; those that are in its queue already are left alone
    Import {
        /// A directory, a file, or - for standard input
        from: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    /// The oldest first
    Age,
    /// The largest first
    Size,
    /// What is tried next first
    Next,
    /// What was tried most often first
    Attempts,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lines {
    /// The recipient's domain
    Domain,
    /// The hosts that its mail goes to
    Host,
    /// The sender's domain
    Sender,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Self {
        match order {
            Order::Age => Self::Age,
            Order::Size => Self::Size,
            Order::Next => Self::Next,
            Order::Attempts => Self::Attempts,
        }
    }
}

impl From<Lines> for By {
    fn from(lines: Lines) -> Self {
        match lines {
            Lines::Domain => Self::Domain,
            Lines::Host => Self::Host,
            Lines::Sender => Self::Sender,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut relays = match args.action {
        Action::List { .. } | Action::Summary { .. } => args.which.find_with_kept()?,
        _ => args.which.find()?,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let code = act(args, &mut relays, &mut out)?;
    out.flush()?;
    Ok(code)
}

fn act(args: &Args, relays: &mut Relays, out: &mut impl Write) -> Result<ExitCode> {
    let Args { action, output, which: _ } = args;
    match action {
        Action::List { which, sort, reverse, limit } => {
            let list = List { filter: which.filter()?, sort: (*sort).into(), reverse: *reverse, limit: *limit };
            list::list(relays, list, *output, out)
        }
        Action::Show { id } => show(relays, *id, *output, out),
        Action::Summary { which, by, limit } => {
            let command = Command::Summary { filter: which.filter()?, by: (*by).into() };
            summary(relays, &command, limit.unwrap_or(usize::MAX), *output, out)
        }
        Action::Retry(which) => change(relays, Act::Retry, which, *output, out),
        Action::Hold(which) => change(relays, Act::Hold, which, *output, out),
        Action::Release(which) => change(relays, Act::Release, which, *output, out),
        Action::Delete { which, yes } => match *yes || confirmed(relays, which)? {
            true => change(relays, Act::Delete, which, *output, out),
            false => Ok(ExitCode::from(NONE)),
        },
        Action::Export { which, out: to } => transfer::export(relays, &which.filter()?, to, *output, out),
        Action::Import { from } => transfer::import(relays.only()?, from, *output, out),
    }
}

/// What an answer comes to when some relays gave none.
fn code(failed: usize, otherwise: ExitCode) -> ExitCode {
    if failed > 0 { ExitCode::from(NOT_ALL) } else { otherwise }
}

/// A volume that a relay left, among messages or sums of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Left<'a> {
    kept_volume: &'a KeptVolume,
}

/// What an answer comes to that cannot tell of mail on kept volumes.
fn code_beside(kept: &Kept, failed: usize) -> ExitCode {
    code(failed + kept.full().count(), ExitCode::SUCCESS)
}

/// The one relay that has it tells it.
fn show(relays: &mut Relays, id: QueueId, output: Format, out: &mut impl Write) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Found {
        #[serde(skip_serializing_if = "Option::is_none")]
        relay: Option<String>,
        #[serde(flatten)]
        detail: Box<Detail>,
    }
    let named = relays.are_named;
    let asked = relays.ask(|client| match one(client, Command::Show { id }) {
        Ok(Answer::Detail(detail)) => Ok(Ok(detail)),
        Ok(other) => Err(unexpected(other)),
        Err(error) => match error.downcast::<ClientError>() {
            Ok(ClientError::Refused(reason)) => Ok(Err(reason)),
            Ok(other) => Err(other.into()),
            Err(other) => Err(other),
        },
    })?;
    let (mut found, mut missed) = (None, None);
    for (relay, answer) in asked.answers {
        match answer {
            Ok(detail) => found = Some(Found { relay: named.then_some(relay), detail }),
            Err(reason) => missed = Some(reason),
        }
    }
    match (found, output) {
        (None, _) => bail!("{}", missed.unwrap_or_default()),
        (Some(Found { relay, detail }), Format::Text) => text::show(out, relay.as_deref(), &detail),
        (Some(found), format) => Ok(structured(out, format, &found).map(|()| ExitCode::SUCCESS)?),
    }
}

/// One element of a summary for programs.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Row(Row),
    Left(Left<'a>),
}

fn summary(
    relays: &mut Relays,
    command: &Command,
    limit: usize,
    output: Format,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let row = |answer| match answer {
        Ok(Answer::Row(row)) => Ok(row),
        Ok(other) => Err(unexpected(other)),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    let asked = relays.ask(|client| client.ask(command.clone())?.map(row).collect::<Result<Vec<Row>>>())?;
    let (rows, failed) = asked.fold(Vec::new(), |rows, (_, more)| text::together(rows, more));
    let (total, mut rows) = (text::total(&rows), rows);
    rows.truncate(limit);
    match output {
        Format::Text => {
            text::summary(out, &total, &rows)?;
            text::left(out, &relays.kept)?;
        }
        format => {
            let rows = rows.into_iter().map(Line::Row);
            let left = relays.kept.volumes.iter().map(|kept_volume| Line::Left(Left { kept_volume }));
            structured(out, format, &rows.chain(left).collect::<Vec<_>>())?;
        }
    }
    Ok(code_beside(&relays.kept, failed))
}

fn change(relays: &mut Relays, act: Act, which: &Chosen, output: Format, out: &mut impl Write) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Changed {
        messages: usize,
        busy: usize,
    }
    let filter = which.filter()?;
    let asked = relays.ask(|client| match one(client, Command::Act { act, filter: filter.clone() })? {
        Answer::Changed { messages, busy } => Ok((messages, busy)),
        other => Err(unexpected(other)),
    })?;
    let ((messages, busy), failed) =
        asked.fold((0, 0), |(messages, busy), (_, (more, too))| (messages + more, busy + too));
    match output {
        Format::Text if messages == 0 => writeln!(out, "{}", text::unchanged(act, held(relays, act, filter)?))?,
        Format::Text => writeln!(out, "{}", text::changed(act, messages))?,
        format => structured(out, format, &Changed { messages, busy })?,
    }
    if busy > 0 {
        eprintln!("{} not deleted: an attempt to deliver goes on. Hold first, then delete.", text::messages(busy));
        return Ok(ExitCode::from(NOT_ALL));
    }
    Ok(code(failed, if messages == 0 { ExitCode::from(NONE) } else { ExitCode::SUCCESS }))
}

/// How many of these messages are held, which may be why nothing came of it.
fn held(relays: &mut Relays, act: Act, filter: Filter) -> Result<usize> {
    if !matches!(act, Act::Retry | Act::Hold) || !matches!(filter.state, None | Some(State::Held)) {
        return Ok(0);
    }
    count(relays, Filter { state: Some(State::Held), ..filter })
}

fn count(relays: &mut Relays, filter: Filter) -> Result<usize> {
    let asked = relays.ask(|client| match one(client, Command::Count(filter.clone()))? {
        Answer::Counted { messages } => Ok(messages),
        other => Err(unexpected(other)),
    })?;
    Ok(asked.fold(0, |all, (_, more)| all + more).0)
}

/// Says how many it would be, and asks.
fn confirmed(relays: &mut Relays, which: &Chosen) -> Result<bool> {
    let messages = count(relays, which.filter()?)?;
    if messages == 0 {
        eprintln!("No message is meant.");
        return Ok(false);
    }
    if !io::stdin().is_terminal() {
        bail!("{} would be deleted: say --yes, for nobody can be asked", text::messages(messages));
    }
    eprint!("Delete {}? Nobody is told of it. [y/N] ", text::messages(messages));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
