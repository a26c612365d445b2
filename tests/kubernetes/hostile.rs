//! What whoever may write objects in a DMZ, or has taken over a relay, must not get: rows L of the catalogue of hostile
//! inputs. L4 is tested in `large.rs` and in the operator's unit tests, L6 in `rights.rs` and tests/charts, L7 in
//! tests/charts, L10 in the relay's tests of its reload.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_wire::status::Isolation;
use postern_wire::{SETTINGS_FILE, SettingsFile, Status};
use serde_json::{Value, json};

use crate::answers::NameServer;
use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::leader::{Operator, SERVER, unattended};
use crate::operator;
use crate::programmed::{Answers, enforcing, published};

/// A password, and what somebody would look for to find it in base64.
const PASSWORD: (&str, &str) = ("s3same \"{{ open }}\" ${HOME} `id` \\n %0a", "czNzYW1lICJ7eyBvcGVu");
/// A condition's message is cut behind so many characters and an ellipsis.
const MESSAGE_CHARS_MAX: usize = 2002;

fn domain(name: &str, domains: &[&str], host: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "domains": domains, "deliverTo": [{"name": host}], "recipients": {"mode": "AcceptAll"},
    }})
}

fn host(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"endpoints": [{"host": {"address": address, "port": 25}}]}})
}

async fn settings(dmz: &Dmz) -> Result<SettingsFile> {
    let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
    let text = map.data.context("no data")?.remove(SETTINGS_FILE).context("no settings")?;
    Ok(SettingsFile::from_json(text.as_bytes())?)
}

/// Who holds each name that is served.
async fn holders(dmz: &Dmz) -> Result<Vec<(String, String)>> {
    let domains = settings(dmz).await?.snapshot.domains;
    let names = domains.iter().flat_map(|section| section.spec.names.iter().map(|name| (name, &section.name)));
    let mut all: Vec<_> = names.map(|(name, object)| (name.clone(), object.clone())).collect();
    all.sort();
    Ok(all)
}

#[tokio::test]
async fn l1_a_name_stays_its_holders_however_else_it_is_written_and_whoever_reads_it_anew() {
    let _stays = SERVER.read().await;
    let dmz = unattended("impostors").await.unwrap();
    dmz.put::<RelayHost>(host("evil", "10.66.0.66")).await.unwrap();
    let held = ["bücher.example", "victim.example"];
    dmz.put::<RelayDomain>(domain("victim", &held, "mailbox-server")).await.unwrap();
    let mut one = Operator::start_alone(&dmz, "one", &[]).await.unwrap();
    eventually("the victim's names are served", async || {
        let holders = holders(&dmz).await?;
        ensure!(holders.iter().filter(|(_, object)| object == "victim").count() == 2, "{holders:?}");
        Ok(())
    })
    .await;
    // Ages are told in whole seconds, and of the same age the name decides.
    tokio::time::sleep(Duration::from_millis(1100)).await;

    let ways = ["victim.example", "VICTIM.Example", "victim.example.", "xn--bcher-kva.example", "BÜCHER.example"];
    let mut taken = Vec::new();
    for (number, way) in ways.iter().enumerate() {
        // Before the victim in every list.
        let name = format!("a-{number}");
        if dmz.put::<RelayDomain>(domain(&name, &[way], "evil")).await.is_ok() {
            taken.push(name);
        }
    }
    assert!(!taken.is_empty(), "the API server has taken none of them");
    // What is below a name, or a wildcard for it, is another name.
    dmz.put::<RelayDomain>(domain("b-below", &["x.victim.example", "*.victim.example"], "evil")).await.unwrap();
    let check = async || {
        for name in &taken {
            let message = dmz.told::<RelayDomain>(name, "Accepted", "False", "Conflicted").await;
            assert!(message.contains("RelayDomain"), "{message}");
        }
        let holders = holders(&dmz).await.unwrap();
        let name = |name: &str| holders.iter().find(|(held, _)| held == name).map(|(_, object)| object.as_str());
        assert_eq!((name("victim.example"), name("xn--bcher-kva.example")), (Some("victim"), Some("victim")));
        assert_eq!((name("x.victim.example"), name("*.victim.example")), (Some("b-below"), Some("b-below")));
        assert!(holders.iter().all(|(_, object)| !taken.contains(object)), "{holders:?}");
    };
    check().await;
    one.program.kill().unwrap();
    let two = Operator::start_alone(&dmz, "two", &[]).await.unwrap();
    two.has_reconciled().await;
    check().await;
    let writes = two.writes(&dmz).unwrap();
    assert!(!writes.iter().any(|write| write.contains("configmaps/")), "{writes:?}");
}

