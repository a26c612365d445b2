//! `Programmed`: what relay pods report at their status port, and what becomes of it. The relay here is a stand-in that
//! says what a test wants it to; `end_to_end.rs` has the real one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_wire::status::Object;
use postern_wire::{SCHEMA, SETTINGS_FILE, Section, SettingsFile, Status};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cluster::eventually;
use crate::dmz::Dmz;

/// Answers every request with the same body.
pub(crate) struct Answers {
    pub(crate) address: SocketAddr,
    body: Arc<Mutex<String>>,
}

impl Answers {
    pub(crate) async fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let body = Arc::new(Mutex::new(body));
        let shared = body.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let body = shared.lock().unwrap().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        Self { address, body }
    }

    pub(crate) fn say(&self, status: &Status) {
        *self.body.lock().unwrap() = serde_json::to_string(status).unwrap();
    }
}

/// The settings that the operator has published.
pub(crate) async fn published(dmz: &Dmz) -> SettingsFile {
    let read = async || {
        let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
        let text = map.data.unwrap_or_default().remove(SETTINGS_FILE).unwrap_or_default();
        let file = SettingsFile::from_json(text.as_bytes())?;
        anyhow::ensure!(
            !file.snapshot.domains.is_empty() && !file.snapshot.policies.is_empty(),
            "not all is there yet"
        );
        Ok(file)
    };
    eventually("settings are published", read).await
}

/// What a relay says that enforces all of them.
pub(crate) fn enforcing(file: &SettingsFile) -> Status {
    fn objects<T>(kind: &str, sections: &[Section<T>]) -> Vec<Object> {
        let object = |section: &Section<T>| Object {
            kind: kind.to_owned(),
            name: section.name.clone(),
            uid: section.uid.clone(),
            generation: section.generation,
            digest: section.digest.clone(),
            fault: None,
        };
        sections.iter().map(object).collect()
    }
    let snapshot = &file.snapshot;
    let mut all = objects("RelayDomain", &snapshot.domains);
    all.extend(objects("RelayHost", &snapshot.hosts));
    all.extend(objects("FilterPolicy", &snapshot.policies));
    let (version, settings) = ("0.1.0".to_owned(), Some(file.digest.clone()));
    Status {
        version,
        schema: SCHEMA,
        settings,
        rejected: None,
        objects: all,
        faults_only: false,
        names: Vec::new(),
        queue: None,
        draining: false,
        isolation: None,
    }
}

pub(crate) async fn small_dmz(hint: &str) -> Dmz {
    let dmz = Dmz::new(hint).await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    // It names all the others: from here on the settings do not change by themselves.
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    dmz
}

#[tokio::test]
async fn a_changed_config_map_is_programmed_only_when_the_relay_reports_the_sections_new_digest() {
    let dmz = small_dmz("programmed").await;
    let first = published(&dmz).await;
    let relay = Answers::start(serde_json::to_string(&enforcing(&first)).unwrap()).await;
    dmz.relay_pod("postern-relay-0", relay.address).await.unwrap();
    let message = dmz.told::<RelayDomain>("example", "Programmed", "True", "Programmed").await;
    assert_eq!(message, "1/1 relays");
    dmz.told::<FilterPolicy>("default", "Ready", "True", "Ready").await;

    let recipients = json!({"metadata": {"name": "example-recipients"}, "data": {"addresses": "dora@example.com\n"}});
    dmz.put::<ConfigMap>(recipients).await.unwrap();
    let message = dmz.told::<RelayDomain>("example", "Programmed", "False", "Pending").await;
    assert!(
        message.contains("0/1 relays: postern-relay-0 still enforces this generation with older content"),
        "{message}"
    );
    dmz.told::<FilterPolicy>("default", "Programmed", "True", "Programmed").await;

    let second = published(&dmz).await;
    assert_ne!(second.digest, first.digest);
    relay.say(&enforcing(&second));
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;

    // The kubelet is woken by an annotation that follows the settings.
    let pod = dmz.api::<Pod>().get("postern-relay-0").await.unwrap();
    assert_eq!(pod.annotations()["postern.io/settings-digest"], second.digest.as_str());
}

