//! The two relays: each with an empty queue, on an address of its own, and ended by its own means.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::program::Program;
use postern_tests::relay::Relay;
use postern_tests::smtp::Client;
use postern_tests::{loopback, settings, usage};
use tempfile::TempDir;

/// The domain that all messages are for.
pub(crate) const DOMAIN: &str = "bench.test";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postern,
    Postfix,
}

/// A running relay that hands its mail to a sink.
#[derive(Debug)]
pub(crate) enum Server {
    Postern(Box<Relay>),
    Postfix(Postfix),
}

impl Server {
    pub(crate) fn start(kind: Kind, folder: &Path, binary: &Path, sink: SocketAddr) -> Result<Self> {
        match kind {
            Kind::Postern => {
                let mut relay = Relay::prepare_in(folder)?;
                relay.binary(binary);
                relay.option("--drain-accept-time", "0");
                relay.volume.publish(&settings::relaying(DOMAIN, sink), &[])?;
                relay.start_again()?;
                Ok(Self::Postern(Box::new(relay)))
            }
            Kind::Postfix => Postfix::start(folder, sink).map(Self::Postfix),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Postern(relay) => relay.smtp,
            Self::Postfix(postfix) => postfix.address,
        }
    }

    /// Time on a processor of all its processes so far, the ended ones included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        match self {
            Self::Postern(relay) => Ok(relay.usage()?.cpu),
            Self::Postfix(postfix) => {
                let master = postfix.master()?;
                let mut cpu = usage::of(master)?.cpu + usage::cpu_of_the_ended(master)?;
                // One that ends in between is counted with the next reading.
                for child in usage::children(master)? {
                    cpu += usage::of(child).map(|usage| usage.cpu).unwrap_or_default();
                }
                Ok(cpu)
            }
        }
    }

    /// Octets of memory of all its processes.
    pub(crate) fn memory(&self) -> Result<u64> {
        match self {
            Self::Postern(relay) => usage::proportional(relay.pid()?),
            Self::Postfix(postfix) => {
                let master = postfix.master()?;
                let children = usage::children(master)?;
                let of_children = children.iter().filter_map(|child| usage::proportional(*child).ok());
                Ok(usage::proportional(master)? + of_children.sum::<u64>())
            }
        }
    }

    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Postern(mut relay) => relay.stop(),
            Self::Postfix(mut postfix) => postfix.stop(),
        }
    }
}

/// A Postfix of its own: configuration, queue and log in one folder; programs and user are the installed ones.
#[derive(Debug)]
pub(crate) struct Postfix {
    folder: TempDir,
    address: SocketAddr,
    program: Program,
    stopped: bool,
}

impl Postfix {
    fn start(parent: &Path, sink: SocketAddr) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir_in(parent)?;
        let path = folder.path();
        let address = loopback::address();
        // Its processes give up root, and must still reach their queue.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        let (configuration, queue, data) = (path.join("etc"), path.join("queue"), path.join("data"));
        for folder in [&configuration, &queue, &data] {
            fs::create_dir(folder)?;
        }
        fs::write(configuration.join("main.cf"), main_cf(path, sink))?;
        fs::write(configuration.join("master.cf"), master_cf(address))?;
        let chown = Command::new("chown").arg("postfix").arg(&data).status()?;
        ensure!(chown.success(), "no user postfix: is Postfix installed?");
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(&configuration).arg("start-fg");
        let mut program = Program::start(&mut command, &path.join("start.log"))?;
        let greets = program.until("Postfix greets", Duration::from_secs(60), || Client::greeted(address).is_ok());
        greets.with_context(|| fs::read_to_string(path.join("mail.log")).unwrap_or_default())?;
        Ok(Self { folder, address, program, stopped: false })
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    /// The process that starts all the others.
    fn master(&self) -> Result<u32> {
        let file = self.folder.path().join("queue/pid/master.pid");
        Ok(fs::read_to_string(&file).with_context(|| file.display().to_string())?.trim().parse()?)
    }

    fn stop(&mut self) -> Result<()> {
        self.stopped = true;
        let output = Command::new("/usr/sbin/postfix").arg("-c").arg(self.configuration()).arg("stop").output()?;
        ensure!(output.status.success(), "postfix stop: {}", String::from_utf8_lossy(&output.stderr));
        self.program.wait(Duration::from_secs(30))?;
        Ok(())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if !self.stopped {
            drop(self.stop());
        }
    }
}

fn main_cf(folder: &Path, sink: SocketAddr) -> String {
    let folder = folder.display();
    let (host, port) = (sink.ip(), sink.port());
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
         relay_domains = {DOMAIN}\n\
         relay_transport = smtp\n\
         relayhost = [{host}]:{port}\n\
         disable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         smtp_tls_security_level = none\n\
         smtpd_tls_security_level = none\n"
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
