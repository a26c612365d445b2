//! A child process that never outlives its test, its log, and where our own programs are.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::wait_for;

/// A program of this workspace, as this build has it.
///
/// The first call lets cargo bring them all up to date: cargo builds another package's programs for no test, and a test
/// of yesterday's program shows nothing. To measure what is shipped, `POSTERN_PROGRAMS` names the folder of another build.
///
/// # Errors
/// When the build fails.
pub fn own(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build_all().map_err(|error| format!("{error:#}")));
    match folder {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) => bail!("{error}"),
    }
}

fn build_all() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("POSTERN_PROGRAMS") {
        return fs::canonicalize(&folder).with_context(|| folder.display().to_string());
    }
    let test = env::current_exe()?;
    let folder = test.ancestors().nth(2).context("a test program lies in PROFILE/deps")?.to_owned();
    let target = folder.parent().context("a profile's folder lies in the target folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => bail!("{} is no profile's folder", folder.display()),
    };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cargo build")?;
    if !output.status.success() {
        bail!("cargo build: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder)
}

/// A running child. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it, with its standard output and error in the file `log`, which is continued if it is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}: is it installed?"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last 256 octets of it.
    pub fn log_tail(&self) -> String {
        let mut tail = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(256)))?;
            file.read_to_end(&mut tail)
        });
        read.map(|_| String::from_utf8_lossy(&tail).into_owned()).unwrap_or_default()
    }

    /// Its end, if it has ended.
    ///
    /// # Errors
    /// When the system will not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).with_context(|| format!("{} has ended:\n{}", self.name, self.log()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it goes on for longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait_for(&what, limit, || self.child.try_wait().transpose())?.map_err(Into::into)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it says yes, and fails at once when the process ends before.
    ///
    /// # Errors
    /// With the log, when it ends or takes longer than `limit`.
    pub fn until(&mut self, what: &str, limit: Duration, mut ask: impl FnMut() -> bool) -> Result<()> {
        let ended = wait_for(what, limit, || match self.child.try_wait() {
            Ok(Some(status)) => Some(Some(status)),
            Err(_) | Ok(None) => ask().then_some(None),
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{} ended ({status}) before {what}:\n{}", self.name, self.log()),
            Err(error) => bail!("{}: {error}\n{}", self.name, self.log()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell either way.
        drop(self.kill());
    }
}
