//! From YAML to the mailbox server: objects applied to the API server, the real operator, and a real relay that is fed from
//! the ConfigMap and the Secret read back. The test does what a kubelet would: it mounts, and registers the pod.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_tests::relay::Relay;
use postern_tests::sink::Sink;
use postern_wire::{SETTINGS_FILE, SettingsFile};
use serde_json::json;

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nIt works.\r\n";

/// An address of this machine that is not a loopback one: those are refused as targets in a cluster. Nothing is sent:
/// connecting a UDP socket only asks for the route, and what is sent to such an address never leaves the machine.
pub(crate) fn own_address() -> SocketAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").expect("this machine has an address besides the loopback ones");
    let ip = socket.local_addr().unwrap().ip();
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// What a kubelet does: the ConfigMap and the Secret as the files of one volume. Answers the settings.
async fn mount(dmz: &Dmz, relay: &Relay) -> Result<SettingsFile> {
    let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
    let text = map.data.unwrap_or_default().remove(SETTINGS_FILE).unwrap_or_default();
    let secret = dmz.api::<Secret>().get("postern-secrets").await?;
    let files = secret.data.unwrap_or_default();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.0.as_slice())).collect();
    relay.volume.publish_text(&text, &files)?;
    Ok(SettingsFile::from_json(text.as_bytes())?)
}

/// A host whose certificate must come from an authority that stands in a Secret.
async fn verified_host(dmz: &Dmz, address: SocketAddr) {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    dmz.put::<Secret>(
        json!({"metadata": {"name": "corp-ca"}, "stringData": {"ca.crt": authority, "else": "not asked for"}}),
    )
    .await
    .unwrap();
    dmz.put::<RelayHost>(json!({"metadata": {"name": "verified"}, "spec": {
        "endpoints": [{"host": {"address": address.ip().to_string(), "port": address.port()}}],
        "tls": {"verification": "Verified", "serverName": "mail.corp.example", "caSecretRef": {"name": "corp-ca", "key": "ca.crt"}},
    }}))
    .await
    .unwrap();
}

#[tokio::test]
async fn a_message_passes_a_relay_that_obeys_what_the_operator_wrote() {
    let dmz = Dmz::new("end-to-end").await.unwrap();
    let address = own_address();
    let sink = Sink::listen(address).unwrap();
    dmz.quickstart(address).await.unwrap();
    verified_host(&dmz, address).await;

    let mut relay = Relay::prepare().unwrap();
    let file = eventually("all is published", async || {
        let file = mount(&dmz, &relay).await?;
        let counts = [file.snapshot.domains.len(), file.snapshot.hosts.len(), file.snapshot.policies.len()];
        ensure!(counts == [1, 4, 1], "{counts:?}");
        Ok(file)
    })
    .await;
    let secret = dmz.api::<Secret>().get("postern-secrets").await.unwrap().data.unwrap();
    assert_eq!(secret.len(), 1, "only the key that is referred to: {:?}", secret.keys());
    relay.start_again().unwrap();
    dmz.relay_pod("postern-relay-0", relay.http).await.unwrap();

    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    dmz.told::<RelayHost>("verified", "Ready", "True", "Ready").await;
    dmz.told::<FilterPolicy>("default", "Ready", "True", "Ready").await;
    let row = ApiServer::shared().kubectl(&["get", "rd", "example", "-n", &dmz.namespace, "--no-headers"]).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>()[2..5], ["mailbox-server", "True", "1/1"], "{row}");

    relay.client().unwrap().mail("someone@elsewhere.example", &["alice@example.com"], MESSAGE).unwrap();
    let mails = sink.wait_for_mails(1, Duration::from_secs(30)).unwrap();
    assert_eq!(mails[0].recipients, ["<alice@example.com>"]);
    assert!(String::from_utf8_lossy(&mails[0].content).ends_with("\r\nSubject: hello\r\n\r\nIt works.\r\n"));
    assert!(relay.answer("dora@example.com").unwrap().contains("550 5.1.1"));
    assert!(relay.answer("someone@other.example").unwrap().contains("550 5.7.1"));

    // A recipient more: told only when the relay takes it.
    let recipients = json!({"metadata": {"name": "example-recipients"}, "data": {"addresses": "dora@example.com\n"}});
    dmz.put::<ConfigMap>(recipients).await.unwrap();
    dmz.told::<RelayDomain>("example", "Programmed", "False", "Pending").await;
    assert!(relay.answer("dora@example.com").unwrap().contains("550 5.1.1"));
    assert_ne!(mount(&dmz, &relay).await.unwrap().digest, file.digest);
    dmz.told::<RelayDomain>("example", "Ready", "True", "Ready").await;
    assert!(relay.answer("dora@example.com").unwrap().starts_with("250"));

    let objects: BTreeMap<String, String> = status(&relay);
    assert_eq!(
        objects.keys().map(String::as_str).collect::<Vec<_>>(),
        ["application", "default", "example", "mailbox-server", "smarthost", "verified"]
    );
}

/// Each object that the relay reports, and its uid.
fn status(relay: &Relay) -> BTreeMap<String, String> {
    let (code, body) = relay.get("/status").unwrap();
    assert_eq!(code, 200, "{body}");
    let status: postern_wire::Status = serde_json::from_str(&body).unwrap();
    status.objects.into_iter().map(|object| (object.name, object.uid)).collect()
}
