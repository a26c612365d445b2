//! Postern as it is shipped, with its defaults.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use postern_tests::relay::Relay;
use postern_tests::{loopback, settings};
use postern_wire::Snapshot;
use postern_wire::snapshot::{Domain, Handshake, Host, Section, Verification, Way};
use tempfile::TempDir;

use super::Task;

pub(crate) struct Postern {
    pub(crate) relay: Relay,
    tls: Option<SocketAddr>,
    _certificates: TempDir,
}

impl Postern {
    pub(super) fn start(task: &Task<'_>) -> Result<Self> {
        let mut relay = Relay::prepare_in(task.folder)?;
        relay.binary(task.relay);
        relay.option("--drain-accept-time", "0");
        let certificates = tempfile::tempdir_in(task.folder)?;
        let tls = match task.tls {
            None => None,
            Some(identity) => {
                let folder = certificates.path().join("relay");
                fs::create_dir(&folder)?;
                fs::write(folder.join("tls.crt"), &identity.certificate)?;
                fs::write(folder.join("tls.key"), &identity.key)?;
                let address = loopback::address();
                relay.option("--tls", certificates.path().to_str().context("a path in UTF-8")?);
                relay.option("--smtps", &address.to_string());
                Some(address)
            }
        };
        relay.volume.publish(&snapshot(task.routes, task.tls.is_some(), task.held), &[])?;
        relay.start_again()?;
        Ok(Self { relay, tls, _certificates: certificates })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.tls.unwrap_or(self.relay.smtp)
    }

    pub(super) fn release(&self, routes: &[(String, SocketAddr)]) -> Result<()> {
        self.relay.volume.publish(&snapshot(routes, self.tls.is_some(), false), &[])
    }
}

/// One RelayDomain and one RelayHost for each route.
pub(crate) fn snapshot(routes: &[(String, SocketAddr)], tls: bool, suspend: bool) -> Snapshot {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut whole = settings::relaying("nobody.test", nowhere);
    (whole.domains, whole.hosts) = routes.iter().enumerate().map(|route| sections(route, tls, suspend)).unzip();
    whole.domains.sort_by(|one, other| one.name.cmp(&other.name));
    whole.hosts.sort_by(|one, other| one.name.cmp(&other.name));
    whole
}

fn sections(
    (number, (name, address)): (usize, &(String, SocketAddr)),
    tls: bool,
    suspend: bool,
) -> (Section<Domain>, Section<Host>) {
    let Snapshot { schema: _, domains, hosts, policies: _, nodes: _ } = settings::relaying(name, *address);
    let (mut domain, mut host) = (domains[0].spec.clone(), hosts[0].spec.clone());
    let (domain_name, host_name) = (format!("domain-{number}"), format!("host-{number}"));
    if let Way::Open(inbound) = &mut domain.inbound {
        inbound.deliver_to[0].host.clone_from(&host_name);
    }
    if let (true, Way::Open(plan)) = (tls, &mut host.tls) {
        (plan.handshake, plan.verification) = (Handshake::Implicit, Verification::Required);
    }
    host.suspend = suspend;
    let (domain_uid, host_uid) = (format!("uid-of-{domain_name}"), format!("uid-of-{host_name}"));
    (Section::new(domain_name, domain_uid, 1, domain), Section::new(host_name, host_uid, 1, host))
}