/// Everything in the DMZ that is no Secret, and what the operator says elsewhere, as text.
async fn said(dmz: &Dmz) -> String {
    let list = ListParams::default();
    let client = &dmz.client;
    let mut all = String::new();
    for kind in ["relaydomains", "relayhosts", "filterpolicies"] {
        let path = format!("/apis/postern.io/v1alpha1/namespaces/{}/{kind}", dmz.namespace);
        all += &client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
    }
    all += &serde_json::to_string(&dmz.api::<ConfigMap>().list(&list).await.unwrap().items).unwrap();
    all += &serde_json::to_string(&dmz.api::<NetworkPolicy>().list(&list).await.unwrap().items).unwrap();
    all += &serde_json::to_string(&dmz.api::<Event>().list(&list).await.unwrap().items).unwrap();
    all += &fs::read_to_string(ApiServer::shared().file("operator.log")).unwrap();
    all + &operator::get(operator::running(client).await.unwrap().http, "/metrics").await.unwrap()
}

#[tokio::test]
async fn l2_and_l5_a_secret_is_published_to_the_letter_for_the_relays_and_said_nowhere() {
    let dmz = Dmz::new("secrets").await.unwrap();
    let smarthost = |secret: &str| {
        json!({"metadata": {"name": "smarthost"}, "spec": {
            "endpoints": [{"host": {"address": "10.20.0.12", "port": 587}}],
            "tls": {"verification": "Verified", "serverName": "smtp.example.net"},
            "auth": {"secretRef": {"name": secret}},
        }})
    };
    for name in ["../login", "login/..", "kube-system/login", ""] {
        let refused = dmz.put::<RelayHost>(smarthost(name)).await.map(drop);
        let refused = format!("{:#}", refused.expect_err(name));
        assert!(refused.contains("spec.auth.secretRef.name"), "{refused}");
    }
    // Somebody else's namespace is no field at all.
    let mut elsewhere = smarthost("login");
    elsewhere["spec"]["auth"]["secretRef"]["namespace"] = json!("kube-system");
    let refused = format!("{:#}", dmz.put::<RelayHost>(elsewhere).await.expect_err("a namespace"));
    assert!(refused.contains("namespace"), "{refused}");

    // The token of an account is not even read.
    let account = json!({"metadata": {"name": "somebody"}});
    dmz.put::<k8s_openapi::api::core::v1::ServiceAccount>(account).await.unwrap();
    let token = json!({"metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "somebody"}},
        "type": "kubernetes.io/service-account-token", "stringData": {"username": "u", "password": "p"}});
    dmz.put::<Secret>(token).await.unwrap();
    dmz.put::<RelayHost>(smarthost("token")).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "False", "SecretNotFound").await;

    let login = |password: &str| {
        json!({"metadata": {"name": "login"}, "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "contoso", "password": password}})
    };
    dmz.put::<Secret>(login(PASSWORD.0)).await.unwrap();
    dmz.put::<RelayHost>(smarthost("login")).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "True", "ResolvedRefs").await;
    let files = async || {
        let files = dmz.api::<Secret>().get("postern-secrets").await?.data.unwrap_or_default();
        anyhow::Ok(files.into_iter().map(|(name, content)| (name, content.0)).collect::<Vec<_>>())
    };
    let holds = async |password: &str| {
        eventually("the password is published", async || {
            let files = files().await?;
            let names: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
            ensure!(files.iter().any(|(_, content)| content == password.as_bytes()), "{names:?}");
            Ok(names)
        })
        .await
    };
    let before = holds(PASSWORD.0).await;
    // Another one has another name: no relay takes the new one for the old.
    dmz.put::<Secret>(login("another")).await.unwrap();
    let after = holds("another").await;
    assert_ne!(before, after);
    // What cannot be a password is refused by its name and key.
    dmz.put::<Secret>(login(&format!("{}\r\nQUIT", PASSWORD.0))).await.unwrap();
    let message = dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "False", "ContentInvalid").await;
    assert!(message.contains("login") && message.contains("password"), "{message}");
    dmz.api::<Secret>().delete("login", &DeleteParams::default()).await.unwrap();
    dmz.told::<RelayHost>("smarthost", "ResolvedRefs", "False", "SecretNotFound").await;

    let said = said(&dmz).await;
    assert!(said.contains("smarthost") && said.contains("postern_operator_"), "nothing was looked through");
    for secret in [PASSWORD.0, PASSWORD.1, "s3same"] {
        assert!(!said.contains(secret), "{secret} is said: {:?}", said.find(secret));
    }
}

