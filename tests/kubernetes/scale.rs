//! Ten thousand RelayDomains in one namespace: what the operator needs for them, and how soon a change is enforced.
//!
//! A program of its own, with an API server of its own: the other tests shall not wait for it. It prints what it measured;
//! `cargo test --release --test scale -- --nocapture` shows what a user would see. The bounds asserted of a debug build, which
//! a busy machine makes slower still, are wider.
#![expect(clippy::unwrap_used, reason = "a test may fail with a panic")]
#![allow(dead_code, reason = "of what the tests with an API server share, this one needs a part")]

mod api_server;
mod certificates;
mod cluster;
mod dmz;
mod files;
mod manifests;
mod operator;
mod process;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::stream::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_tests::clock::now;
use postern_tests::program::Program;
use postern_tests::relay::Relay;
use postern_tests::usage;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::api_server::ApiServer;
use crate::cluster::{admin, namespace};
use crate::dmz::{Dmz, crds};
use crate::files::{mount, people};
use crate::operator::{USER, admit, command_line, objects};
use crate::process::free_port;

const DOMAINS: usize = 10_000;
/// Recipients of each.
const PEOPLE: usize = 3;
/// Addresses of the one large list.
const LISTED: usize = 50_000;
/// Requests of the test under way.
const AT_ONCE: usize = 32;
/// Of the operator, resident, without its own file.
const MEMORY_MAX: u64 = 256 << 20;
/// From a change to the relay that enforces it; 5 s are promised, of a release build that has the machine for itself.
const ENFORCED_WITHIN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 });
const ALL_TOLD_WITHIN: Duration = Duration::from_secs(600);

fn name(number: usize) -> String {
    format!("d-{number:05}")
}

fn domain(number: usize, addresses: &[String]) -> RelayDomain {
    let name = name(number);
    serde_json::from_value(json!({
        "apiVersion": "postern.io/v1alpha1", "kind": "RelayDomain", "metadata": {"name": name},
        "spec": {
            "domains": [format!("{name}.test")], "deliverTo": [{"name": "exchange"}],
            "recipients": {"mode": "Verify", "verify": [{"list": {"addresses": addresses}}]},
        },
    }))
    .unwrap()
}

fn recipients(number: usize, how_many: usize) -> Vec<String> {
    let domain = format!("{}.test", name(number));
    people(&domain, how_many, &domain).lines().map(str::to_owned).collect()
}

/// A namespace with all of it, and no operator yet.
async fn filled() -> Result<Dmz> {
    let client = admin().await?;
    crds(&client).await?;
    apply_rights(&client).await?;
    let dmz = Dmz { server: ApiServer::shared(), namespace: namespace(&client, "scale").await?, client };
    admit(&dmz.client, &dmz.namespace).await?;
    dmz.anchor("postern-relay").await?;
    dmz.put::<FilterPolicy>(json!({"metadata": {"name": "default"}, "spec": {}})).await?;
    let endpoint = json!({"host": {"address": "10.20.0.11", "port": 25}});
    dmz.put::<RelayHost>(json!({"metadata": {"name": "exchange"}, "spec": {"endpoints": [endpoint]}})).await?;
    let listed: String = people("big", LISTED, "big.test").lines().map(|line| format!("{}\n", &line[14..])).collect();
    dmz.put::<ConfigMap>(json!({"metadata": {"name": "big"}, "data": {"all": listed}})).await?;
    let big = json!({
        "domains": ["big.test"], "deliverTo": [{"name": "exchange"}],
        "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "big", "key": "all"}]}}]},
    });
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "big"}, "spec": big})).await?;
    let api = dmz.api::<RelayDomain>();
    futures::stream::iter(0..DOMAINS)
        .map(|number| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &domain(number, &recipients(number, PEOPLE))).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok(dmz)
}

async fn apply_rights(client: &kube::Client) -> Result<()> {
    let rights = objects("operator", "postern-system").await?;
    manifests::apply::<ClusterRole>(client, &rights).await?;
    manifests::apply::<ClusterRoleBinding>(client, &rights).await
}

