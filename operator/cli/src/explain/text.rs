//! An explanation, for people.

use std::io::{self, Write};

use super::Explanation;
use super::step::{Answer, Stage, Step, Verdict};
use crate::text::printable;

/// The column in which sentences begin.
const INDENT: usize = 9;

pub(super) fn print(out: &mut impl Write, explanation: &Explanation) -> io::Result<()> {
    let Explanation { settings, answer, before, assumed } = explanation;
    writeln!(out, "Settings {} from {}", settings.digest, settings.from)?;
    for note in &settings.notes {
        writeln!(out, "! {}", printable(note))?;
    }
    for assumption in assumed {
        writeln!(out, "Assumed: {}", printable(assumption))?;
    }
    writeln!(out)?;
    answer.steps.iter().try_for_each(|step| self::step(out, step))?;
    writeln!(out)?;
    verdicts(out, answer)?;
    if let Some(before) = before {
        writeln!(out)?;
        differences(out, before, answer)?;
    }
    Ok(())
}

/// `RCPT     550 5.1.1 …`, and under it why, and by which fields.
fn step(out: &mut impl Write, step: &Step) -> io::Result<()> {
    let label = match step.stage {
        Stage::Connect => "connect",
        Stage::Client => "client",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Content => "content",
        Stage::Route => "route",
    };
    let reply = step.reply.iter().map(String::as_str);
    let lines = reply.chain((!step.says.is_empty()).then_some(step.says.as_str()));
    for (number, line) in lines.enumerate() {
        let label = if number == 0 { label } else { "" };
        writeln!(out, "{label:INDENT$}{}", printable(line))?;
    }
    for by in &step.by {
        writeln!(out, "{:INDENT$}by {}", "", printable(by))?;
    }
    Ok(())
}

/// One line for each recipient.
fn verdicts(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    for recipient in &answer.recipients {
        let (name, reply) = (printable(&recipient.recipient), printable(&recipient.reply));
        match recipient.verdict {
            Verdict::Accepted => {
                let route = recipient.route.as_deref().unwrap_or_default();
                let way = route.strip_prefix(&name).map_or(route, |way| way.trim_start());
                writeln!(out, "Accepted: {name} {}", printable(way))?;
            }
            Verdict::Held => {
                writeln!(out, "Accepted, and held: {}", printable(recipient.route.as_deref().unwrap_or_default()))?;
            }
            Verdict::Deferred => writeln!(out, "Not now:  {name} gets {reply}")?,
            Verdict::Refused => writeln!(out, "Refused:  {name} gets {reply}")?,
        }
    }
    Ok(())
}

/// What the what-if files change.
fn differences(out: &mut impl Write, before: &Answer, after: &Answer) -> io::Result<()> {
    let mut any = false;
    for (was, is) in before.recipients.iter().zip(&after.recipients) {
        if was.reply != is.reply || was.route != is.route {
            any = true;
            let told =
                |recipient: &super::step::Recipient| printable(recipient.route.as_deref().unwrap_or(&recipient.reply));
            writeln!(out, "What changes for {}:", printable(&is.recipient))?;
            writeln!(out, "  now      {}", told(was))?;
            writeln!(out, "  what if  {}", told(is))?;
        }
    }
    if !any {
        writeln!(out, "The what-if files change nothing for this message.")?;
    }
    Ok(())
}

/// `35 MiB`, `100 KiB`, `1000 octets`.
pub(super) fn octets(octets: u64) -> String {
    match octets {
        0 => "0 octets".to_owned(),
        octets if octets % (1 << 20) == 0 => format!("{} MiB", octets >> 20),
        octets if octets % (1 << 10) == 0 => format!("{} KiB", octets >> 10),
        octets => format!("{octets} octets"),
    }
}
