//! Postern and Postfix side by side: `smtp-source → relay → smtp-sink` on one machine.
//!
//! - Both are given the same messages by Postfix's own smtp-source, in sessions that are kept open, and hand them to the same
//!   kind of smtp-sink. Source and sink share the processors with the relay.
//! - Both put their queue on the same disk, which must be a real one, and both sync before they acknowledge: Postern always
//!   does, and Postfix as it is delivered. Each run begins with an empty queue and a synced disk.
//! - Postfix runs with Debian's defaults (100 processes, 20 connections to a destination), from a configuration of its own:
//!   no chroot, no look-ups in DNS, a log file. Postern runs with its defaults, a log file.
//! - smtp-source and smtp-sink know neither TLS nor distance: a bridge adds them (`bridge.rs`), the same for both.
//! - The two take turns, and who begins changes at each round. The table shows medians.
//!
//! Columns: *accepted/s*, messages by the time until smtp-source has its last 250; *delivered/s*, by the time until the sink
//! has them all; *memory*, the largest sum of all processes' proportional shares (Pss); *CPU*, of all the relay's processes,
//! for each message, acceptance and delivery together.

mod alone;
mod bridge;
mod measure;
mod picture;
mod report;
mod scenario;
mod server;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::fs::statfs;

use crate::measure::{Bench, Run, measure, peers};
use crate::report::{Comparison, Report, table};
use crate::scenario::{Family, Scenario};
use crate::server::Kind;

/// Runs Postern and a real Postfix side by side, and prints who takes and delivers how much.
#[derive(Debug, Parser)]
#[command(name = "tests/bench/run")]
struct Options {
    /// The program postern-relay.
    #[arg(long)]
    relay: PathBuf,
    /// Messages of 4 KiB in a run; less of what is larger or slower.
    #[arg(long, default_value_t = 5000)]
    messages: u32,
    /// Messages that wait when the backlog is worked off.
    #[arg(long, default_value_t = 10_000)]
    queue: u32,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Family>,
    /// Runs of each relay in each scenario.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where both queues lie: on a real disk.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// Every single run, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The picture of it.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(rustix::process::geteuid().is_root(), "only root can start Postfix");
    let bench = Bench { folder: &options.folder, relay: &options.relay };
    let mut report = Report { disk: disk(&options.folder)?, rounds: options.rounds, ..Report::default() };
    for family in Family::ALL.into_iter().filter(|family| options.only.is_empty() || options.only.contains(family)) {
        for scenario in family.scenarios(options.messages, options.queue) {
            report.comparisons.push(compare(&scenario, options.rounds, &bench)?);
        }
        match family {
            Family::Peers => {
                for sessions in [1, 20, 80] {
                    report.peers.push((sessions, peers(sessions, options.messages * 2, &bench)?));
                }
            }
            Family::Idle => report.idle = Some(alone::idle(&bench)?),
            Family::Swap => report.swap = Some(alone::swap(&bench)?),
            _ => {}
        }
    }
    println!("medians of {} rounds, queues on {}\n", report.rounds, report.disk);
    println!("{}", table(&report));
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &options.svg {
        fs::write(file, picture::svg(&report.comparisons)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// All rounds of this scenario.
fn compare(scenario: &Scenario, rounds: u32, bench: &Bench<'_>) -> Result<Comparison> {
    let (mut postern, mut postfix) = (Vec::<Run>::new(), Vec::<Run>::new());
    for round in 0..rounds {
        let order = if round % 2 == 0 { Kind::BOTH } else { [Kind::Postfix, Kind::Postern] };
        for kind in order {
            let run = measure(kind, scenario, bench).with_context(|| format!("{kind:?}, {}", scenario.name))?;
            eprintln!("{}, round {}: {kind:?} {run}", scenario.name, round + 1);
            match kind {
                Kind::Postern => postern.push(run),
                Kind::Postfix => postfix.push(run),
            }
        }
    }
    let Scenario { name, title, messages, .. } = scenario.clone();
    Ok(Comparison { name, title, messages, postern, postfix })
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
