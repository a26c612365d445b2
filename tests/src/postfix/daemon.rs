//! A whole Postfix on addresses of its own: what it is given it hands to the next hop by its own smtp(8).

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
    /// With its log, when it does not start; or when Postfix is not installed, or this is not root.
    pub fn start(next_hop: SocketAddr, settings: &str) -> Result<Self> {
        Self::start_with(next_hop, settings, &[])
    }

    /// The same with further files in its configuration directory, such as `sasl/smtpd.conf`.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(next_hop: SocketAddr, settings: &str, files: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir()?;
        let path = folder.path();
        let address = loopback::address();
        // Its processes give up root, and must still reach their queue.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "data"] {
            fs::create_dir(path.join(name))?;
        }
        fs::write(path.join("etc/main.cf"), main_cf(path, next_hop) + settings)?;
        fs::write(path.join("etc/master.cf"), master_cf(address))?;
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

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("etc")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its own processes; whoever killed only the first would leave the others behind.
        drop(Command::new(POSTFIX).arg("-c").arg(self.configuration()).arg("stop").output());
        if let Some(mut program) = self.program.take() {
            drop(program.wait(Duration::from_secs(30)));
        }
    }
}

fn main_cf(folder: &Path, next_hop: SocketAddr) -> String {
    let folder = folder.display();
    let (host, port) = (next_hop.ip(), next_hop.port());
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
         relayhost = [{host}]:{port}\n\
         disable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n\
         smtputf8_enable = yes\n\
         minimal_backoff_time = 1s\n\
         maximal_backoff_time = 1s\n\
         queue_run_delay = 1s\n"
    )
}

/// Debian's services, those that take part, without chroot.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
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
