//! The examples of `crds/invalid`: what the API server refuses, and what the operator answers; with which words.
//!
//! The same files are checked offline, so that `postern check` says what a cluster would say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Client, Resource};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use serde_json::{Value, json};

use crate::cluster::{admin, eventually, namespace};
use crate::dmz::{Dmz, crds};
use crate::manifests::{documents, files};

/// The remarks `# WORD: …` of a file.
fn remarks(file: &Path, word: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let prefix = format!("# {word}: ");
    let found: Vec<String> = text.lines().filter_map(|line| Some(line.strip_prefix(&prefix)?.to_owned())).collect();
    assert!(!found.is_empty(), "{} has no line `{prefix}…`", file.display());
    found
}

/// Where objects like this one are created.
fn path(document: &Value, namespace: &str) -> Result<String> {
    let namespace = Some(namespace);
    Ok(match document["kind"].as_str() {
        Some("RelayDomain") => RelayDomain::url_path(&(), namespace),
        Some("RelayHost") => RelayHost::url_path(&(), namespace),
        Some("FilterPolicy") => FilterPolicy::url_path(&(), namespace),
        Some("ConfigMap") => ConfigMap::url_path(&(), namespace),
        Some("Secret") => Secret::url_path(&(), namespace),
        other => bail!("an example has an object of kind {other:?}"),
    })
}

async fn create(client: &Client, namespace: &str, document: &Value, options: &str) -> Result<Value> {
    let target = format!("{}?fieldValidation=Strict{options}", path(document, namespace)?);
    let request = http::Request::post(target).header("content-type", "application/json");
    Ok(client.request(request.body(serde_json::to_vec(document)?)?).await?)
}

/// What is wrong with the API server's answer to an example of an object that it must refuse.
async fn refusal(client: &Client, namespace: &str, file: &Path) -> Result<()> {
    let [document] = &documents(file)?[..] else { bail!("not one object") };
    let status = match create(client, namespace, document, "&dryRun=All").await {
        Ok(_) => bail!("it was taken"),
        Err(error) => match error.downcast::<kube::Error>()? {
            kube::Error::Api(status) => *status,
            other => return Err(other.into()),
        },
    };
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let expected = remarks(file, "expect");
    if causes.is_empty() {
        let (_, text) = expected[0].split_once(": ").context("`FIELD: TEXT`")?;
        ensure!(expected.len() == 1 && status.message.contains(text), "it was told: {}", status.message);
        return Ok(());
    }
    let mut left = causes;
    for line in &expected {
        let (field, text) = line.split_once(": ").context("`FIELD: TEXT`")?;
        let place = left.iter().position(|cause| cause.field == field && cause.message.contains(text));
        let place = place.with_context(|| format!("no cause is `{line}` among {left:?}"))?;
        left.remove(place);
    }
    // The server adds to a broken schema that it has not come to the rules.
    left.retain(|cause| !cause.message.contains("some validation rules were not checked"));
    ensure!(left.is_empty(), "causes that are not expected: {left:?}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_refuses_each_invalid_object_with_the_sentence_that_a_user_needs() {
    let client = admin().await.unwrap();
    crds(&client).await.unwrap();
    let namespace = namespace(&client, "invalid").await.unwrap();
    let folders =
        ["relaydomain", "relayhost", "filterpolicy"].map(|folder| files(&format!("crds/invalid/{folder}")).unwrap());
    let examples: Vec<PathBuf> = folders.into_iter().flatten().collect();
    assert!(examples.len() > 100, "only {} examples", examples.len());
    let mut wrong = Vec::new();
    for file in &examples {
        if let Err(error) = refusal(&client, &namespace, file).await {
            wrong.push(format!("{}: {error:#}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

/// `KIND/NAME CONDITION REASON: TEXT`
struct Expected {
    kind: String,
    name: String,
    condition: String,
    reason: String,
    text: String,
}

impl Expected {
    fn parse(line: &str) -> Result<Self> {
        let (head, text) = line.split_once(": ").context("`KIND/NAME CONDITION REASON: TEXT`")?;
        let [object, condition, reason] = head.split(' ').collect::<Vec<_>>()[..] else { bail!("three words: {head}") };
        let (kind, name) = object.split_once('/').context("`KIND/NAME`")?;
        let [kind, name, condition, reason, text] = [kind, name, condition, reason, text].map(str::to_owned);
        Ok(Self { kind, name, condition, reason, text })
    }

    fn is(&self, object: &Value, condition: &Value) -> bool {
        object["kind"] == *self.kind
            && object["metadata"]["name"] == *self.name
            && condition["type"] == *self.condition
            && condition["reason"] == *self.reason
            && condition["message"].as_str().is_some_and(|message| message.contains(&self.text))
    }
}

/// Whether this condition says that something is wrong with the object itself.
fn complains(condition: &Value) -> bool {
    match condition["type"].as_str() {
        Some("Accepted" | "ResolvedRefs") => condition["status"] != "True",
        Some("PartiallyInvalid") => true,
        _ => false,
    }
}

/// What is wrong with the statuses in a namespace.
async fn statuses(dmz: &Dmz, expected: &[Expected]) -> Result<()> {
    let mut left: BTreeSet<usize> = (0..expected.len()).collect();
    for kind in ["RelayDomain", "RelayHost", "FilterPolicy"] {
        let target = path(&json!({"kind": kind}), &dmz.namespace)?;
        let list: Value = dmz.client.request(http::Request::get(target).body(Vec::new())?).await?;
        for object in list["items"].as_array().context("a list")? {
            let conditions = object["status"]["conditions"].as_array().context("no status yet")?;
            for condition in conditions.iter().filter(|condition| complains(condition)) {
                let of = || format!("{kind}/{}: {condition}", object["metadata"]["name"]);
                let found = expected.iter().position(|expected| expected.is(object, condition));
                left.remove(&found.with_context(|| format!("not expected: {}", of()))?);
            }
        }
    }
    let missing = left.into_iter().map(|index| &expected[index]);
    let missing: Vec<_> = missing
        .map(|one| format!("{}/{} {} {}: {}", one.kind, one.name, one.condition, one.reason, one.text))
        .collect();
    ensure!(missing.is_empty(), "missing: {}", missing.join("; "));
    Ok(())
}

#[tokio::test]
async fn the_operator_tells_each_object_that_is_wrong_only_in_its_surroundings() {
    let examples = files("crds/invalid/dangling").unwrap();
    assert!(examples.len() > 10, "only {} examples", examples.len());
    for file in examples {
        let dmz = Dmz::new("dangling-example").await.unwrap();
        for document in documents(&file).unwrap() {
            create(&dmz.client, &dmz.namespace, &document, "").await.unwrap();
        }
        let expected: Vec<Expected> =
            remarks(&file, "status").iter().map(|line| Expected::parse(line).unwrap()).collect();
        eventually(&file.display().to_string(), async || statuses(&dmz, &expected).await).await;
    }
}
