//! A report, for people: what is wrong, then the numbers.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;

use super::problems::short;
use super::{Isolation, RelayReport, Report};
use crate::text::{ago, counted, printable, size};

pub(super) fn print(out: &mut impl Write, report: &Report, now: Timestamp) -> io::Result<()> {
    let Report { namespace, problems, settings, relays, isolation, objects } = report;
    let name = namespace.as_deref().unwrap_or("this machine");
    match problems.len() {
        0 => writeln!(out, "{name}: nothing is wrong")?,
        number => writeln!(out, "{name}: {} wrong", counted(number, "thing is", "things are"))?,
    }
    for problem in problems {
        writeln!(out, "\n! {}: {}", printable(&problem.what), printable(&problem.says))?;
        writeln!(out, "    {}", printable(&problem.todo))?;
    }
    writeln!(out)?;
    if let Some(digest) = settings {
        let enforce = |relay: &&RelayReport| enforced(relay).is_some_and(|enforced| enforced == digest);
        let (enforcing, all) = (relays.iter().filter(enforce).count(), relays.len());
        writeln!(out, "Settings   {}, in force on {enforcing} of {}", short(digest), counted(all, "relay", "relays"))?;
    }
    writeln!(out, "Queue      {}", queue(relays, now))?;
    if let Some(isolation) = isolation {
        writeln!(out, "Isolation  {}", isolated(isolation))?;
    }
    if namespace.is_some() {
        let count = |kind: &str| objects.iter().filter(|object| object.kind == kind).count();
        let kinds = ["RelayDomain", "RelayHost", "FilterPolicy"].map(|kind| format!("{} {kind}", count(kind)));
        let unready = objects.iter().filter(|object| object.ready != "True").count();
        let how = if unready == 0 { "all ready".to_owned() } else { format!("{unready} not ready") };
        writeln!(out, "Objects    {}: {how}", kinds.join(", "))?;
    }
    writeln!(out)?;
    table(out, relays, now)
}

fn enforced(relay: &RelayReport) -> Option<&str> {
    relay.standing.as_ref()?.status.settings.as_ref().map(|digest| digest.as_str())
}

fn queue(relays: &[RelayReport], now: Timestamp) -> String {
    let standings = || relays.iter().filter_map(|relay| relay.standing.as_ref());
    let messages: u64 = standings().map(|standing| standing.messages).sum();
    let oldest = standings().filter_map(|standing| standing.oldest).min();
    let unknown = relays.iter().filter(|relay| relay.standing.is_none()).count();
    let mut text = counted(usize::try_from(messages).unwrap_or(usize::MAX), "message waits", "messages wait");
    if let Some(oldest) = oldest {
        text.push_str(&format!(", the oldest for {}", ago(now, oldest)));
    }
    if unknown > 0 {
        text.push_str(&format!("; {} could not be asked", counted(unknown, "relay", "relays")));
    }
    text
}

fn isolated(isolation: &Isolation) -> String {
    let Isolation { off, default_deny, base, paths } = isolation;
    match (off, *default_deny && *base) {
        (true, _) => "by others: the StatefulSet says postern.io/network-policies: \"off\"".to_owned(),
        (false, true) => format!("closed but for {}", counted(*paths, "path", "paths")),
        (false, false) => "not in place".to_owned(),
    }
}

fn table(out: &mut impl Write, relays: &[RelayReport], now: Timestamp) -> io::Result<()> {
    if relays.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["RELAY", "READY", "VERSION", "SETTINGS", "QUEUE", "OLDEST", "SPOOL", "RESTARTS", "NODE"]);
    for relay in relays {
        let RelayReport { name, pod, standing, unreachable: _ } = relay;
        let asked = |cell: &dyn Fn(&postern_relay::control::Standing) -> String| {
            standing.as_ref().map_or_else(|| "?".to_owned(), cell)
        };
        let ready = match (pod, standing) {
            (Some(pod), _) if pod.ready => "yes".to_owned(),
            (Some(pod), _) if pod.phase != "Running" => pod.phase.clone(),
            (None, Some(standing)) if standing.not_ready.is_none() => "yes".to_owned(),
            _ => "no".to_owned(),
        };
        table.add_row([
            printable(name),
            ready,
            asked(&|standing| standing.status.version.clone()),
            asked(&|standing| {
                standing.status.settings.as_ref().map_or("none".to_owned(), |digest| digest.short().to_owned())
            }),
            asked(&|standing| standing.messages.to_string()),
            asked(&|standing| standing.oldest.map_or_else(|| "-".to_owned(), |oldest| ago(now, oldest))),
            asked(&|standing| size(standing.octets)),
            pod.as_ref().map_or_else(|| "-".to_owned(), |pod| pod.restarts.to_string()),
            pod.as_ref().map_or_else(|| "-".to_owned(), |pod| pod.node.clone()),
        ]);
    }
    for column in [4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}", table.trim_fmt())
}
