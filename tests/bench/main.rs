//! Postern and Postfix side by side: `smtp-source → relay → smtp-sink` on one machine.
//!
//! - Both are given the same messages (4 KiB unless told otherwise) by Postfix's own smtp-source, in sessions that are kept
//!   open, and hand them to the same kind of smtp-sink. Source and sink share the processors with the relay.
//! - Both put their queue on the same disk, which must be a real one, and both sync before they acknowledge: Postern always
//!   does, and Postfix as it is delivered. Each run begins with an empty queue and a synced disk.
//! - Postfix runs with Debian's defaults (100 processes, 20 connections to a destination), from a configuration of its own:
//!   no chroot, no look-ups in DNS, no TLS, a log file. Postern runs with its defaults, no TLS, a log file.
//! - The two take turns, and who begins changes at each round. The table shows medians.
//!
//! Columns: *accepted/s*, messages by the time until smtp-source has its last 250; *delivered/s*, by the time until the sink
//! has them all; *memory*, the largest sum of all processes' proportional shares (Pss); *CPU*, of all the relay's processes,
//! for each message, acceptance and delivery together.

mod measure;
mod report;
mod server;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::fs::statfs;

use crate::measure::{Plan, Run, measure};
use crate::report::{Comparison, table};
use crate::server::Kind;

/// Runs Postern and a real Postfix side by side, and prints who takes and delivers how much.
#[derive(Debug, Parser)]
#[command(name = "tests/bench/run")]
struct Options {
    /// The program postern-relay.
    #[arg(long)]
    relay: PathBuf,
    /// Messages of a run; a fifth of it with one session.
    #[arg(long, default_value_t = 5000)]
    messages: u32,
    /// Octets of a message.
    #[arg(long, default_value_t = 4096)]
    octets: u32,
    /// How many sessions send at a time, one comparison for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 80])]
    sessions: Vec<u32>,
    /// Runs of each relay for each number of sessions.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Where both queues lie: on a real disk.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// Every single run, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(rustix::process::geteuid().is_root(), "only root can start Postfix");
    let disk = disk(&options.folder)?;
    let mut comparisons = Vec::new();
    for sessions in &options.sessions {
        comparisons.push(compare(&options, *sessions)?);
    }
    println!(
        "{} messages of {} octets, median of {} rounds, queues on {disk}\n",
        options.messages, options.octets, options.rounds
    );
    println!("{}", table(&comparisons));
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&comparisons)?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// All rounds with this number of sessions.
fn compare(options: &Options, sessions: u32) -> Result<Comparison> {
    let messages = if sessions == 1 { options.messages.div_ceil(5) } else { options.messages };
    let plan = Plan { messages, octets: options.octets, sessions, folder: &options.folder, relay: &options.relay };
    let (mut postern, mut postfix) = (Vec::<Run>::new(), Vec::<Run>::new());
    for round in 0..options.rounds {
        let order = if round % 2 == 0 { [Kind::Postern, Kind::Postfix] } else { [Kind::Postfix, Kind::Postern] };
        for kind in order {
            let run = measure(kind, &plan).with_context(|| format!("{kind:?} with {sessions} sessions"))?;
            eprintln!("{sessions:>3} sessions, round {}: {kind:?} {run}", round + 1);
            match kind {
                Kind::Postern => postern.push(run),
                Kind::Postfix => postfix.push(run),
            }
        }
    }
    Ok(Comparison { sessions, messages, postern, postfix })
}

/// The kind of file system, which must keep what it has synced.
fn disk(folder: &PathBuf) -> Result<String> {
    const IN_MEMORY: &[i64] = &[0x0102_1994, 0x8584_58f6];
    let kind = statfs(folder).with_context(|| folder.display().to_string())?.f_type;
    ensure!(!IN_MEMORY.contains(&kind), "{} is in memory, where a sync costs nothing: see --folder", folder.display());
    Ok(match kind {
        0xef53 => "ext4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        other => format!("a file system of type {other:#x}"),
    })
}
