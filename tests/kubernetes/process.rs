//! Programs that the tests start, and that end with the test process however it ends: also when it is killed.
//!
//! Each runs below a shell that reads a pipe which only the test process holds open. When the pipe closes, because the
//! [`Process`] is dropped or because the test process is gone, the shell kills its child, by its process id.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

const KEEPER: &str = r#""$@" & child=$!; cat >/dev/null; kill -9 $child 2>/dev/null; wait $child"#;

pub(crate) struct Process {
    keeper: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `log`.
    pub(crate) fn start(program: &Path, args: &[String], log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { keeper, log: log.to_owned() })
    }

    /// Removes a folder at the end: a `static` is never dropped, and a killed test drops nothing.
    pub(crate) fn removing(folder: &Path) -> Result<Self> {
        // After the processes that still write into it: they are killed at the same moment.
        let script = r#"cat >/dev/null; sleep 1; rm -rf "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "remover"]).arg(folder);
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { keeper, log: PathBuf::new() })
    }

    /// The last lines of what it printed, for the message of a failed test.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A free port that no outgoing connection and no other free port becomes: who listens there can go away and come back.
pub(crate) fn steady_port() -> Result<u16> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let mut ports = (first + TAKEN.fetch_add(100, Ordering::Relaxed)..32_000).filter(free);
    ports.next().context("no free port below 32000")
}
