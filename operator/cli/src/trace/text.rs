//! What happened, for people: one message after the other, one line for each event.

use std::io::{self, Write};

use super::line::Line;
use super::story::{Event, Told};
use crate::text::{printable, size};

pub(super) fn print(out: &mut impl Write, told: &Told) -> io::Result<()> {
    if told.is_empty() {
        return writeln!(out, "Nothing was found.");
    }
    for (number, message) in told.messages.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        let mut relays: Vec<&str> = message.events.iter().map(|event| &*event.relay).collect();
        relays.sort_unstable();
        relays.dedup();
        let relays = relays.join(", ");
        let place = if relays.is_empty() { String::new() } else { format!("  in {relays}") };
        writeln!(out, "{}{}", printable(&message.queue_id), printable(&place))?;
        for event in &message.events {
            line(out, &event.line, &said(&event.line, &message.queue_id), "")?;
        }
    }
    if !told.refused.is_empty() {
        let space = if told.messages.is_empty() { "" } else { "\n" };
        writeln!(out, "{space}Never queued:")?;
        for Event { relay, line: refused } in &told.refused {
            line(out, refused, &said(refused, ""), relay)?;
        }
    }
    Ok(())
}

fn line(out: &mut impl Write, line: &Line, said: &str, relay: &str) -> io::Result<()> {
    let time = line.timestamp.get(..19).unwrap_or(&line.timestamp).replace('T', " ");
    let place = if relay.is_empty() { String::new() } else { format!("  in {relay}") };
    writeln!(out, "  {}  {}{}", printable(&time), printable(said), printable(&place))?;
    let by = &line.object;
    if by.is_empty() { Ok(()) } else { writeln!(out, "{:23}by {}", "", printable(by)) }
}

/// One event in one line, in which `id` is the message that is told of.
fn said(line: &Line, id: &str) -> String {
    let Line { message, client, from, to, host, reply, decision, .. } = line;
    let attempt = line.attempts.map(|number| format!(", attempt {number}")).unwrap_or_default();
    match message.as_str() {
        "message accepted" => {
            let size = line.size.map(|octets| format!(", {} octets", size(octets))).unwrap_or_default();
            let proxy = if line.proxy.is_empty() { String::new() } else { format!(" through {}", line.proxy) };
            let tls = if line.tls.is_empty() { ", without TLS".to_owned() } else { format!(", {}", line.tls) };
            format!("accepted   {from} to {to}, from {client}{proxy}{tls}{size}")
        }
        "delivery" => {
            let until = match line.until.get(..19) {
                Some(until) => format!("; again at {}", until.replace('T', " ")),
                None => String::new(),
            };
            let after = line.delay.map(|delay| format!(" after {delay:.1} s")).unwrap_or_default();
            format!("{decision:10} <{to}>, {}{reply}{attempt}{after}{until}", at(host))
        }
        "a person acts on the message" => format!("{decision:10} by a person"),
        "imported, and held" => "imported   by a person, and held".to_owned(),
        "no connection" => format!("no answer  {}{reply}", at(host)),
        "notification" if line.about == id => format!("notified   its sender is told, by {}", line.queue_id),
        "notification" => format!("notifies   the sender of {}", line.about),
        "refused" | "message refused" => {
            let reply = if reply.is_empty() { decision } else { reply };
            let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
            format!("refused    {from}{to}, from {client}: {reply}")
        }
        other => {
            let details = [host, reply, &line.reason, decision].into_iter().filter(|detail| !detail.is_empty());
            let details: Vec<&str> = details.map(String::as_str).collect();
            format!("{other}{}{}", if details.is_empty() { "" } else { ": " }, details.join(", "))
        }
    }
}

/// Before what a host says; where none was asked, nothing.
fn at(host: &str) -> String {
    if host.is_empty() { String::new() } else { format!("{host}: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_where_one_was_asked() {
        let said = |host: &str| {
            let text = format!(
                r#"{{"timestamp":"2026-01-01T10:00:00Z","message":"delivery","queue_id":"06H08JKHTMZKN8K8","to":"a@b.example","host":"{host}","reply":"it is too old","decision":"failed"}}"#
            );
            said(&Line::read(&text).unwrap(), "")
        };
        assert_eq!(said(""), "failed     <a@b.example>, it is too old");
        assert_eq!(said("mx"), "failed     <a@b.example>, mx: it is too old");
    }
}
