//! Two operators and one lease: one writes, the other waits; and what happens when the first is killed, told to end, or cut
//! off from the API server.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use postern_crds::RelayDomain;
use postern_tests::program::Program;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::RwLock;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::manifests::{apply, apply_in};
use crate::operator::{get, objects, with_kubeconfig};
use crate::process::free_port;
use crate::proxy::Proxy;

/// With the default flags.
const FAIL_OVER: Duration = Duration::from_secs(17);
const HAND_OVER: Duration = Duration::from_secs(3);
/// The roles of the charts.
const DMZ: &str = "postern-operator";
const LEASE: &str = "postern-operator-lease";

/// Held by whoever needs the API server to stay, and written by whoever takes it away.
pub(crate) static SERVER: RwLock<()> = RwLock::const_new(());

/// An operator for one DMZ whose own namespace, with the lease, is the same.
pub(crate) struct Operator {
    pub(crate) program: Program,
    http: u16,
    user: String,
}

impl Operator {
    /// Started, with a name that is in its lease and its log. `url`: by which way it reaches the API server.
    pub(crate) async fn start(dmz: &Dmz, identity: &str, url: Option<&str>) -> Result<Self> {
        let user = format!("{}-{identity}", dmz.namespace);
        bind(dmz, &user, "Role", LEASE).await?;
        Self::start_without_lease(dmz, &user, identity, url).await
    }

    /// The only one, without a lease.
    pub(crate) async fn start_alone(dmz: &Dmz, identity: &str, more: &[String]) -> Result<Self> {
        let user = format!("{}-{identity}", dmz.namespace);
        bind(dmz, &user, "ClusterRole", DMZ).await?;
        bind(dmz, &user, "Role", DMZ).await?;
        let mut flags = vec!["--lease=".to_owned()];
        flags.extend_from_slice(more);
        Self::spawn(dmz, &user, identity, &dmz.server.kubeconfig(&user, &user, None)?, &flags)
    }

    /// One that ran before, and has all its rights.
    pub(crate) fn start_again(dmz: &Dmz, identity: &str) -> Result<Self> {
        let user = format!("{}-{identity}", dmz.namespace);
        Self::spawn(dmz, &user, identity, &dmz.server.kubeconfig(&user, &user, None)?, &[])
    }

    /// Without the right to the lease.
    async fn start_without_lease(dmz: &Dmz, user: &str, identity: &str, url: Option<&str>) -> Result<Self> {
        bind(dmz, user, "ClusterRole", DMZ).await?;
        bind(dmz, user, "Role", DMZ).await?;
        let kubeconfig = match url {
            Some(url) => dmz.server.kubeconfig_by(url, user, user, None)?,
            None => dmz.server.kubeconfig(user, user, None)?,
        };
        Self::spawn(dmz, user, identity, &kubeconfig, &[])
    }

    fn spawn(dmz: &Dmz, user: &str, identity: &str, kubeconfig: &Path, flags: &[String]) -> Result<Self> {
        let http = free_port()?;
        let mut command = Command::new("env");
        command.args(with_kubeconfig(kubeconfig, http)?).args(flags).args([
            format!("--namespace={}", dmz.namespace),
            format!("--operator-namespace={}", dmz.namespace),
            format!("--identity={identity}"),
        ]);
        let program = Program::start(&mut command, &dmz.server.file(&format!("{user}.log")))?;
        Ok(Self { program, http, user: user.to_owned() })
    }

    /// Waits until it is ready, and leads or does not.
    pub(crate) async fn is_ready_and(&self, leads: bool) {
        eventually(&format!("{} is ready, and leads: {leads}", self.user), async || {
            let ready = get(self.http, "/readyz").await?;
            ensure!(ready.starts_with("HTTP/1.0 200 OK"), "{ready}");
            let health = get(self.http, "/healthz").await?;
            ensure!(health.starts_with("HTTP/1.0 200 OK"), "{health}");
            let metrics = get(self.http, "/metrics").await?;
            ensure!(metrics.contains(&format!("postern_operator_leader {}\n", u8::from(leads))), "{metrics}");
            Ok(())
        })
        .await;
    }

