//! The lists of all relays as one, in one order, each message as it comes: there may be a million of them.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Result;
use postern_relay::control::{Answer, Client, Command, List, Message, Sort};
use serde::Serialize;

use super::{Left, code_beside, text};
use crate::cluster::{Kept, sentence};
use crate::format::{Format, structured};
use crate::relays::{Relays, complain, unexpected};

/// Messages of one relay that wait to be merged.
const AHEAD: usize = 64;

/// A message, and whose it is.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<String>,
    #[serde(flatten)]
    message: Message,
}

/// One element of a list for programs.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Element<'a> {
    Message(Listed),
    Left(Left<'a>),
}

/// Takes what is listed, and prints it.
enum Printer {
    Text(text::List),
    Json(u64),
    Yaml(Vec<Listed>),
}

pub(super) fn list(relays: &mut Relays, list: List, output: Format, out: &mut impl Write) -> Result<ExitCode> {
    let (named, is_all) = (relays.are_named, list.filter.is_all());
    let mut printer = Printer::new(output, named);
    let left = list.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let order = (list.sort, list.reverse);
    let failed = thread::scope(|scope| -> Result<usize> {
        let mut sources = Vec::new();
        for relay in &mut relays.all {
            let (sender, messages) = sync_channel(AHEAD);
            let (name, list) = (relay.name.clone(), list.clone());
            let asking = scope.spawn(move || relay.with(|client| ask(client, list, &sender)));
            sources.push((Source::new(name, messages), asking));
        }
        let (mut sources, asking): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        let merged = merge(&mut sources, order, left, |relay, message| {
            printer.add(out, Listed { relay: named.then(|| relay.to_owned()), message })
        });
        let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        // Whoever still sends finds nobody who takes it, and ends.
        drop(sources);
        let ended: Vec<_> = asking.into_iter().filter_map(|asking| asking.join().ok()).collect();
        merged?;
        failures(names, ended, named)
    })?;
    // Without a relay there is no queue that could be empty.
    printer.end(out, is_all, relays.all.is_empty(), &relays.kept)?;
    Ok(code_beside(&relays.kept, failed))
}

/// Names the relays that failed, and counts them; when none is left, it is the command that failed.
fn failures(names: Vec<String>, ended: Vec<Result<()>>, named: bool) -> Result<usize> {
    let count = ended.len();
    if count == 0 {
        return Ok(0);
    }
    let mut failed: Vec<_> = names.into_iter().zip(ended).filter_map(|(name, end)| Some((name, end.err()?))).collect();
    if count == 1
        && let Some((name, error)) = failed.pop()
    {
        return Err(if named { error.context(name) } else { error });
    }
    failed.iter().for_each(|(name, error)| complain(name, sentence(error)));
    match failed.len() == count {
        true => anyhow::bail!("no relay answered"),
        false => Ok(failed.len()),
    }
}

/// Sends each message on, until there are no more or nobody takes them.
fn ask(client: &mut Client, list: List, sender: &SyncSender<Message>) -> Result<()> {
    for answer in client.ask(Command::List(list))? {
        match answer? {
            Answer::Message(message) => {
                if sender.send(*message).is_err() {
                    return Ok(());
                }
            }
            other => return Err(unexpected(other)),
        }
    }
    Ok(())
}

/// One relay's messages, which come in order.
struct Source {
    name: String,
    messages: Receiver<Message>,
    next: Option<Message>,
}

impl Source {
    fn new(name: String, messages: Receiver<Message>) -> Self {
        Self { name, messages, next: None }
    }
}

/// Takes the next of all, again and again.
fn merge(
    sources: &mut [Source],
    (sort, reverse): (Sort, bool),
    mut left: usize,
    mut take: impl FnMut(&str, Message) -> Result<()>,
) -> Result<()> {
    for source in &mut *sources {
        source.next = source.messages.recv().ok();
    }
    while left > 0 {
        let key = |message: &Message| if reverse { -key(sort, message) } else { key(sort, message) };
        let heads = sources.iter_mut().filter(|source| source.next.is_some());
        let Some(source) = heads.min_by_key(|source| source.next.as_ref().map(key)) else { break };
        let Some(message) = source.next.take() else { break };
        take(&source.name, message)?;
        source.next = source.messages.recv().ok();
        left -= 1;
    }
    Ok(())
}

/// By what the relays order their lists.
fn key(sort: Sort, message: &Message) -> i64 {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let pending = message.pending.iter();
    match sort {
        Sort::Age => message.arrived.as_second(),
        Sort::Size => -number(message.size),
        Sort::Next => pending.map(|pending| pending.due.as_millisecond()).min().unwrap_or(i64::MAX),
        Sort::Attempts => -number(pending.map(|pending| pending.attempts).max().unwrap_or(0).into()),
    }
}

impl Printer {
    fn new(output: Format, named: bool) -> Self {
        match output {
            Format::Text => Self::Text(text::List::new(named)),
            Format::Json => Self::Json(0),
            Format::Yaml => Self::Yaml(Vec::new()),
        }
    }

    fn add(&mut self, out: &mut impl Write, listed: Listed) -> Result<()> {
        match self {
            Self::Text(table) => table.add(out, listed.relay.unwrap_or_default(), listed.message),
            Self::Json(count) => {
                out.write_all(Self::before(*count))?;
                *count += 1;
                Ok(serde_json::to_writer(out, &listed).map_err(io::Error::from)?)
            }
            Self::Yaml(all) => {
                all.push(listed);
                Ok(())
            }
        }
    }

    fn end(self, out: &mut impl Write, is_all: bool, is_nobody: bool, kept: &Kept) -> Result<()> {
        let left = kept.volumes.iter().map(|kept_volume| Left { kept_volume });
        match self {
            Self::Text(table) => {
                match (is_nobody, kept.full().next()) {
                    (false, _) => table.end(out, is_all)?,
                    (true, None) => writeln!(out, "There is no relay pod, and no mail was left behind.")?,
                    (true, Some(_)) => {}
                }
                text::left(out, kept)
            }
            Self::Json(mut count) => {
                for left in left {
                    out.write_all(Self::before(count))?;
                    count += 1;
                    serde_json::to_writer(&mut *out, &left).map_err(io::Error::from)?;
                }
                Ok(out.write_all(if count == 0 { b"[]\n" } else { b"\n]\n" })?)
            }
            Self::Yaml(all) => {
                let all = all.into_iter().map(Element::Message).chain(left.map(Element::Left));
                Ok(structured(out, Format::Yaml, &all.collect::<Vec<_>>())?)
            }
        }
    }

    /// What stands before an element of JSON, behind so many.
    fn before(count: u64) -> &'static [u8] {
        if count == 0 { b"[\n" } else { b",\n" }
    }
}
