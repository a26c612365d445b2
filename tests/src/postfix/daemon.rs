//! A whole Postfix on addresses of its own: what it is given it hands to the next hop by its own smtp(8).

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::loopback;
use crate::program::Program;
use crate::smtp::Client;

const POSTFIX: &str = "/usr/sbin/postfix";

/// What a Postfix is made of, beyond what each needs that runs beside others. Its folder of configuration is
/// `$config_directory` in its own files.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Where its own folder is made.
    pub parent: &'a Path,
    /// Further lines of `main.cf`.
    pub settings: &'a str,
    /// Further lines of `master.cf`.
    pub services: &'a str,
    /// Further files in its folder of configuration, such as `sasl/smtpd.conf`.
    pub files: &'a [(&'a str, &'a str)],
}

/// A running Postfix: configuration, queue and log in one folder; programs and user are the installed ones. Ended when it is
/// dropped.
#[derive(Debug)]
pub struct Daemon {
    folder: TempDir,
    address: SocketAddr,
    program: Option<Program>,
}

impl Daemon {
    /// One that takes mail for anyone from this machine and hands all of it to `next_hop`. `settings` are further lines of its
    /// `main.cf`.
    ///
    /// # Errors
    /// As [`Daemon::set_up`].
    pub fn start(next_hop: SocketAddr, settings: &str) -> Result<Self> {
        Self::start_with(next_hop, settings, &[])
    }

    /// The same with further files in its folder of configuration.
    ///
    /// # Errors
    /// As [`Daemon::set_up`].
    pub fn start_with(next_hop: SocketAddr, settings: &str, files: &[(&str, &str)]) -> Result<Self> {
        let (host, port) = (next_hop.ip(), next_hop.port());
        let settings = format!(
            "relayhost = [{host}]:{port}\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\n\
             smtputf8_enable = yes\n\
             minimal_backoff_time = 1s\n\
             maximal_backoff_time = 1s\n\
             queue_run_delay = 1s\n\
             {settings}"
        );
        Self::set_up(&Setup { parent: &env::temp_dir(), settings: &settings, services: "", files })
    }

    /// One on an address of its own, as it is told to be.
    ///
    /// # Errors
    /// With its log, when it does not start; or when Postfix is not installed, or this is not root.
    pub fn set_up(setup: &Setup<'_>) -> Result<Self> {
        let Setup { parent, settings, services, files } = *setup;
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir_in(parent)?;
        let path = folder.path();
        let address = loopback::address();
        // Its processes give up root, and must still reach their queue.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "data"] {
            fs::create_dir(path.join(name))?;
        }
        fs::write(path.join("etc/main.cf"), main_cf(path) + settings)?;
        fs::write(path.join("etc/master.cf"), master_cf(address) + services)?;
        for (name, content) in files {
            let file = path.join("etc").join(name);
            fs::create_dir_all(file.parent().unwrap_or(path))?;
            fs::write(file, content)?;
        }
        let chown = Command::new("chown").arg("postfix").arg(path.join("data")).status()?;
        ensure!(chown.success(), "no user postfix: is Postfix installed?");
        let mut command = Command::new(POSTFIX);
        command.arg("-c").arg(path.join("etc")).arg("start-fg");
        let mut program = Program::start(&mut command, &path.join("start.log"))?;
        let greets = program.until("Postfix greets", Duration::from_secs(60), || Client::greeted(address).is_ok());
        let daemon = Self { folder, address, program: Some(program) };
        greets.with_context(|| daemon.log())?;
        Ok(daemon)
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default()
    }

    /// The process that starts all the others.
    ///
    /// # Errors
    /// When it is not running.
    pub fn master(&self) -> Result<u32> {
        let file = self.folder.path().join("queue/pid/master.pid");
        Ok(fs::read_to_string(&file).with_context(|| file.display().to_string())?.trim().parse()?)
    }

    /// Takes these lines out of its `main.cf`, and lets it read that anew.
    ///
    /// # Errors
    /// What Postfix says about it.
    pub fn without(&self, lines: &str) -> Result<()> {
        let main_cf = self.configuration().join("main.cf");
        fs::write(&main_cf, fs::read_to_string(&main_cf)?.replace(lines, ""))?;
        self.command(POSTFIX, "reload")
    }

    /// Tries all that waits at once.
    ///
    /// # Errors
    /// What Postfix says about it.
    pub fn flush(&self) -> Result<()> {
        self.command("/usr/sbin/postqueue", "-f")
    }

    /// Ends it, and waits for its end.
    ///
    /// # Errors
    /// What Postfix says about it.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut program) = self.program.take() else { return Ok(()) };
        // It ends its own processes; whoever killed only the first would leave the others behind.
        self.command(POSTFIX, "stop")?;
        program.wait(Duration::from_secs(30))?;
        Ok(())
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    fn command(&self, program: &str, argument: &str) -> Result<()> {
        let output = Command::new(program).arg("-c").arg(self.configuration()).arg(argument).output()?;
        ensure!(output.status.success(), "{program} {argument}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

/// What each needs that runs beside others, and asks no DNS.
fn main_cf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/queue\n\
         data_directory = {folder}/data\n\
         maillog_file = {folder}/mail.log\n\
         maillog_file_prefixes = {folder}\n\
         myhostname = postfix.test\n\
         mydestination =\n\
         mynetworks = 127.0.0.0/8\n\
         inet_protocols = ipv4\n\
         alias_maps =\n\
         disable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\n"
    )
}

/// Debian's services, those that take part, without chroot.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         pickup unix n - n 60 1 pickup\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         showq unix n - n - - showq\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}
