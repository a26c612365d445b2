//! What only Postern is measured for, against what was promised and not against a peer: many idle connections, and many
//! domains exchanged while sessions go on.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::clock::{now, wait_until};
use postern_tests::relay::{self, Relay};
use postern_tests::smtp::Client;
use postern_tests::usage;
use postern_wire::{Section, Snapshot};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use crate::measure::Bench;
use crate::server::snapshot;

/// How many connections, and from how many addresses.
const CONNECTIONS: u32 = 10_000;
const ADDRESSES: u32 = 200;
const DOMAINS: u32 = 10_000;

/// 10,000 connections that have said EHLO and nothing since.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Idle {
    pub(crate) connections: u32,
    pub(crate) memory_mebibytes: f64,
    /// How long a further client waited for its greeting.
    pub(crate) greeted_milliseconds: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, memory_mebibytes, greeted_milliseconds } = self;
        write!(
            f,
            "{connections} idle connections: {memory_mebibytes:.0} MiB, a further client is greeted in \
             {greeted_milliseconds:.1} ms"
        )
    }
}

/// 10,000 domains exchanged for others.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Swap {
    pub(crate) domains: u32,
    /// From the signal to the answer that the new settings are in force.
    pub(crate) enforced_milliseconds: f64,
    /// The longest that a session waited for an answer meanwhile.
    pub(crate) pause_milliseconds: f64,
    /// Commands that were answered meanwhile.
    pub(crate) commands: u32,
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domains, enforced_milliseconds, pause_milliseconds, commands } = self;
        write!(
            f,
            "{domains} domains exchanged in {enforced_milliseconds:.0} ms; the longest pause of {commands} commands \
             meanwhile was {pause_milliseconds:.1} ms"
        )
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Measures [`Idle`].
pub(crate) fn idle(bench: &Bench<'_>) -> Result<Idle> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")?;
    let settings = snapshot(&[("bench.test".to_owned(), nowhere())], false, false);
    // Room for one more, or the longest idle would have to leave.
    let mut relay = start(bench, &settings, &[("--connections", "11000")])?;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 99, 0, 1)) + number % ADDRESSES);
        connections.push(connected(from.into(), relay.smtp).with_context(|| format!("connection {number}"))?);
    }
    let begun = now();
    Client::greeted(relay.smtp)?;
    let greeted_milliseconds = milliseconds(begun.elapsed());
    #[expect(clippy::cast_precision_loss, reason = "a table shows whole mebibytes")]
    let memory_mebibytes = usage::proportional(relay.pid()?)? as f64 / f64::from(1 << 20);
    for (number, connection) in connections.iter_mut().enumerate().step_by(997) {
        ensure!(said(connection, "NOOP")?.starts_with("250"), "connection {number} is gone");
    }
    drop(connections);
    relay.stop()?;
    Ok(Idle { connections: CONNECTIONS, memory_mebibytes, greeted_milliseconds })
}

/// Measures [`Swap`].
pub(crate) fn swap(bench: &Bench<'_>) -> Result<Swap> {
    let mut relay = start(bench, &domains("before"), &[("--idle-commands", "10000"), ("--errors", "1000")])?;
    let mut session = connected(Ipv4Addr::LOCALHOST.into(), relay.smtp)?;
    let old = enforced(&relay)?;
    let ended = AtomicBool::new(false);
    let (exchanged, paused) = thread::scope(|scope| {
        let talking = scope.spawn(|| -> Result<(Duration, u32)> {
            let (mut longest, mut commands) = (Duration::ZERO, 0);
            while !ended.load(Ordering::Acquire) {
                let begun = now();
                ensure!(said(&mut session, "RSET")?.starts_with("250"), "the session was dropped");
                longest = longest.max(begun.elapsed());
                commands += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Ok((longest, commands))
        });
        let exchanged = exchange(&relay, &old);
        ended.store(true, Ordering::Release);
        (exchanged, talking.join())
    });
    let (longest, commands) = paused.map_err(|_| anyhow::anyhow!("the session panicked"))??;
    relay.stop()?;
    Ok(Swap {
        domains: DOMAINS,
        enforced_milliseconds: milliseconds(exchanged?),
        pause_milliseconds: milliseconds(longest),
        commands,
    })
}

fn exchange(relay: &Relay, old: &str) -> Result<Duration> {
    relay.volume.publish(&domains("after"), &[])?;
    let begun = now();
    let pid = rustix::process::Pid::from_raw(i32::try_from(relay.pid()?)?).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
    wait_until("the new settings are in force", Duration::from_secs(30), || {
        enforced(relay).is_ok_and(|new| new != old)
    })?;
    Ok(begun.elapsed())
}

/// The metric that counts the settings taken so far.
fn enforced(relay: &Relay) -> Result<String> {
    let (_, metrics) = relay::get(relay.http, "/metrics")?;
    let counted = |line: &&str| line.starts_with("postern_relay_settings_loads_total") && line.contains("enforced");
    Ok(metrics.lines().find(counted).context("no settings in /metrics")?.to_owned())
}

/// 10,000 RelayDomains, each of one name.
fn domains(prefix: &str) -> Snapshot {
    let mut whole = snapshot(&[("bench.test".to_owned(), nowhere())], false, false);
    let spec = whole.domains[0].spec.clone();
    whole.domains.extend((0..DOMAINS).map(|number| {
        let mut spec = spec.clone();
        spec.names = vec![format!("{prefix}-{number}.bench.test")];
        Section::new(format!("many-{number:05}"), format!("uid-of-many-{number}"), 2, spec)
    }));
    whole
}

fn start(bench: &Bench<'_>, snapshot: &Snapshot, options: &[(&str, &str)]) -> Result<Relay> {
    let mut relay = Relay::prepare_in(bench.folder)?;
    relay.binary(bench.relay);
    relay.option("--drain-accept-time", "0");
    options.iter().for_each(|(option, value)| relay.option(option, value));
    relay.volume.publish(snapshot, &[])?;
    relay.start_again()?;
    Ok(relay)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A session that has said EHLO, from this address.
fn connected(from: IpAddr, to: SocketAddr) -> Result<BufReader<TcpStream>> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&to.into())?;
    let mut session = BufReader::with_capacity(512, TcpStream::from(socket));
    session.get_ref().set_nodelay(true)?;
    answer(&mut session)?;
    ensure!(said(&mut session, "EHLO bench.test")?.starts_with("250"), "EHLO is refused");
    Ok(session)
}

fn said(session: &mut BufReader<TcpStream>, command: &str) -> Result<String> {
    session.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
    answer(session)
}

/// The last line of a reply.
fn answer(session: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(session.read_line(&mut line)? > 0, "the connection is closed");
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}
