//! An operator for one namespace, with rights in that namespace only: started anew on a DMZ that is as it should be; and
//! what it says of the nodes, which it does not know.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_tests::chart;
use postern_tests::program::Program;
use rustix::process::Signal;
use serde_json::json;

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::leader::{Operator, SERVER, unattended};
use crate::manifests::apply_in;
use crate::operator::{command_line, get};
use crate::process::free_port;
use crate::programmed::{Answers, enforcing, published};

const NARROW: &str = "system:serviceaccount:postern-system:narrow";

/// What the operator's chart gives it when it is told which namespaces, and what the relay's chart gives it there.
async fn admit(dmz: &Dmz) -> Result<()> {
    let namespace = dmz.namespace.clone();
    let values = json!({"namespaces": [&namespace], "serviceAccount": {"name": "narrow"}});
    let render = move || chart::objects("operator", "postern-system", &values);
    let mut rights = tokio::task::spawn_blocking(render).await??;
    rights.retain(|object| object["metadata"]["namespace"] == *namespace);
    apply_in::<Role>(&dmz.client, &namespace, &rights).await?;
    apply_in::<RoleBinding>(&dmz.client, &namespace, &rights).await?;
    // The namespace's own Role is there, for another operator: it is bound to this one too.
    let binding = json!({
        "metadata": {"name": "narrow"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "postern-operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "narrow", "namespace": "postern-system"}],
    });
    dmz.put::<RoleBinding>(binding).await.map(drop)
}

#[tokio::test]
async fn an_operator_of_one_namespace_needs_no_right_beyond_finds_nothing_to_write_and_ends_when_told() -> Result<()> {
    let dmz = Dmz::new("narrow").await?;
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await?;
    dmz.told::<RelayDomain>("example", "Programmed", "False", "NoRelay").await;
    dmz.settled().await;
    admit(&dmz).await?;

    let server = ApiServer::shared();
    let http = free_port()?;
    let mut command = Command::new("env");
    command.args(command_line("narrow", NARROW, http)?).arg(format!("--namespace={}", dmz.namespace));
    let mut operator = Program::start(&mut command, &server.file("narrow.log"))?;
    eventually("it has reconciled", async || {
        let metrics = get(http, "/metrics").await?;
        ensure!(metrics.contains("postern_operator_reconciles_total{result=\"done\"}"), "{metrics}");
        Ok(())
    })
    .await;
    let requests = server.requests(NARROW, &dmz.namespace)?;
    assert!(
        requests.iter().all(|request| request.starts_with("list ") || request.starts_with("watch ")),
        "{requests:?}"
    );
    assert!(requests.iter().all(|request| request.ends_with(" 200")), "{requests:?}");
    let listed = requests.iter().filter(|request| request.starts_with("list ")).count();
    assert_eq!(listed, 9, "one list for each kind: {requests:?}");
    assert_eq!(server.requests(NARROW, "")?, [""; 0], "nothing is asked of the cluster");

    operator.signal(Signal::TERM)?;
    let ended = operator.wait(Duration::from_secs(25))?;
    assert!(ended.success(), "{ended}: {}", operator.log());
    Ok(())
}

#[tokio::test]
async fn an_operator_that_lists_no_nodes_says_so_where_sources_are() -> Result<()> {
    let _stays = SERVER.read().await;
    let dmz = unattended("nodeless").await?;
    let _operator = Operator::start_alone(&dmz, "one", &[]).await?;
    let relay = Answers::start(serde_json::to_string(&enforcing(&published(&dmz).await))?).await;
    dmz.relay_pod("postern-relay-0", relay.address).await?;
    eventually("the relay enforces all of it", async || {
        relay.say(&enforcing(&published(&dmz).await));
        let ready = dmz.condition::<RelayDomain>("example", "Ready").await?;
        ensure!(ready["status"] == "True", "{ready}");
        Ok(())
    })
    .await;
    let source = dmz.told::<RelayHost>("application", "Ready", "True", "Ready").await;
    assert!(source.contains("spec.sources may have addresses of nodes, which are not known"), "{source}");
    let target = dmz.told::<RelayHost>("mailbox-server", "Ready", "True", "Ready").await;
    assert!(!target.contains("nodes"), "{target}");
    let policy = dmz.told::<FilterPolicy>("default", "Ready", "True", "Ready").await;
    assert!(
        policy.contains("which addresses are nodes' is not known") && policy.contains("--never-source"),
        "{policy}"
    );
    Ok(())
}
