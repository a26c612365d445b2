//! A real `postern-relay` on addresses of its own, killed and started again on the same spool.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_wire::Snapshot;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::loopback;
use crate::program::{self, Program};
use crate::settings::Volume;
use crate::smtp::Client;
use crate::usage::{self, Usage};

/// How long a start may take on a busy machine, the reading of a spool included.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a drain may take: its 5 s of grace, and what is under way.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A relay, and the folder with its settings, its spool and its log.
#[derive(Debug)]
pub struct Relay {
    folder: TempDir,
    /// Its mounted volume.
    pub volume: Volume,
    /// Where it takes mail.
    pub smtp: SocketAddr,
    /// Where it answers `/livez`, `/readyz`, `/metrics` and `/status`.
    pub http: SocketAddr,
    binary: Option<PathBuf>,
    options: Vec<String>,
    inside: Option<u32>,
    program: Option<Program>,
}

impl Relay {
    /// Starts one on these settings, and waits until it takes mail.
    ///
    /// # Errors
    /// With its log, when it does not start.
    pub fn start(snapshot: &Snapshot) -> Result<Self> {
        let mut relay = Self::prepare()?;
        relay.volume.publish(snapshot, &[])?;
        relay.start_again()?;
        Ok(relay)
    }

    /// Everything that one needs but settings; it is started with [`Relay::start_again`].
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn prepare() -> Result<Self> {
        Self::prepare_in(&std::env::temp_dir())
    }

    /// The same with its folder in this one: on the disk that is to be measured.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn prepare_in(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postern-").tempdir_in(parent)?;
        let volume = Volume::create(&folder.path().join("settings"))?;
        let (smtp, http) = (loopback::address(), loopback::address());
        Ok(Self { folder, volume, smtp, http, binary: None, options: Vec::new(), inside: None, program: None })
    }

    /// From the next start on it is this program, instead of this build's.
    pub fn binary(&mut self, path: &Path) {
        self.binary = Some(path.to_owned());
    }

    /// A further option, from the next start on.
    pub fn option(&mut self, option: &str, value: &str) {
        self.options.extend([option.to_owned(), value.to_owned()]);
    }

    /// From the next start on it runs in the mount namespace of this process.
    pub fn inside(&mut self, pid: u32) {
        self.inside = Some(pid);
    }

    /// The directory of its spool.
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Octets that its spool takes on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn disk_usage(&self) -> Result<u64> {
        fn octets(folder: &Path) -> std::io::Result<u64> {
            std::fs::read_dir(folder)?.try_fold(0, |sum, entry| {
                let entry = entry?;
                let metadata = entry.metadata()?;
                Ok(sum + if metadata.is_dir() { octets(&entry.path())? } else { metadata.blocks() * 512 })
            })
        }
        Ok(octets(&self.spool())?)
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// All that it has logged since the first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("relay.log")
    }

    fn command(&self) -> Result<Command> {
        let binary = match &self.binary {
            Some(path) => path.clone(),
            None => program::own("postern-relay")?,
        };
        let mut command = match self.inside {
            None => Command::new(binary),
            Some(pid) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("--").arg(binary);
                nsenter
            }
        };
        let path = |option: &str, path: &Path| [option.into(), path.as_os_str().to_owned()];
        command
            .args(path("--settings", self.volume.path()))
            .args(path("--spool", &self.spool()))
            .args(path("--control", &self.control()))
            .args(["--smtp", &self.smtp.to_string(), "--http", &self.http.to_string(), "--hostname", "relay.test"])
            .args(&self.options);
        Ok(command)
    }

    /// Starts it, the first time or after [`Relay::kill`] and [`Relay::stop`], and waits until it takes mail.
    ///
    /// # Errors
    /// With its log, when it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.program.is_none(), "the relay is running");
        let mut program = Program::start(&mut self.command()?, &self.log_file())?;
        let smtp = self.smtp;
        program.until("the relay greets", START_WITHIN, || Client::greeted(smtp).is_ok())?;
        self.program = Some(program);
        Ok(())
    }

    fn program(&self) -> Result<&Program> {
        self.program.as_ref().context("the relay is not running")
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.program()?.pid())
    }

    /// What it has used since its start.
    ///
    /// # Errors
    /// When it is not running.
    pub fn usage(&self) -> Result<Usage> {
        usage::of(self.pid()?)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("the relay is not running")?.kill()
    }

    /// SIGTERM; waits until it has drained and ended well.
    ///
    /// # Errors
    /// With its log, when it ends with another code than 0, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        let mut program = self.program.take().context("the relay is not running")?;
        program.signal(Signal::TERM)?;
        let status = program.wait(STOP_WITHIN)?;
        ensure!(status.success(), "the relay ended with {status}:\n{}", program.log());
        Ok(())
    }

    /// Whether its process is still the one that was started.
    pub fn is_alive(&mut self) -> bool {
        self.program.as_mut().is_some_and(|program| matches!(program.ended(), Ok(None)))
    }

    /// A session that has said EHLO.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn client(&self) -> Result<Client> {
        Client::greeted(self.smtp)
    }

    /// What it answers a stranger who has mail for this recipient.
    ///
    /// # Errors
    /// When the session does not come so far.
    pub fn answer(&self, recipient: &str) -> Result<String> {
        let mut client = self.client()?;
        client.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
        Ok(client.ask(&format!("RCPT TO:<{recipient}>"))?.to_string())
    }

    /// What it answers to `GET path`: the code and the body.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.http, path)
    }
}

/// What is answered at this address to `GET path`: the code and the body.
///
/// # Errors
/// When nothing is.
pub fn get(http: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("not HTTP: {answer}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.with_context(|| format!("not HTTP: {head}"))?, body.to_owned()))
}
