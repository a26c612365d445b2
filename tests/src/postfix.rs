//! Postfix: its smtp-source and smtp-sink for load and for a second opinion, and the whole of it as a peer that nobody here wrote.

mod daemon;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::wait_until;
use crate::loopback;
use crate::program::Program;
use crate::smtp::Client;

pub use daemon::{Daemon, Setup};

const SINK: &str = "/usr/sbin/smtp-sink";
const SOURCE: &str = "/usr/sbin/smtp-source";

/// A running smtp-sink. It forgets what it is given.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    program: Program,
}

impl SmtpSink {
    /// One on an address of its own, that counts what it is given into `log`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(log: &Path) -> Result<Self> {
        Self::start_with(&[], log)
    }

    /// The same with flags of smtp-sink's own, such as `-r RCPT`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(flags: &[&str], log: &Path) -> Result<Self> {
        let address = loopback::address();
        let mut command = Command::new(SINK);
        // As root it wants to be told to be somebody else.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.args(flags).args(["-c", &format!("inet:{address}"), "1024"]);
        let mut program = Program::start(&mut command, log)?;
        program.until("smtp-sink listens", Duration::from_secs(10), || Client::connect(address).is_ok())?;
        Ok(Self { address, program })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many messages it says that it has taken (`mesg=N`).
    pub fn count(&self) -> u64 {
        // It writes a line at each message; only the last one is wanted.
        let log = self.program.log_tail();
        let counted = log.rsplit("mesg=").next().filter(|_| log.contains("mesg="));
        counted.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Waits until it has taken so many.
    ///
    /// # Errors
    /// When they do not come within `limit`.
    pub fn wait_for(&self, count: u64, limit: Duration) -> Result<()> {
        wait_until(&format!("smtp-sink takes {count} messages"), limit, || self.count() >= count)
            .with_context(|| format!("it has {}", self.count()))
    }
}

/// What smtp-source is to send.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// `MAIL FROM`.
    pub sender: &'a str,
    /// `RCPT TO`.
    pub recipient: &'a str,
    /// Recipients of each message; with more than one a number stands before `recipient`.
    pub recipients: u32,
    /// Connections at a time.
    pub sessions: u32,
    /// Messages in all.
    pub messages: u32,
    /// Octets of each.
    pub octets: u32,
}

impl Load<'_> {
    /// Sends it all; returns when the last is acknowledged.
    ///
    /// # Errors
    /// When any of them is refused.
    pub fn send(&self, server: SocketAddr) -> Result<()> {
        let numbers = [("-s", self.sessions), ("-m", self.messages), ("-l", self.octets), ("-r", self.recipients)];
        let mut command = Command::new(SOURCE);
        // -d keeps each session for all of its messages.
        command.args(["-d", "-f", self.sender, "-t", self.recipient]);
        for (option, number) in numbers {
            command.arg(option).arg(number.to_string());
        }
        let output = command.arg(format!("inet:{server}")).output().context("smtp-source: is Postfix installed?")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "smtp-source ended with {}: {said}", output.status);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_source_sends_is_counted_by_the_sink() {
        let folder = tempfile::tempdir().unwrap();
        let sink = SmtpSink::start(&folder.path().join("sink.log")).unwrap();
        let load =
            Load { sender: "a@a.test", recipient: "b@b.test", recipients: 1, sessions: 3, messages: 30, octets: 4096 };
        load.send(sink.address()).unwrap();
        sink.wait_for(30, Duration::from_secs(5)).unwrap();
        assert_eq!(sink.count(), 30);
    }
}
