//! One run of one scenario: start, warm up, load, wait for the sink, stop.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use postern_tests::clock::now;
use postern_tests::loopback;
use postern_tests::postfix::{Load, SmtpSink};
use serde::Serialize;

use crate::bridge::{Adds, Bridges, Identity};
use crate::scenario::{Scenario, Shape};
use crate::server::{Kind, Server, Task};

/// Longer than any relay should need for a run.
const DELIVERED_WITHIN: Duration = Duration::from_secs(1200);
/// Between two looks at the memory: a look is not free.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where the queues lie, and what is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench<'a> {
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

/// The relay between its peers.
struct Stage {
    server: Server,
    sink: SmtpSink,
    routes: Vec<(String, SocketAddr)>,
    /// Where smtp-source is to send: the relay, or the bridge before it.
    entry: SocketAddr,
    _bridges: Bridges,
    _logs: tempfile::TempDir,
}

impl Stage {
    fn set(kind: Kind, scenario: &Scenario, bench: &Bench<'_>) -> Result<Self> {
        let logs = tempfile::tempdir_in(bench.folder)?;
        let sink = SmtpSink::start(&logs.path().join("sink.log"))?;
        let bridges = Bridges::new()?;
        let identity = if scenario.tls { Some(Identity::new()?) } else { None };
        let routes = routes(scenario, &sink, &bridges, identity.as_ref())?;
        let held = matches!(scenario.shape, Shape::Backlog(_));
        let Bench { folder, relay } = *bench;
        let server = Server::start(kind, &Task { folder, relay, routes: &routes, tls: identity.as_ref(), held })?;
        let entry = match identity {
            None => server.address(),
            Some(identity) => {
                let entry = loopback::address();
                bridges.stand(entry, server.address(), Adds::Tls(identity))?;
                entry
            }
        };
        Ok(Self { server, sink, routes, entry, _bridges: bridges, _logs: logs })
    }

    /// Gives it so many messages in all, and returns when the last one is acknowledged.
    fn load(&self, scenario: &Scenario, messages: u32) -> Result<()> {
        let share = self.routes.len();
        let (sessions, messages) = (scenario.sessions.div_ceil(count(share)), messages.div_ceil(count(share)));
        thread::scope(|scope| {
            let send = |domain: &str| {
                let recipient = format!("someone@{domain}");
                let (sender, octets) = ("sender@elsewhere.test", scenario.octets);
                Load { sender, recipient: &recipient, recipients: scenario.recipients, sessions, messages, octets }
                    .send(self.entry)
            };
            let sources: Vec<_> = self.routes.iter().map(|(domain, _)| scope.spawn(move || send(domain))).collect();
            sources.into_iter().try_for_each(|source| source.join().map_err(|_| anyhow!("a source panicked"))?)
        })
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// A domain for each destination, and where it leads: to the sink, across a bridge where something stands between.
fn routes(
    scenario: &Scenario,
    sink: &SmtpSink,
    bridges: &Bridges,
    identity: Option<&Identity>,
) -> Result<Vec<(String, SocketAddr)>> {
    let destinations = scenario.destinations();
    let mut routes = Vec::new();
    for number in 1..=destinations {
        let address = match (&scenario.shape, identity) {
            (Shape::OneDead(_), _) => {
                let address = loopback::address();
                match number == destinations {
                    true => bridges.silence(address)?,
                    false => bridges.stand(address, sink.address(), Adds::Nothing)?,
                }
                address
            }
            (_, Some(identity)) => {
                let address = loopback::address();
                bridges.stand(address, sink.address(), Adds::Plain(identity.clone()))?;
                address
            }
            (_, None) if !scenario.latency.is_zero() => {
                let address = loopback::address();
                bridges.stand(address, sink.address(), Adds::Latency(scenario.latency))?;
                address
            }
            _ => sink.address(),
        };
        routes.push((format!("d{number}.bench.test"), address));
    }
    Ok(routes)
}

pub(crate) fn measure(kind: Kind, scenario: &Scenario, bench: &Bench<'_>) -> Result<Run> {
    let mut stage = Stage::set(kind, scenario, bench)?;
    // Processes started, connections open, code and tables in memory; or the queue that waits.
    let waiting = match scenario.shape {
        Shape::Through => scenario.sessions * 2,
        Shape::Backlog(queued) => queued,
        Shape::OneDead(_) => 0,
    };
    let before = if waiting > 0 {
        stage.load(scenario, waiting)?;
        match scenario.shape {
            Shape::Backlog(_) => 0,
            _ => {
                stage.sink.wait_for(waiting.into(), DELIVERED_WITHIN).context("warming up")?;
                waiting
            }
        }
    } else {
        0
    };
    rustix::fs::sync();

    let cpu_before = stage.server.cpu()?;
    let begun = now();
    if let Shape::Backlog(_) = scenario.shape {
        let routes = stage.routes.clone();
        stage.server.release(&routes)?;
    }
    let (accepted, memory) = watching_memory(&stage.server, || -> Result<Duration> {
        stage.load(scenario, scenario.messages)?;
        let accepted = begun.elapsed();
        stage.sink.wait_for((before + scenario.delivered()).into(), DELIVERED_WITHIN)?;
        Ok(accepted)
    });
    let (accepted, delivered) = (accepted?, begun.elapsed());
    let cpu = stage.server.cpu()?.saturating_sub(cpu_before);
    stage.server.stop()?;

    let (messages, all) = (f64::from(scenario.messages), f64::from(scenario.delivered()));
    Ok(Run {
        accepted_per_second: messages / accepted.as_secs_f64(),
        delivered_per_second: all / delivered.as_secs_f64(),
        memory_mebibytes: memory / f64::from(1 << 20),
        cpu_microseconds_per_message: cpu.as_secs_f64() * 1e6 / all,
    })
}

/// smtp-source straight into smtp-sink: messages a second.
pub(crate) fn peers(sessions: u32, messages: u32, bench: &Bench<'_>) -> Result<f64> {
    let logs = tempfile::tempdir_in(bench.folder)?;
    let sink = SmtpSink::start(&logs.path().join("sink.log"))?;
    let (sender, recipient) = ("sender@elsewhere.test", "someone@bench.test");
    let load = Load { sender, recipient, recipients: 1, sessions, messages, octets: 4 << 10 };
    let begun = now();
    load.send(sink.address())?;
    sink.wait_for(messages.into(), DELIVERED_WITHIN)?;
    Ok(f64::from(messages) / begun.elapsed().as_secs_f64())
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
    use crate::scenario::Family;

    /// Without the release build, to see that the benchmark still works: its numbers mean nothing.
    fn works(kind: Kind, family: Family, messages: u32) {
        let relay = postern_tests::program::own("postern-relay").unwrap();
        let bench = Bench { folder: Path::new("/var/tmp"), relay: &relay };
        let scenario = family.scenarios(messages, 200).swap_remove(0);
        let run = measure(kind, &scenario, &bench).unwrap();
        assert!(run.delivered_per_second > 0.0, "{run}");
        assert!(run.memory_mebibytes > 1.0 && run.cpu_microseconds_per_message > 1.0, "{run}");
    }

    #[test]
    fn both_take_and_deliver_all() {
        for kind in Kind::BOTH {
            works(kind, Family::Recipients, 200);
        }
    }

    #[test]
    fn both_work_off_what_waited() {
        for kind in Kind::BOTH {
            works(kind, Family::Backlog, 200);
        }
    }

    #[test]
    fn both_speak_tls_on_both_sides() {
        for kind in Kind::BOTH {
            works(kind, Family::Tls, 100);
        }
    }
}