/// What a kubelet does: whenever the settings have another digest, their files are put into the relay's volume.
fn kubelet(dmz: &Arc<Dmz>, relay: &Arc<Relay>) -> JoinHandle<()> {
    let (dmz, relay) = (dmz.clone(), relay.clone());
    tokio::spawn(async move {
        let mut mounted = None;
        loop {
            let digest = dmz.api::<ConfigMap>().get_metadata("postern-settings").await.ok();
            let digest = digest.and_then(|map| map.metadata.annotations?.remove("postern.io/settings-digest"));
            // Parts of two generations are no settings: the next look finds them whole.
            if digest.is_some() && digest != mounted && mount(&dmz, &relay).await.is_ok() {
                mounted = digest;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

/// How many domains are ready.
async fn ready(dmz: &Dmz) -> Result<usize> {
    let domains = dmz.api::<RelayDomain>().list(&ListParams::default()).await?;
    let is_ready = |domain: &RelayDomain| {
        let conditions = domain.status.iter().flat_map(|status| &status.conditions);
        let ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
        ready.count() == 1
    };
    Ok(domains.items.iter().filter(|domain| is_ready(domain)).count())
}

async fn within(time: Duration, what: &str, holds: impl AsyncFn() -> Result<()>) -> Duration {
    let begun = now();
    loop {
        match holds().await {
            Ok(()) => return begun.elapsed(),
            Err(error) => assert!(begun.elapsed() < time, "not within {time:?}: {what}: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The writes that the operator has made, once it makes no more; without events, which it goes on telling for a while.
async fn settled(dmz: &Dmz) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let mut writes = dmz.writes().unwrap();
        writes.retain(|write| !write.starts_with("create events"));
        if writes == before {
            return writes;
        }
        before = writes;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn takes(relay: &Relay, recipient: &str) -> Result<()> {
    let mut client = relay.client()?;
    client.say("EHLO client.test", 250)?;
    client.say("MAIL FROM:<someone@elsewhere.example>", 250)?;
    let answer = client.ask(&format!("RCPT TO:<{recipient}>"))?.to_string();
    ensure!(answer.starts_with("250"), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_domains_fit_and_a_change_of_one_is_enforced_soon_and_told_to_it_alone() {
    let begun = now();
    let dmz = Arc::new(filled().await.unwrap());
    println!("{DOMAINS} domains created in {:.1?}", begun.elapsed());

    let mut command = Command::new("env");
    command.args(command_line("scale", USER, free_port().unwrap()).unwrap());
    command.arg(format!("--namespace={}", dmz.namespace));
    let begun = now();
    let operator = Program::start(&mut command, &ApiServer::shared().file("operator.log")).unwrap();
    let mut relay = Relay::prepare().unwrap();
    within(ALL_TOLD_WITHIN, "everything is published", async || {
        let settings = mount(&dmz, &relay).await?;
        ensure!(settings.snapshot.domains.len() == DOMAINS + 1, "{} domains", settings.snapshot.domains.len());
        Ok(())
    })
    .await;
    println!("published {:.1?} after the operator's start", begun.elapsed());
    let files = files::files(&dmz).await.unwrap();
    let sizes: Vec<_> = files.iter().map(|(name, content)| format!("{name} {} KiB", content.len() >> 10)).collect();
    println!("{}", sizes.join(", "));
    assert!(files.iter().any(|(name, _)| name == "settings-2.json.zst"), "the parts are used: {sizes:?}");
    relay.start_again().unwrap();
    dmz.relay_pod("postern-relay-0", relay.http).await.unwrap();
    let relay = Arc::new(relay);
    let kubelet = kubelet(&dmz, &relay);
    within(ALL_TOLD_WITHIN, "everyone is told", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ready = ready(&dmz).await?;
        ensure!(ready == DOMAINS + 1, "{ready} are ready");
        Ok(())
    })
    .await;
    println!("all told {:.1?} after the operator's start", begun.elapsed());

    let before = settled(&dmz).await.len();
    for number in [DOMAINS / 2, 7, DOMAINS - 1] {
        let took = change(&dmz, &relay, number).await.unwrap();
        println!("a recipient more was accepted {took:.2?} after the change");
        assert!(took < ENFORCED_WITHIN, "{took:?}");
    }
    let writes = settled(&dmz).await.split_off(before);
    let told: Vec<_> = writes.iter().filter(|write| write.contains("/status")).collect();
    println!("three changes made {} writes, {} of them statuses", writes.len(), told.len());
    let changed = [name(DOMAINS / 2), name(7), name(DOMAINS - 1)];
    let known = |write: &str| changed.iter().any(|name| write.contains(name)) || write.contains("pods/");
    assert!(told.iter().all(|write| known(write)), "{told:?}");
    assert!(told.len() <= 12, "{told:?}");

    let used = usage::of(operator.pid()).unwrap();
    // A debug build maps some times more of itself than what is shipped: the program's own file does not count here.
    let mapped = usage::of_files(operator.pid()).unwrap();
    let (peak, now, mapped) = (used.resident_peak >> 20, used.resident >> 20, mapped >> 20);
    println!(
        "the operator has {now} MiB, had {peak} MiB at most, {mapped} MiB of its own file; {:.1?} of a processor",
        used.cpu
    );
    assert!((peak - mapped) << 20 <= MEMORY_MAX, "{peak} MiB, {mapped} MiB of them its own file");
    kubelet.abort();
}

/// Gives a domain one recipient more; how long until the relay takes mail for it.
async fn change(dmz: &Dmz, relay: &Relay, number: usize) -> Result<Duration> {
    let all = recipients(number, PEOPLE + 1);
    let new = all.last().context("a recipient")?.clone();
    ensure!(takes(relay, &new).is_err(), "{new} is known already");
    let spec = json!({"spec": {"recipients": {"verify": [{"list": {"addresses": all}}]}}});
    dmz.api::<RelayDomain>().patch(&name(number), &PatchParams::default(), &Patch::Merge(&spec)).await?;
    let took = within(ENFORCED_WITHIN, "the new recipient", async || takes(relay, &new)).await;
    within(ENFORCED_WITHIN, "the domain is told", async || {
        let told = dmz.condition::<RelayDomain>(&name(number), "Ready").await?;
        ensure!(told["status"] == "True", "{told}");
        Ok(())
    })
    .await;
    Ok(took)
}
