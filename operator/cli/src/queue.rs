//! `postern queue`: what waits in a relay's spool, why, and what a person does about it. It talks with a running relay
//! through its control socket; in a cluster, through `kubectl exec`.

mod filter;
mod text;
mod transfer;

use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use postern_relay::control::{Act, Answer, By, Client, Command, List, Row, Sort};
use postern_relay::queue_id::QueueId;
use serde::Serialize;

use filter::{Chosen, Narrowed};

/// No message is meant, or none is changed by it.
const NONE: u8 = 3;
/// Some messages were left out, each named.
const NOT_ALL: u8 = 4;

/// See what waits in a relay's queue, and decide about it
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern queue list --domain contoso.com --older-than 1h --sort attempts
  postern queue summary
  postern queue show 06H08JKHTMZKN8K8
  postern queue retry --host mailbox
  postern queue hold --sender @fabrikam.com
  postern queue delete --state held --older-than 3d --yes
  postern queue export --all --out backup/
  kubectl exec -n dmz postern-relay-0 -- postern queue list -o json

Nobody is told of mail that is deleted: no bounce is sent, as with postsuper -d and exim -Mrm.
Held mail is not delivered, and does not expire, until it is released; it stays held through restarts.

Exit codes: 0 done; 1 failed, with the reason on standard error; 2 wrong usage; 3 no message is meant, or none is
changed; 4 some messages were left out, with the reasons on standard error.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,

    /// The control socket of the relay; who may open it has authority over the queue
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
    /// Bring exported messages in, which are then held; those that are in the queue already are left alone
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
    let mut client = Client::connect(&args.control)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = act(args, &mut client, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match done {
        // Whoever reads only the first lines has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn act(args: &Args, client: &mut Client, out: &mut impl Write) -> Result<ExitCode> {
    let Args { action, output, control: _ } = args;
    match action {
        Action::List { which, sort, reverse, limit } => {
            let list = List { filter: which.filter()?, sort: (*sort).into(), reverse: *reverse, limit: *limit };
            self::list(client, list, *output, out)
        }
        Action::Show { id } => match one(client, Command::Show { id: *id })? {
            Answer::Detail(detail) if *output == Output::Json => json(out, &detail),
            Answer::Detail(detail) => text::show(out, &detail),
            other => bail!("the relay answered something else: {other:?}"),
        },
        Action::Summary { which, by, limit } => {
            let command = Command::Summary { filter: which.filter()?, by: (*by).into() };
            summary(client, command, limit.unwrap_or(usize::MAX), *output, out)
        }
        Action::Retry(which) => change(client, Act::Retry, which, *output, out),
        Action::Hold(which) => change(client, Act::Hold, which, *output, out),
        Action::Release(which) => change(client, Act::Release, which, *output, out),
        Action::Delete { which, yes } => match *yes || confirmed(client, which)? {
            true => change(client, Act::Delete, which, *output, out),
            false => Ok(ExitCode::from(NONE)),
        },
        Action::Export { which, out: to } => transfer::export(client, which.filter()?, to, *output, out),
        Action::Import { from } => transfer::import(client, from, *output, out),
    }
}

/// Each message as it comes: there may be a million of them.
fn list(client: &mut Client, list: List, output: Output, out: &mut impl Write) -> Result<ExitCode> {
    let is_all = list.filter.is_all();
    let mut table = text::List::default();
    let mut count = 0_u64;
    for answer in client.ask(Command::List(list))? {
        let Answer::Message(message) = answer? else { bail!("the relay answered something else") };
        match output {
            Output::Text => table.add(out, *message)?,
            Output::Json => {
                out.write_all(if count == 0 { b"[\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *out, &message).map_err(io::Error::from)?;
            }
        }
        count += 1;
    }
    match output {
        Output::Text => table.end(out, is_all)?,
        Output::Json => out.write_all(if count == 0 { b"[]\n" } else { b"\n]\n" })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(
    client: &mut Client,
    command: Command,
    limit: usize,
    output: Output,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let row = |answer| match answer {
        Ok(Answer::Row(row)) => Ok(row),
        Ok(other) => bail!("the relay answered something else: {other:?}"),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    let mut rows = client.ask(command)?.map(row).collect::<Result<Vec<Row>>>()?;
    let total = text::total(&rows);
    rows.truncate(limit);
    match output {
        Output::Json => json(out, &rows),
        Output::Text => text::summary(out, &total, &rows),
    }
}

fn change(client: &mut Client, act: Act, which: &Chosen, output: Output, out: &mut impl Write) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Changed {
        messages: usize,
        busy: usize,
    }
    let Answer::Changed { messages, busy } = one(client, Command::Act { act, filter: which.filter()? })? else {
        bail!("the relay answered something else");
    };
    match output {
        Output::Json => drop(json(out, &Changed { messages, busy })?),
        Output::Text => writeln!(out, "{}", text::changed(act, messages))?,
    }
    if busy > 0 {
        eprintln!("{} not deleted: an attempt to deliver goes on. Hold first, then delete.", text::messages(busy));
        return Ok(ExitCode::from(NOT_ALL));
    }
    Ok(if messages == 0 { ExitCode::from(NONE) } else { ExitCode::SUCCESS })
}

/// Says how many it would be, and asks.
fn confirmed(client: &mut Client, which: &Chosen) -> Result<bool> {
    let Answer::Counted { messages } = one(client, Command::Count(which.filter()?))? else {
        bail!("the relay answered something else");
    };
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

fn one(client: &mut Client, command: Command) -> Result<Answer> {
    let answers = client.ask(command)?.collect::<Result<Vec<_>, _>>()?;
    answers.into_iter().next().context("the relay gave no answer")
}

fn json(out: &mut impl Write, value: &impl Serialize) -> Result<ExitCode> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(ExitCode::SUCCESS)
}
