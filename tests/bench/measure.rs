//! One run: start, warm up, load, wait for the sink, stop.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::clock::now;
use postern_tests::postfix::{Load, SmtpSink};
use serde::Serialize;

use crate::server::{DOMAIN, Kind, Server};

/// Longer than any relay should need for a run.
const DELIVERED_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks at the memory: a look is not free.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Plan<'a> {
    pub(crate) messages: u32,
    pub(crate) octets: u32,
    pub(crate) sessions: u32,
    pub(crate) folder: &'a Path,
    pub(crate) relay: &'a Path,
}

/// What one run showed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) accepted_per_second: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) memory_mebibytes: f64,
    pub(crate) cpu_microseconds_per_message: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted_per_second, delivered_per_second, memory_mebibytes, cpu_microseconds_per_message } = self;
        write!(
            f,
            "{accepted_per_second:.0} accepted/s, {delivered_per_second:.0} delivered/s, {memory_mebibytes:.0} MiB, \
             {cpu_microseconds_per_message:.0} µs CPU a message"
        )
    }
}

pub(crate) fn measure(kind: Kind, plan: &Plan<'_>) -> Result<Run> {
    let logs = tempfile::tempdir_in(plan.folder)?;
    let sink = SmtpSink::start(&logs.path().join("sink.log"))?;
    let server = Server::start(kind, plan.folder, plan.relay, sink.address())?;
    let recipient = format!("someone@{DOMAIN}");
    let load = |messages| Load {
        sender: "sender@elsewhere.test",
        recipient: &recipient,
        sessions: plan.sessions,
        messages,
        octets: plan.octets,
    };

    // Processes started, connections open, code and tables in memory.
    let warm_up = plan.sessions * 2;
    load(warm_up).send(server.address())?;
    sink.wait_for(warm_up.into(), DELIVERED_WITHIN).context("warming up")?;
    rustix::fs::sync();

    let cpu_before = server.cpu()?;
    let begun = now();
    let (accepted, memory) = watching_memory(&server, || -> Result<Duration> {
        load(plan.messages).send(server.address())?;
        let accepted = begun.elapsed();
        sink.wait_for((warm_up + plan.messages).into(), DELIVERED_WITHIN)?;
        Ok(accepted)
    });
    let (accepted, delivered) = (accepted?, begun.elapsed());
    let cpu = server.cpu()?.saturating_sub(cpu_before);
    server.stop()?;

    let messages = f64::from(plan.messages);
    Ok(Run {
        accepted_per_second: messages / accepted.as_secs_f64(),
        delivered_per_second: messages / delivered.as_secs_f64(),
        memory_mebibytes: memory / f64::from(1 << 20),
        cpu_microseconds_per_message: cpu.as_secs_f64() * 1e6 / messages,
    })
}

/// Does it, and looks at the server's memory meanwhile and at the end: the most that was seen, in octets.
fn watching_memory<T>(server: &Server, work: impl FnOnce() -> T) -> (T, f64) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            let mut looked = None;
            loop {
                let ending = done.load(Ordering::Acquire);
                if ending || looked.is_none_or(|at: std::time::Instant| at.elapsed() > LOOK_EVERY) {
                    most = server.memory().unwrap_or(0).max(most);
                    looked = Some(now());
                }
                if ending {
                    return most;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        #[expect(clippy::cast_precision_loss, reason = "a table shows whole mebibytes")]
        let most = watcher.join().unwrap_or(0) as f64;
        (result, most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the release build, to see that the benchmark still works: its numbers mean nothing.
    fn delivers_two_hundred(kind: Kind) {
        let relay = postern_tests::program::own("postern-relay").unwrap();
        let folder = Path::new("/var/tmp");
        let run = measure(kind, &Plan { messages: 200, octets: 4096, sessions: 20, folder, relay: &relay }).unwrap();
        assert!(run.accepted_per_second >= run.delivered_per_second, "{run}");
        assert!(run.memory_mebibytes > 1.0 && run.cpu_microseconds_per_message > 1.0, "{run}");
    }

    #[test]
    fn both_take_and_deliver_all() {
        delivers_two_hundred(Kind::Postern);
        delivers_two_hundred(Kind::Postfix);
    }
}
