//! What DNS has answered outlives the operator: as an annotation on the policy that it feeds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use postern_crds::RelayHost;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::UdpSocket;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::leader::{Operator, SERVER, unattended};

const ANNOTATION: &str = "postern.io/dns-answers";

/// A name server that gives every name one address.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<[u8; 4]>>,
}

impl NameServer {
    pub(crate) async fn start(says: [u8; 4]) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let (address, says) = (socket.local_addr()?, Arc::new(Mutex::new(says)));
        let said = says.clone();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((octets, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..octets], *said.lock().unwrap());
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Ok(Self { address, says })
    }
}

/// RFC 1035, section 4.1: the question, and for an A its answer, to be asked again in five seconds.
fn answer(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let name_end = question[12..].iter().position(|octet| *octet == 0).unwrap() + 13;
    let is_a = question[name_end..name_end + 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 4]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address);
    }
    answer
}

/// Waits until exactly these addresses are open, and stand in the annotation.
async fn open(dmz: &Dmz, addresses: &[&str]) -> NetworkPolicy {
    eventually(&format!("open to {addresses:?}"), async || {
        let policy = dmz.api::<NetworkPolicy>().get("postern-host-named").await?;
        let egress = policy.spec.clone().unwrap_or_default().egress.unwrap_or_default();
        let blocks = egress.into_iter().flat_map(|rule| rule.to.unwrap_or_default()).filter_map(|peer| peer.ip_block);
        let found: Vec<String> = blocks.map(|block| block.cidr.trim_end_matches("/32").to_owned()).collect();
        ensure!(found == addresses, "{found:?}");
        let written = policy.annotations().get(ANNOTATION).context("no annotation")?;
        ensure!(addresses.iter().all(|address| written.contains(&format!("\"{address}\":\""))), "{written}");
        Ok(policy)
    })
    .await
}

#[tokio::test]
async fn a_restarted_operator_keeps_the_path_to_what_dns_has_answered_before() -> Result<()> {
    let _stays = SERVER.read().await;
    let server = NameServer::start([10, 20, 0, 1]).await?;
    let dmz = unattended("answers").await?;
    let host = json!({"endpoints": [{"host": {"address": "mail.corp.example"}}]});
    dmz.put::<RelayHost>(json!({"metadata": {"name": "named"}, "spec": host})).await?;
    let dns = [format!("--dns={}", server.address)];
    let mut one = Operator::start_alone(&dmz, "one", &dns).await?;
    open(&dmz, &["10.20.0.1"]).await;
    one.program.signal(Signal::TERM)?;
    assert!(one.program.wait(Duration::from_secs(10))?.success(), "{}", one.program.log());

    *server.says.lock().unwrap() = [10, 20, 0, 2];
    let mut two = Operator::start_alone(&dmz, "two", &dns).await?;
    let both = open(&dmz, &["10.20.0.1", "10.20.0.2"]).await;
    two.has_settled(&dmz).await;
    two.program.kill()?;

    // And one that finds everything as it should be writes nothing.
    let three = Operator::start_alone(&dmz, "three", &dns).await?;
    three.has_reconciled().await;
    let after = open(&dmz, &["10.20.0.1", "10.20.0.2"]).await;
    assert_eq!(after.resource_version(), both.resource_version());
    assert_eq!(three.writes(&dmz)?, [""; 0]);
    Ok(())
}
