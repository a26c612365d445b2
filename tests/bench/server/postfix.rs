//! A Postfix of its own: configuration, queue and log in one folder; programs and user are the installed ones.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::loopback;
use postern_tests::program::Program;
use postern_tests::smtp::Client;
use tempfile::TempDir;

use super::Task;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Postfix {
    folder: TempDir,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    program: Program,
    stopped: bool,
}

impl Postfix {
    pub(super) fn start(task: &Task<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir_in(task.folder)?;
        let path = folder.path();
        let (address, tls) = (loopback::address(), task.tls.map(|_| loopback::address()));
        // Its processes give up root, and must still reach their queue.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        let (configuration, queue, data) = (path.join("etc"), path.join("queue"), path.join("data"));
        for folder in [&configuration, &queue, &data] {
            fs::create_dir(folder)?;
        }
        if let Some(identity) = task.tls {
            fs::write(configuration.join("tls.crt"), &identity.certificate)?;
            fs::write(configuration.join("tls.key"), &identity.key)?;
        }
        fs::write(configuration.join("transport"), transport(task.routes))?;
        fs::write(configuration.join("main.cf"), main_cf(path, task))?;
        fs::write(configuration.join("master.cf"), master_cf(address, tls))?;
        let chown = Command::new("chown").arg("postfix").arg(&data).status()?;
        ensure!(chown.success(), "no user postfix: is Postfix installed?");
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(&configuration).arg("start-fg");
        let mut program = Program::start(&mut command, &path.join("start.log"))?;
        let greets = program.until("Postfix greets", Duration::from_secs(60), || Client::greeted(address).is_ok());
        greets.with_context(|| fs::read_to_string(path.join("mail.log")).unwrap_or_default())?;
        Ok(Self { folder, address, tls, program, stopped: false })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.tls.unwrap_or(self.address)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    /// The process that starts all the others.
    pub(super) fn master(&self) -> Result<u32> {
        let file = self.folder.path().join("queue/pid/master.pid");
        Ok(fs::read_to_string(&file).with_context(|| file.display().to_string())?.trim().parse()?)
    }

    /// What `defer_transports` held back goes, and what is deferred already.
    pub(super) fn release(&self) -> Result<()> {
        let main_cf = self.configuration().join("main.cf");
        let text = fs::read_to_string(&main_cf)?;
        fs::write(&main_cf, text.replace(HELD, ""))?;
        self.command("/usr/sbin/postfix", "reload")?;
        self.command("/usr/sbin/postqueue", "-f")
    }

    fn command(&self, program: &str, argument: &str) -> Result<()> {
        let output = Command::new(program).arg("-c").arg(self.configuration()).arg(argument).output()?;
        ensure!(output.status.success(), "{program} {argument}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.stopped = true;
        self.command("/usr/sbin/postfix", "stop")?;
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

const HELD: &str = "defer_transports = smtp\n";

fn transport(routes: &[(String, SocketAddr)]) -> String {
    let mut table = String::new();
    for (domain, address) in routes {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{domain} smtp:[{}]:{}", address.ip(), address.port());
    }
    table
}

fn main_cf(folder: &Path, task: &Task<'_>) -> String {
    let folder = folder.display();
    let domains: Vec<&str> = task.routes.iter().map(|(domain, _)| domain.as_str()).collect();
    let domains = domains.join(" ");
    let tls = match task.tls {
        None => "smtp_tls_security_level = none\nsmtpd_tls_security_level = none\n".to_owned(),
        Some(_) => format!(
            "smtp_tls_security_level = encrypt\n\
             smtp_tls_wrappermode = yes\n\
             smtpd_tls_security_level = may\n\
             smtpd_tls_cert_file = {folder}/etc/tls.crt\n\
             smtpd_tls_key_file = {folder}/etc/tls.key\n"
        ),
    };
    let held = if task.held { HELD } else { "" };
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
         relay_domains = {domains}\n\
         relay_transport = smtp\n\
         transport_maps = texthash:{folder}/etc/transport\n\
         message_size_limit = 36700160\n\
         disable_dns_lookups = yes\n\
         smtpd_peername_lookup = no\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         {held}{tls}"
    )
}

/// Debian's services, those that take part, without chroot.
fn master_cf(address: SocketAddr, tls: Option<SocketAddr>) -> String {
    let tls = tls.map(|tls| format!("{tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n")).unwrap_or_default();
    format!(
        "{address} inet n - n - - smtpd\n\
         {tls}\
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
