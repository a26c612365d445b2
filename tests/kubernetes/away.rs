//! The API server goes away, and comes back: relays and operators go on, nothing flaps, and nothing is written but what is new.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_crds::RelayDomain;
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::leader::{Operator, SERVER, all, lease, unattended};
use crate::programmed::{Answers, enforcing, published};

/// With the time that a leader needs to give up it is longer than a lease holds.
const AWAY: Duration = Duration::from_secs(10);

/// A relay that enforces all that is published.
async fn obeyed(dmz: &Dmz, operator: &Operator) -> Result<Answers> {
    let relay = Answers::start(serde_json::to_string(&enforcing(&published(dmz).await))?).await;
    dmz.relay_pod("postern-relay-0", relay.address).await?;
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    operator.has_settled(dmz).await;
    Ok(relay)
}

async fn takes_a_change(dmz: &Dmz) -> Result<()> {
    let domain = json!({
        "domains": ["after.example"], "deliverTo": [{"name": "mailbox-server"}], "recipients": {"mode": "AcceptAll"},
    });
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "after"}, "spec": domain})).await?;
    dmz.told::<RelayDomain>("after", "Accepted", "True", "Accepted").await;
    Ok(())
}

#[tokio::test]
async fn after_an_api_server_was_away_nothing_is_written_but_what_is_new() -> Result<()> {
    let _alone = SERVER.write().await;
    let lone = unattended("lone").await?;
    let mut lone_operator = Operator::start_alone(&lone, "one", &[]).await?;
    let _relay = obeyed(&lone, &lone_operator).await?;
    let led = unattended("led").await?;
    let mut one = Operator::start(&led, "one", None).await?;
    let _other_relay = obeyed(&led, &one).await?;
    let two = Operator::start(&led, "two", None).await?;
    two.is_ready_and(false).await;
    let objects = (all(&lone)?, all(&led)?);
    let writes = (lone_operator.writes(&lone)?, one.writes(&led)?);

    lone.server.stop();
    let ended = one.program.wait(Duration::from_secs(30))?;
    assert!(!ended.success(), "a leader that cannot renew its lease goes on: {ended}");
    // As a kubelet would.
    let one = Operator::start_again(&led, "one")?;
    tokio::time::sleep(AWAY).await;
    lone.server.start_again()?;
    lone.server.ready().await?;

    let holder = eventually("the lease is renewed again", async || {
        let before = lease(&led).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = lease(&led).await?;
        ensure!(before.renew_time != now.renew_time, "{now:?}");
        now.holder_identity.context("no holder")
    })
    .await;
    if holder == "one" { &one } else { &two }.leads().await;
    assert_eq!(one.writes(&led)?, writes.1, "whoever leads finds nothing to write");
    assert_eq!(two.writes(&led)?, [""; 0], "whoever leads finds nothing to write");
    lone_operator.has_settled(&lone).await;
    assert_eq!(lone_operator.writes(&lone)?, writes.0);
    assert_eq!((all(&lone)?, all(&led)?), objects);

    takes_a_change(&lone).await?;
    takes_a_change(&led).await?;
    ensure!(lone_operator.program.ended()?.is_none(), "{}", lone_operator.program.log());
    Ok(())
}
