//! Postfix as Debian has it, with the routes of the task.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::Result;
use postern_tests::loopback;
use postern_tests::postfix::{Daemon, Setup};

use super::Task;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Postfix {
    daemon: Daemon,
    tls: Option<SocketAddr>,
}

impl Postfix {
    pub(super) fn start(task: &Task<'_>) -> Result<Self> {
        let tls = task.tls.map(|_| loopback::address());
        let transport = transport(task.routes);
        let mut files = vec![("transport", transport.as_str())];
        if let Some(identity) = task.tls {
            files.extend([("tls.crt", identity.certificate.as_str()), ("tls.key", identity.key.as_str())]);
        }
        let services = tls.map(|tls| format!("{tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"));
        let (settings, services) = (settings(task), services.unwrap_or_default());
        let setup = Setup { parent: task.folder, settings: &settings, services: &services, files: &files };
        Ok(Self { daemon: Daemon::set_up(&setup)?, tls })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.tls.unwrap_or_else(|| self.daemon.address())
    }

    /// The process that starts all the others.
    pub(super) fn master(&self) -> Result<u32> {
        self.daemon.master()
    }

    /// What `defer_transports` held back goes, and what is deferred already.
    pub(super) fn release(&self) -> Result<()> {
        self.daemon.without(HELD)?;
        self.daemon.flush()
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
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

fn settings(task: &Task<'_>) -> String {
    let domains: Vec<&str> = task.routes.iter().map(|(domain, _)| domain.as_str()).collect();
    let domains = domains.join(" ");
    let tls = match task.tls {
        None => "smtp_tls_security_level = none\nsmtpd_tls_security_level = none\n",
        Some(_) => {
            "smtp_tls_security_level = encrypt\n\
             smtp_tls_wrappermode = yes\n\
             smtpd_tls_security_level = may\n\
             smtpd_tls_cert_file = $config_directory/tls.crt\n\
             smtpd_tls_key_file = $config_directory/tls.key\n"
        }
    };
    let held = if task.held { HELD } else { "" };
    format!(
        "relay_domains = {domains}\n\
         relay_transport = smtp\n\
         transport_maps = texthash:$config_directory/transport\n\
         message_size_limit = 36700160\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         {held}{tls}"
    )
}