#[tokio::test]
async fn l3_no_object_opens_a_path_to_what_no_mail_is_for() {
    let _stays = SERVER.read().await;
    let dmz = unattended("widening").await.unwrap();
    let server = NameServer::start([169, 254, 169, 254]).await.unwrap();
    let operator = Operator::start_alone(&dmz, "one", &[format!("--dns={}", server.address)]).await.unwrap();
    let addresses =
        ["169.254.169.254", "127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "0.0.0.0", "fe80::1"];
    for (number, address) in addresses.iter().enumerate() {
        let name = format!("literal-{number}");
        match dmz.put::<RelayHost>(host(&name, address)).await {
            Ok(_) => {
                let message = dmz.told::<RelayHost>(&name, "PartiallyInvalid", "True", "Invalid").await;
                assert!(message.contains(address), "{message}");
            }
            Err(refused) => assert!(format!("{refused:#}").contains("spec.endpoints[0].host.address"), "{refused:#}"),
        }
    }
    for range in ["10.20.0.0/16", "0.0.0.0/0", "10.20.0.1/32"] {
        assert!(dmz.put::<RelayHost>(host("range", range)).await.is_err(), "{range} is no address");
    }
    // By a name: whoever answers for it chooses the address.
    dmz.put::<RelayHost>(host("rebound", "mail.evil.example")).await.unwrap();
    dmz.told::<RelayHost>("rebound", "PartiallyInvalid", "True", "Invalid").await;
    operator.has_settled(&dmz).await;
    let policies = dmz.api::<NetworkPolicy>().list(&ListParams::default()).await.unwrap().items;
    let blocks = serde_json::to_string(&policies).unwrap();
    assert!(blocks.contains("10.20.0.11/32"), "{blocks}");
    for never in ["169.254.", "127.0.0.", "::1/", "::ffff", "fe80", "0.0.0.0"] {
        assert!(!blocks.contains(&format!("\"cidr\":\"{never}")), "{never} in {blocks}");
    }
}

#[tokio::test]
async fn l9_what_a_relay_says_of_itself_is_cut_and_cannot_write_on_a_terminal() {
    let dmz = Dmz::new("sayings").await.unwrap();
    dmz.quickstart(([10, 20, 0, 11], 25).into()).await.unwrap();
    dmz.told::<RelayDomain>("example", "ResolvedRefs", "True", "ResolvedRefs").await;
    let file = published(&dmz).await;
    let mut status = enforcing(&file);
    let sayings = format!("\u{1b}[2J\u{7}\u{9b}31m\r\nall is well {}", "x".repeat(1 << 20));
    for object in &mut status.objects {
        object.fault = Some(sayings.clone());
    }
    let isolation = Some(Isolation { canary: sayings.clone(), reached: true });
    let relay = Answers::start(serde_json::to_string(&Status { isolation, ..status.clone() }).unwrap()).await;
    dmz.relay_pod("relay", relay.address).await.unwrap();
    let harmless = |message: &str| {
        assert!(message.contains("all is well"), "{message:?}");
        assert!(message.chars().count() <= MESSAGE_CHARS_MAX, "{} characters", message.chars().count());
        assert!(!message.contains(char::is_control), "{message:?}");
    };
    harmless(&dmz.told::<RelayDomain>("example", "Programmed", "False", "RelayRejected").await);
    harmless(&dmz.told::<FilterPolicy>("default", "Isolated", "False", "NotEnforced").await);
    relay.say(&Status { rejected: Some(sayings), objects: Vec::new(), settings: None, ..status });
    harmless(&dmz.told::<RelayHost>("mailbox-server", "Programmed", "False", "RelayRejected").await);

    // An object that is deleted is gone: nothing holds it.
    dmz.api::<RelayDomain>().delete("example", &DeleteParams::default()).await.unwrap();
    assert!(dmz.api::<RelayDomain>().get_opt("example").await.unwrap().is_none());
}