#[tokio::test]
async fn a_relay_that_refuses_or_faults_or_does_not_answer_is_named_with_its_reason() {
    let dmz = small_dmz("refusing").await;
    let file = published(&dmz).await;
    let mut status = enforcing(&file);
    for object in &mut status.objects {
        if object.name == "example" {
            object.fault = Some("its list is not of this world".to_owned());
        }
    }
    let relay = Answers::start(serde_json::to_string(&status).unwrap()).await;
    dmz.relay_pod("relay", relay.address).await.unwrap();
    let message = dmz.told::<RelayDomain>("example", "Programmed", "False", "RelayRejected").await;
    assert_eq!(message, "0/1 relays: relay: its list is not of this world");
    dmz.told::<FilterPolicy>("default", "Programmed", "True", "Programmed").await;

    relay.say(&Status { rejected: Some("half a file".to_owned()), objects: Vec::new(), settings: None, ..status });
    dmz.says::<RelayDomain>("example", "Programmed", "0/1 relays: relay: half a file").await;
    dmz.told::<FilterPolicy>("default", "Programmed", "False", "RelayRejected").await;

    *relay.body.lock().unwrap() = "<html>".to_owned();
    let message = dmz.told::<RelayDomain>("example", "Programmed", "Unknown", "RelayUnreachable").await;
    assert!(message.contains(&format!("http://{}/status", relay.address)), "{message}");
    *relay.body.lock().unwrap() = "[".repeat(9 << 20);
    dmz.says::<RelayDomain>("example", "Programmed", "length limit exceeded").await;
}

#[tokio::test]
async fn settings_are_written_for_the_oldest_relay_and_who_needs_a_newer_one_is_told() {
    let dmz = small_dmz("skew").await;
    let first = published(&dmz).await;
    let newer = Answers::start(serde_json::to_string(&enforcing(&first)).unwrap()).await;
    let older = Answers::start(serde_json::to_string(&Status { schema: 1, ..enforcing(&first) }).unwrap()).await;
    dmz.relay_pod("postern-relay-0", newer.address).await.unwrap();
    dmz.relay_pod("postern-relay-1", older.address).await.unwrap();
    let limited = json!({"metadata": {"name": "smarthost"}, "spec": {
        "endpoints": [{"host": {"address": "10.20.0.12"}}], "limits": {"connections": 2},
    }});
    dmz.put::<RelayHost>(limited).await.unwrap();
    let message = dmz.told::<RelayHost>("smarthost", "Programmed", "False", "RelayTooOld").await;
    assert!(message.starts_with("spec.limits.connections: not every relay understands this"), "{message}");
    dmz.told::<RelayDomain>("example", "Programmed", "False", "RelayTooOld").await;
    let in_schema = async |schema: u32| {
        eventually(&format!("settings of schema {schema}"), async || {
            let file = published(&dmz).await;
            anyhow::ensure!(file.schema == schema, "they have schema {}", file.schema);
            Ok(file)
        })
        .await
    };
    let second = in_schema(1).await;
    for relay in [&newer, &older] {
        relay.say(&Status { schema: 1, ..enforcing(&second) });
    }
    dmz.told::<RelayHost>("mailbox-server", "Programmed", "True", "Programmed").await;
    dmz.told::<RelayHost>("smarthost", "Programmed", "False", "RelayTooOld").await;

    // The relays are upgraded.
    for relay in [&newer, &older] {
        relay.say(&enforcing(&second));
    }
    let third = in_schema(SCHEMA).await;
    for relay in [&newer, &older] {
        relay.say(&enforcing(&third));
    }
    dmz.told::<RelayHost>("smarthost", "Ready", "True", "Ready").await;
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
}
