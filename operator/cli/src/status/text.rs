//! A report, for people: what is wrong, then the numbers.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use postern_operator::kept::said;
use postern_wire::status::Queue;

use super::problems::short;
use super::{Isolation, ObjectReport, RelayReport, Report};
use crate::text::{age, counted, printable, size};

pub(super) fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { namespace, problems, settings, kept_volumes, relays, isolation, objects, unknown } = report;
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
    writeln!(out, "Queue      {}", queue(relays))?;
    for volume in kept_volumes {
        writeln!(out, "Left       {}", printable(&said(volume)))?;
    }
    if let Some(isolation) = isolation {
        writeln!(out, "Isolation  {}{}", isolated(isolation), tried(relays))?;
    }
    if namespace.is_some() {
        writeln!(out, "Objects    {}", counts(objects, unknown))?;
    }
    writeln!(out)?;
    table(out, relays)
}

/// How many there are of each kind, and how many are not ready; of the unknown kinds nothing.
fn counts(objects: &[ObjectReport], unknown: &[String]) -> String {
    let kinds = ["RelayDomain", "RelayHost", "FilterPolicy"];
    if kinds.iter().all(|kind| unknown.iter().any(|unknown| unknown == kind)) {
        return "not known".to_owned();
    }
    let count = |kind: &str| match unknown.iter().any(|unknown| unknown == kind) {
        true => format!("? {kind}"),
        false => format!("{} {kind}", objects.iter().filter(|object| object.kind == kind).count()),
    };
    let how = match objects.iter().filter(|object| object.ready != "True").count() {
        0 if unknown.is_empty() => "all ready".to_owned(),
        0 => "all that are known are ready".to_owned(),
        unready => format!("{unready} not ready"),
    };
    format!("{}: {how}", kinds.map(count).join(", "))
}

fn enforced(relay: &RelayReport) -> Option<&str> {
    relay.standing.as_ref()?.status.settings.as_ref().map(|digest| digest.as_str())
}

fn queue(relays: &[RelayReport]) -> String {
    let queues = || relays.iter().filter_map(waiting);
    let messages: u64 = queues().map(|queue| queue.messages).sum();
    let unknown = relays.len() - queues().count();
    let mut text = counted(usize::try_from(messages).unwrap_or(usize::MAX), "message waits", "messages wait");
    if let Some(oldest) = queues().filter(|queue| queue.messages > 0).map(|queue| queue.oldest).max() {
        text.push_str(&format!(", the oldest for {}", age(oldest)));
    }
    if unknown > 0 {
        text.push_str(&format!("; {} could not be asked", counted(unknown, "relay", "relays")));
    }
    text
}

/// What waits in its spool; `None` also while that is being opened.
fn waiting(relay: &RelayReport) -> Option<&Queue> {
    relay.standing.as_ref()?.status.queue.as_ref()
}

/// Whether the relays themselves find the isolation in place.
fn tried(relays: &[RelayReport]) -> String {
    let found =
        relays.iter().filter_map(|relay| Some((&relay.name, relay.standing.as_ref()?.status.isolation.as_ref()?)));
    let found: Vec<_> = found.collect();
    let reach: Vec<&str> =
        found.iter().filter(|(_, isolation)| isolation.reached).map(|(name, _)| name.as_str()).collect();
    match (found.first(), reach.as_slice()) {
        (None, _) => String::new(),
        (Some((_, isolation)), []) => {
            format!(
                "; {} of {} tried, and none reaches {}",
                found.len(),
                counted(relays.len(), "relay", "relays"),
                isolation.canary
            )
        }
        (Some((_, isolation)), reach) => {
            let verb = if reach.len() == 1 { "reaches" } else { "reach" };
            format!("; {} {verb} {} all the same", reach.join(", "), isolation.canary)
        }
    }
}

fn isolated(isolation: &Isolation) -> String {
    let Isolation { off, paths, .. } = isolation;
    match (off, isolation.stands()) {
        (true, _) => "by others: the StatefulSet says postern.io/network-policies: \"off\"".to_owned(),
        (false, true) => format!("closed but for {}", counted(*paths, "path", "paths")),
        (false, false) => "not in place".to_owned(),
    }
}

fn table(out: &mut impl Write, relays: &[RelayReport]) -> io::Result<()> {
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
            (_, Some(standing)) if standing.status.draining => "draining".to_owned(),
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
            waiting(relay).map_or_else(|| "?".to_owned(), |queue| queue.messages.to_string()),
            match waiting(relay) {
                None => "?".to_owned(),
                Some(Queue { messages: 0, .. }) => "-".to_owned(),
                Some(queue) => age(queue.oldest),
            },
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

#[cfg(test)]
mod tests {
    use postern_wire::status::Isolation as Tried;

    use super::super::problems::tests::relay;
    use super::*;

    #[test]
    fn what_is_not_known_is_not_counted() {
        let all = ["RelayDomain", "RelayHost", "FilterPolicy"].map(str::to_owned);
        assert_eq!(counts(&[], &all), "not known");
        assert_eq!(counts(&[], &all[2..]), "0 RelayDomain, 0 RelayHost, ? FilterPolicy: all that are known are ready");
        assert_eq!(counts(&[], &[]), "0 RelayDomain, 0 RelayHost, 0 FilterPolicy: all ready");
    }

    #[test]
    fn what_relays_say_of_themselves_is_shown() {
        let relays =
            [("relay-0", 3, 60, true), ("relay-1", 2, 7200, false)].map(|(name, messages, oldest, draining)| {
                relay(name, |relay| {
                    let status = &mut relay.standing.as_mut().unwrap().status;
                    (status.queue, status.draining) = (Some(Queue { messages, oldest }), draining);
                    status.isolation = Some(Tried { canary: "10.96.0.1:443".to_owned(), reached: draining });
                })
            });
        let opening = relay("relay-2", |_| {});
        let all = [&relays[..], &[opening]].concat();
        assert_eq!(queue(&all), "5 messages wait, the oldest for 2h; 1 relay could not be asked");
        assert_eq!(tried(&all), "; relay-0 reaches 10.96.0.1:443 all the same");
        assert_eq!(tried(&all[1..]), "; 1 of 2 relays tried, and none reaches 10.96.0.1:443");
        assert_eq!(tried(&all[2..]), "");
        let mut out = Vec::new();
        table(&mut out, &all).unwrap();
        let text = String::from_utf8(out).unwrap();
        let cells = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(cells(1)[..2], ["relay-0", "draining"]);
        assert_eq!((&cells(2)[..2], &cells(2)[4..6]), (&["relay-1", "yes"][..], &["2", "2h"][..]));
        assert_eq!(&cells(3)[4..6], ["?", "?"]);
    }
}
