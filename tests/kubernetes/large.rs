//! Settings that are too large for one ConfigMap.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use postern_crds::RelayDomain;
use postern_tests::relay::Relay;
use postern_wire::{PACKED_FILE, SETTINGS_FILE};
use serde_json::json;

use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::files::{files, mount, people, read};
use crate::woken::REMINDER;

async fn list(dmz: &Dmz, name: &str, number: usize) {
    let data = json!({"metadata": {"name": name}, "data": {"all": people(name, number, "contoso.test")}});
    dmz.put::<ConfigMap>(data).await.unwrap();
}

fn recipient(seed: &str) -> String {
    people(seed, 1, "contoso.test").trim().to_owned()
}

#[tokio::test]
async fn settings_take_further_config_maps_while_they_need_them_and_relays_obey_them_all() {
    let dmz = Dmz::new("large").await.unwrap();
    let lists = ["first", "second", "third", "fourth"];
    for name in lists {
        list(&dmz, name, 25_000).await;
    }
    let refs: Vec<_> = lists.iter().map(|name| json!({"name": name, "key": "all"})).collect();
    dmz.put::<postern_crds::FilterPolicy>(json!({"metadata": {"name": "default"}, "spec": {}})).await.unwrap();
    dmz.put::<postern_crds::RelayHost>(json!({"metadata": {"name": "exchange"}, "spec": {
        "endpoints": [{"host": {"address": "10.20.0.11", "port": 25}}],
    }}))
    .await
    .unwrap();
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "contoso"}, "spec": {
        "domains": ["contoso.test"], "deliverTo": [{"name": "exchange"}],
        "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": refs}}]},
    }}))
    .await
    .unwrap();

    let mut relay = Relay::prepare().unwrap();
    eventually("all is published in several parts", async || {
        let names: Vec<_> = files(&dmz).await?.into_iter().map(|(name, _)| name).collect();
        ensure!(names.contains(&"settings-2.json.zst".to_owned()), "{names:?}");
        let settings = mount(&dmz, &relay).await?;
        ensure!(settings.snapshot.domains.len() == 1, "no domain yet");
        Ok(())
    })
    .await;
    relay.start_again().unwrap();
    dmz.relay_pod("postern-relay-0", relay.http).await.unwrap();
    dmz.told::<RelayDomain>("contoso", "Ready", "True", "Ready").await;
    for name in lists {
        assert!(relay.answer(&recipient(name)).unwrap().starts_with("250"), "{name}");
    }

    let writes = dmz.settled().await;
    let last = |name: &str| writes.iter().rposition(|write| write.starts_with(&format!("patch configmaps/{name}")));
    let (parts, named) = (last("postern-settings-").unwrap(), last("postern-settings ").unwrap());
    assert!(parts < named, "the one that names the others is written last: {writes:?}");
    dmz.wake().await;
    assert_eq!(dmz.settled().await, writes, "a second look writes nothing");
    half_projected(&dmz, &relay).await.unwrap();

    // Three of the lists go: the parts that are not named any more go too, after the one that named them was written.
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "contoso"}, "spec": {
        "domains": ["contoso.test"], "deliverTo": [{"name": "exchange"}],
        "recipients": {"mode": "Verify", "verify": [{"list": {"configMapRefs": [{"name": "first", "key": "all"}]}}]},
    }}))
    .await
    .unwrap();
    eventually("one file is enough", async || {
        let names: Vec<_> = files(&dmz).await?.into_iter().map(|(name, _)| name).collect();
        ensure!(names == [SETTINGS_FILE], "{names:?}");
        mount(&dmz, &relay).await
    })
    .await;
    dmz.told::<RelayDomain>("contoso", "Ready", "True", "Ready").await;
    assert!(relay.answer(&recipient("first")).unwrap().starts_with("250"));
    assert!(relay.answer(&recipient("second")).unwrap().contains("550 5.1.1"));
    let writes = dmz.writes().unwrap();
    let (named, gone) = order(&writes).unwrap();
    assert!(named < gone, "{writes:?}");
}

/// A kubelet watches each of the parts on its own: woken, it may project some as they are and others as they were.
async fn half_projected(dmz: &Dmz, relay: &Relay) -> Result<()> {
    let reminder =
        async || anyhow::Ok(dmz.api::<Pod>().get("postern-relay-0").await?.annotations().get(REMINDER).cloned());
    let old = files(dmz).await?;
    list(dmz, "fourth", 25_001).await;
    let new = eventually("the change is published", async || {
        let new = files(dmz).await?;
        ensure!(read(&new)?.digest != read(&old)?.digest, "not yet");
        Ok(new)
    })
    .await;
    let parts =
        old.iter().filter(|(name, _)| name != PACKED_FILE).chain(new.iter().filter(|(name, _)| name == PACKED_FILE));
    let parts: Vec<_> = parts.map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    relay.volume.publish_files(&parts, &[])?;
    dmz.told::<RelayDomain>("contoso", "Programmed", "False", "RelayRejected").await;
    assert!(relay.answer(&recipient("first"))?.starts_with("250"), "the last good settings stay");
    let before = reminder().await?;
    eventually("the kubelet is woken again", async || {
        let now = reminder().await?;
        ensure!(now != before, "{now:?}");
        Ok(())
    })
    .await;
    mount(dmz, relay).await?;
    dmz.told::<RelayDomain>("contoso", "Ready", "True", "Ready").await;
    Ok(())
}

/// When the settings were last written, and when the first part of them was deleted.
fn order(writes: &[String]) -> Result<(usize, usize)> {
    let named = writes.iter().rposition(|write| write.starts_with("patch configmaps/postern-settings "));
    let gone = writes.iter().position(|write| write.starts_with("delete configmaps/postern-settings-"));
    Ok((named.context("never written")?, gone.context("nothing deleted")?))
}
