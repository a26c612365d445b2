//! What a message costs, in figures that a busy machine does not change much: system calls, context switches, and time on a
//! processor beside that of smtp-source and smtp-sink, which do the least that a client and a server can do.
//!
//! These are gates against a change that makes each message dearer, with room to breathe; how fast it all is, is measured by
//! `tests/bench/run`, on what is shipped.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::clock::wait_until;
use postern_tests::postfix::{Load, SmtpSink};
use postern_tests::program::Program;
use postern_tests::relay::Relay;
use postern_tests::{settings, usage};
use rustix::process::Signal;

/// What the relay did for each message, from its first octet to the next hop's 250.
#[derive(Debug)]
struct Cost {
    system_calls: f64,
    switches: f64,
    /// How many times the time on a processor of smtp-source and smtp-sink together.
    cpu: f64,
}

/// Relays so many messages of 4 KiB in so many sessions, once counted by strace and once left alone.
fn cost(sessions: u32, messages: u32) -> Result<Cost> {
    let folder = tempfile::tempdir()?;
    let sink = SmtpSink::start(&folder.path().join("sink.log"))?;
    let relay = Relay::start(&settings::relaying("ours.test", sink.address()))?;
    let load = Load {
        sender: "a@elsewhere.test",
        recipient: "b@ours.test",
        recipients: 1,
        sessions,
        messages,
        octets: 4 << 10,
    };
    let mut sent = 0;
    let mut send = || -> Result<()> {
        load.send(relay.smtp)?;
        sent += u64::from(messages);
        sink.wait_for(sent, Duration::from_secs(300))
    };
    send()?;

    let pid = relay.pid()?;
    let (switches, cpu) = (switches(pid)?, usage::of(pid)?.cpu);
    let peers =
        || -> Result<Duration> { Ok(usage::cpu_of_the_ended(std::process::id())? + usage::of(sink.pid())?.cpu) };
    let peers_before = peers()?;
    send()?;
    let (switches, cpu) = (self::switches(pid)? - switches, usage::of(pid)?.cpu - cpu);
    let peers = peers()? - peers_before;

    let counted = folder.path().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&counted).args(["-p", &pid.to_string()]);
    let mut strace = Program::start(&mut strace, &folder.path().join("strace.log"))?;
    wait_until("strace is attached", Duration::from_secs(60), || strace.log().contains("attached"))?;
    send()?;
    strace.signal(Signal::INT)?;
    strace.wait(Duration::from_secs(60))?;

    let messages = f64::from(messages);
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let each = |count: u64| count as f64 / messages;
    Ok(Cost {
        system_calls: each(calls(&counted)?),
        switches: each(switches),
        cpu: cpu.as_secs_f64() / peers.as_secs_f64().max(0.01),
    })
}

/// The total that strace has counted.
fn calls(counted: &Path) -> Result<u64> {
    let table = fs::read_to_string(counted)?;
    let total = table.lines().find(|line| line.trim_end().ends_with("total"));
    let total = total.and_then(|line| line.split_whitespace().next()?.parse().ok());
    total.with_context(|| format!("no total in what strace counted:\n{table}"))
}

/// Context switches of all threads so far, asked for and not.
fn switches(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        sum += counts.filter_map(|line| line.rsplit(char::is_whitespace).next()?.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(sum)
}

#[test]
fn a_message_alone_costs_no_more_than_it_must() {
    let cost = cost(1, 400).unwrap();
    println!("1 session: {cost:?}");
    assert!(cost.system_calls <= 45.0, "{cost:?}");
    assert!(cost.switches <= 25.0, "{cost:?}");
    assert!(cost.cpu <= 15.0, "{cost:?}");
}

#[test]
fn messages_share_what_can_be_shared() {
    let cost = cost(20, 4000).unwrap();
    println!("20 sessions: {cost:?}");
    assert!(cost.system_calls <= 45.0, "{cost:?}");
    assert!(cost.switches <= 12.0, "{cost:?}");
    assert!(cost.cpu <= 5.0, "{cost:?}");
}