    /// Waits until it leads and has looked after the whole DMZ.
    pub(crate) async fn leads(&self) {
        self.is_ready_and(true).await;
        self.has_reconciled().await;
    }

    /// Waits until it writes no more.
    pub(crate) async fn has_settled(&self, dmz: &Dmz) {
        let mut before = Vec::new();
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let writes = self.writes(dmz).unwrap();
            if writes == before && !writes.is_empty() {
                return;
            }
            before = writes;
        }
        panic!("{} goes on writing: {before:?}", self.user);
    }

    /// Waits until it has looked after the whole DMZ.
    pub(crate) async fn has_reconciled(&self) {
        eventually(&format!("{} has reconciled", self.user), async || {
            let metrics = get(self.http, "/metrics").await?;
            ensure!(metrics.contains("postern_operator_reconciles_total{result=\"done\"}"), "{metrics}");
            Ok(())
        })
        .await;
    }

    /// What it wrote, but for the lease.
    pub(crate) fn writes(&self, dmz: &Dmz) -> Result<Vec<String>> {
        let mut writes = dmz.writes_of(&self.user)?;
        writes.retain(|write| !write.contains(" leases"));
        Ok(writes)
    }
}

/// Binds one of the roles of the charts in this namespace.
async fn bind(dmz: &Dmz, user: &str, kind: &str, role: &str) -> Result<()> {
    let binding = json!({
        "metadata": {"name": format!("{user}-{role}").to_lowercase() + &kind.to_lowercase()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    dmz.put::<RoleBinding>(binding).await.map(drop)
}

/// A DMZ on which no operator looks yet, and the roles of the charts.
pub(crate) async fn unattended(hint: &str) -> Result<Dmz> {
    let dmz = Dmz::apart(hint).await?;
    for chart in ["operator", "relay"] {
        let rights = objects(chart, &dmz.namespace).await?;
        if chart == "operator" {
            apply::<ClusterRole>(&dmz.client, &rights).await?;
        }
        apply_in::<Role>(&dmz.client, &dmz.namespace, &rights).await?;
    }
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await?;
    Ok(dmz)
}

/// A DMZ that one operator has made, and which another one watches.
async fn pair(hint: &str, way: Option<&Proxy>) -> Result<(Dmz, Operator, Operator)> {
    let dmz = unattended(hint).await?;
    let url = way.map(|proxy| format!("https://{}", proxy.address));
    let one = Operator::start(&dmz, "one", url.as_deref()).await?;
    one.is_ready_and(true).await;
    dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    let two = Operator::start(&dmz, "two", None).await?;
    two.is_ready_and(false).await;
    one.is_ready_and(true).await;
    Ok((dmz, one, two))
}

pub(crate) async fn lease(dmz: &Dmz) -> Result<LeaseSpec> {
    dmz.api::<Lease>().get("postern-operator").await?.spec.context("a lease without a spec")
}

/// Every object that an operator writes, to the last octet: a write that changes nothing still shows.
pub(crate) fn all(dmz: &Dmz) -> Result<String> {
    let kinds = "relaydomains,relayhosts,filterpolicies,configmaps,secrets,networkpolicies";
    dmz.server.kubectl(&["get", kinds, "-n", &dmz.namespace, "-o", "yaml"])
}

/// Waits for the lease to be taken by this one, and says when it was.
async fn taken(dmz: &Dmz, identity: &str) -> Timestamp {
    eventually(&format!("{identity} holds the lease"), async || {
        let lease = lease(dmz).await?;
        ensure!(lease.holder_identity.as_deref() == Some(identity), "{lease:?}");
        Ok(lease.acquire_time.context("no acquireTime")?.0)
    })
    .await
}

fn within(limit: Duration, from: Timestamp, to: Timestamp) {
    let took = to.duration_since(from);
    assert!(took <= SignedDuration::try_from(limit).unwrap(), "{took:#}");
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_by_one_who_finds_nothing_to_write() -> Result<()> {
    let _stays = SERVER.read().await;
    let (dmz, mut one, two) = pair("killed", None).await?;
    let before = all(&dmz)?;
    assert!(!one.writes(&dmz)?.is_empty());
    assert_eq!(two.writes(&dmz)?, [""; 0], "only the leader writes");
    // In the middle between two renewals.
    let killed = eventually("a renewal is a second old", async || {
        let (renewed, now) = (lease(&dmz).await?.renew_time.context("no renewTime")?.0, Timestamp::now());
        ensure!(now.duration_since(renewed) >= SignedDuration::from_secs(1), "renewed at {renewed}");
        Ok(now)
    })
    .await;
    one.program.kill()?;
    let followed = taken(&dmz, "two").await;
    within(FAIL_OVER, killed, followed);
    assert_eq!(lease(&dmz).await?.lease_transitions, Some(1));

    two.is_ready_and(true).await;
    two.has_reconciled().await;
    assert_eq!(two.writes(&dmz)?, [""; 0], "all is as it should be");
    assert_eq!(all(&dmz)?, before);
    // And it does look after the DMZ.
    dmz.api::<RelayDomain>().delete("example", &kube::api::DeleteParams::default()).await?;
    eventually("the new leader writes", async || {
        ensure!(!two.writes(&dmz)?.is_empty());
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_told_to_end_hands_over_at_once_whoever_is_still_asking_it() -> Result<()> {
    let _stays = SERVER.read().await;
    let (dmz, mut one, two) = pair("stopped", None).await?;
    let mut asking = TcpStream::connect(("127.0.0.1", one.http))?;
    asking.write_all(b"GET /metrics HTTP/1.1\r\nHost: half-sent")?;
    let told = Timestamp::now();
    one.program.signal(Signal::TERM)?;
    let followed = taken(&dmz, "two").await;
    within(HAND_OVER, told, followed);
    let ended = one.program.wait(Duration::from_secs(10))?;
    assert!(ended.success(), "{ended}: {}", one.program.log());
    assert_eq!(lease(&dmz).await?.lease_transitions, Some(1));
    two.is_ready_and(true).await;

    // One that waits gives nothing back: it has nothing.
    let mut three = Operator::start(&dmz, "three", None).await?;
    three.is_ready_and(false).await;
    three.program.signal(Signal::TERM)?;
    assert!(three.program.wait(Duration::from_secs(10))?.success(), "{}", three.program.log());
    two.is_ready_and(true).await;
    assert_eq!(lease(&dmz).await?.lease_transitions, Some(1));
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_before_another_one_leads() -> Result<()> {
    let _stays = SERVER.read().await;
    let server = Dmz::apart("way").await?.server;
    let way = Proxy::start(server.address()?).await?;
    let (dmz, mut one, two) = pair("cut", Some(&way)).await?;
    way.cut();
    taken(&dmz, "two").await;
    let ended = one.program.ended()?.context("both lead at once")?;
    assert!(!ended.success(), "{ended}");
    assert!(one.program.log().contains("the lease is lost"), "{}", one.program.log());
    two.is_ready_and(true).await;
    Ok(())
}

#[tokio::test]
async fn an_operator_that_may_not_read_the_lease_is_not_ready_and_does_nothing_until_it_may() -> Result<()> {
    let _stays = SERVER.read().await;
    let dmz = unattended("unleased").await?;
    let user = format!("{}-one", dmz.namespace);
    let one = Operator::start_without_lease(&dmz, &user, "one", None).await?;
    eventually("it says what it waits for", async || {
        let ready = get(one.http, "/readyz").await?;
        ensure!(ready.starts_with("HTTP/1.0 503"), "{ready}");
        let log = one.program.log();
        ensure!(log.contains("cannot get resource \"leases\""), "{log}");
        Ok(())
    })
    .await;
    assert!(get(one.http, "/healthz").await?.starts_with("HTTP/1.0 200 OK"));
    assert_eq!(one.writes(&dmz)?, [""; 0]);
    bind(&dmz, &user, "Role", LEASE).await?;
    one.is_ready_and(true).await;
    one.has_reconciled().await;
    Ok(())
}
