//! Objects in, and what becomes of them out: `golden/NAME.in.yaml` → `golden/NAME.out.yaml`.
//!
//! An input is what a namespace holds, and one document of kind `Situation` with the rest that a reconcile knows. An output
//! has the settings (without the digests of their sections), the Kubernetes objects (secrets only by their size), and the
//! status of each object as its user reads it. `POSTERN_BLESS=1 cargo test -p postern-operator --test golden` writes the
//! outputs anew: read the difference before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use postern_crds::status::PolicyStatus;
use postern_operator::fit::fit;
use postern_operator::inputs::{
    Anchor, Inputs, Meta, Object, Place, Published, Relay, Report, Secret, SecretBytes, Written, WrittenKind,
};
use postern_operator::kept;
use postern_operator::problem::{DEFAULT_POLICY, Effect, Problem};
use postern_operator::render::{Rendered, Room, render, schema_for};
use postern_operator::resolve::{defaults, resolve};
use postern_operator::status::{KindStatus, ObjectStatus, status};
use postern_wire::snapshot::HostName;
use postern_wire::{SettingsFile, Snapshot, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[path = "golden/services.rs"]
mod services;
#[path = "golden/situation.rs"]
mod situation;
use situation::{Pod, Situation};

struct Case {
    show: Option<BTreeSet<String>>,
    inputs: Inputs,
    room: Room,
    pods: Vec<Pod>,
}

const NOW: &str = "2026-11-22T17:00:00Z";
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn load(name: &str) -> Case {
    let text = std::fs::read_to_string(folder().join(format!("{name}.in.yaml"))).expect("an input");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut inputs = Inputs::new(Place::Cluster, "dmz", "postern-system");
    let mut situation = Situation::default();
    let (mut services, mut slices, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        match document["kind"].as_str().unwrap_or_default() {
            "RelayDomain" => inputs.domains.push(object(&document)),
            "RelayHost" => inputs.hosts.push(object(&document)),
            "FilterPolicy" => {
                inputs.policies.push(object(&document));
                inputs.kept.extend(kept::told(&document["status"]));
            }
            "ConfigMap" => {
                inputs.config_maps.insert(name_of(&document), decode(&document["data"]));
            }
            "Secret" => {
                inputs.secrets.insert(name_of(&document), secret(&document));
            }
            "Service" => services.push(decode::<core::Service>(&document)),
            "EndpointSlice" => slices.push(decode::<EndpointSlice>(&document)),
            "StatefulSet" => inputs.anchor = Anchor::of(&decode(&document)),
            "PersistentVolumeClaim" => claims.push(decode::<core::PersistentVolumeClaim>(&document)),
            "Situation" => situation = decode(&document["situation"]),
            other => panic!("{name}: a document of kind {other:?}"),
        }
    }
    inputs.published = situation.published.as_deref().map(published).map(Arc::new);
    inputs.place = if situation.offline { Place::Offline } else { Place::Cluster };
    inputs.unreadable = situation.unreadable;
    let names = situation.names.into_iter().map(|(name, addresses)| (HostName::A(name), addresses));
    let mx = situation.mx.into_iter().map(|(domain, addresses)| (HostName::Mx(domain), addresses));
    inputs.names = names.chain(mx).collect();
    inputs.services = services::known(&services, &slices, situation.unreadable_services);
    inputs.cluster_ranges = situation.cluster_ranges;
    inputs.nodes = Some(situation.nodes).filter(|_| !situation.nodes_unknown);
    inputs.refused_targets = situation.refused_targets;
    inputs.foreign = situation.foreign.iter().map(|text| written(text)).collect();
    inputs.claims = situation.claims_refused.map_or_else(|| Ok(kept::claims(&claims)), Err);
    inputs.pods = situation.relays.iter().map(|pod| pod.name.clone()).chain(situation.ending).collect();
    inputs.left = situation.left;
    let small = |object_bytes| Room { object_bytes, shards: 1, ..Room::default() };
    let room = situation.room.map_or_else(Room::default, small);
    Case { show: situation.show, inputs, room, pods: situation.relays }
}

fn decode<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn name_of(document: &Value) -> String {
    text(&document["metadata"]["name"])
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn object<S: DeserializeOwned>(document: &Value) -> Object<S> {
    let meta = Meta::from(&decode::<ObjectMeta>(&document["metadata"]));
    let spec = serde_json::from_value(document["spec"].clone()).map(Arc::new).map_err(|error| error.to_string());
    let conditions = document["status"]["conditions"].as_array();
    let conditions: Vec<_> = conditions.into_iter().flatten().map(decode::<Condition>).collect();
    Object { meta, spec, conditions: conditions.as_slice().into() }
}

fn secret(document: &Value) -> Secret {
    let meta: ObjectMeta = decode(&document["metadata"]);
    let data: BTreeMap<String, String> = decode(&document["stringData"]);
    let data = data.into_iter().map(|(key, text)| (key, SecretBytes(text.into_bytes())));
    Secret { version: meta.uid.zip(meta.resource_version), data: data.collect() }
}

fn written(text: &str) -> Written {
    let (kind, name) = text.split_once('/').expect("Kind/name");
    let kind = match kind {
        "ConfigMap" => WrittenKind::ConfigMap,
        "Secret" => WrittenKind::Secret,
        "NetworkPolicy" => WrittenKind::NetworkPolicy,
        other => panic!("the operator writes no {other}"),
    };
    Written { kind, name: name.to_owned() }
}

/// What the relays were told when another input was all that there was.
fn published(name: &str) -> Published {
    let (model, _) = resolve(&load(name).inputs);
    let rendered = render(&model, postern_wire::SCHEMA);
    let secrets = rendered.secret.expect("a secret").data.unwrap_or_default();
    let secrets = secrets.into_iter().map(|(file, ByteString(content))| (file, SecretBytes(content)));
    Published { snapshot: rendered.settings.snapshot, secrets: secrets.collect() }
}

/// A relay's own account of a Snapshot.
fn report(pod: &Pod, snapshot: &Snapshot) -> Relay {
    let report = if pod.not_ready {
        Report::NotReady(pod.schema)
    } else if let Some(why) = &pod.unreachable {
        Report::Unreachable(why.clone())
    } else {
        let mut objects = Vec::new();
        for (kind, sections) in [
            ("RelayDomain", json!(snapshot.domains)),
            ("RelayHost", json!(snapshot.hosts)),
            ("FilterPolicy", json!(snapshot.policies)),
        ] {
            for section in sections.as_array().into_iter().flatten() {
                let id = format!("{kind}/{}", section["name"].as_str().expect("a name"));
                if pod.without.contains(&id) {
                    continue;
                }
                let digest = if pod.outdated.contains(&id) { json!("older") } else { section["digest"].clone() };
                objects.push(json!({
                    "kind": kind, "name": section["name"], "uid": section["uid"], "generation": section["generation"],
                    "digest": digest, "fault": pod.faults.get(&id),
                }));
            }
        }
        let schema = pod.schema.unwrap_or(postern_wire::SCHEMA);
        let isolation = pod.reached.map(|reached| json!({"canary": "10.96.0.1:443", "reached": reached}));
        let said = json!({
            "version": "0.1.0", "schema": schema, "rejected": pod.rejected, "objects": objects, "isolation": isolation,
        });
        Report::Answered(decode::<Status>(&said).into())
    };
    Relay { pod: pod.name.clone(), report }
}

/// Everything that comes of an input.
fn outcome(case: &Case, now: &str) -> (Vec<Problem>, Rendered, Vec<ObjectStatus>) {
    let Case { inputs, room, pods, .. } = case;
    let (_, rendered) = fit(inputs, postern_wire::SCHEMA, room);
    let enforced = match (&rendered.config_maps, &inputs.published) {
        (None, Some(published)) => &published.snapshot,
        _ => &rendered.settings.snapshot,
    };
    let relays: Vec<_> = pods.iter().map(|pod| report(pod, enforced)).collect();
    // Relays that were told less enforce what they were told.
    let (problems, rendered) = fit(inputs, schema_for(&relays, inputs.published.as_deref()), room);
    let enforced = match (&rendered.config_maps, &inputs.published) {
        (None, Some(published)) => &published.snapshot,
        _ => &rendered.settings.snapshot,
    };
    let relays: Vec<_> = pods.iter().map(|pod| report(pod, enforced)).collect();
    let now: Timestamp = now.parse().expect("a time");
    let told = status(inputs, &problems, &rendered, &relays, now);
    (problems, rendered, told)
}

fn shown(case: &Case) -> String {
    let (problems, rendered, told) = outcome(case, NOW);
    let mut documents = vec![json!({"status": told.iter().map(told_lines).collect::<BTreeMap<_, _>>()})];
    let warnings: Vec<_> = problems.iter().filter(|problem| problem.effect == Effect::Warning).collect();
    if !warnings.is_empty() {
        let line = |problem: &&Problem| format!("{}: {}", problem.object, problem.message);
        documents.push(json!({"warnings": warnings.iter().map(line).collect::<Vec<_>>()}));
    }
    let policies = rendered.network_policies.iter().flatten().map(|policy| ("policies", json!(policy)));
    let secret = rendered.secret.iter().map(|secret| ("secret", shown_secret(secret)));
    let config_maps = rendered.config_maps.iter().flatten();
    let config_maps = config_maps.map(|map| ("settings", shown_settings(map, &rendered.settings.snapshot)));
    let written: Vec<_> = policies.chain(secret).chain(config_maps).collect();
    let names = written.iter().map(|(_, object)| format!("{} {}", text(&object["kind"]), name_of(object)));
    documents.push(json!({"written": names.collect::<Vec<_>>()}));
    let show = |part: &str| case.show.as_ref().is_none_or(|show| show.contains(part));
    documents.extend(written.into_iter().filter(|(part, _)| show(part)).map(|(_, object)| object));
    let documents = documents.iter().map(|document| serde_saphyr::to_string(document).expect("YAML"));
    documents.collect::<Vec<_>>().join("---\n")
}

/// With sizes for values.
fn shown_secret(secret: &core::Secret) -> Value {
    let mut shown = json!(secret);
    for (file, ByteString(content)) in secret.data.iter().flatten() {
        shown["data"][file] = json!(format!("({} octets)", content.len()));
    }
    shown
}

/// With the Snapshot as YAML, and without the digests of its sections, which the one of the whole covers.
fn shown_settings(config_map: &core::ConfigMap, snapshot: &Snapshot) -> Value {
    let mut settings = json!(snapshot);
    for kind in ["domains", "hosts", "policies"] {
        for section in settings[kind].as_array_mut().into_iter().flatten() {
            let digest = section.as_object_mut().and_then(|section| section.remove("digest"));
            assert!(digest.is_some());
        }
    }
    let mut shown = json!(config_map);
    match shown["data"].get_mut("settings.json") {
        Some(text) => *text = settings,
        None => {
            shown["binaryData"] =
                json!(config_map.binary_data.iter().flatten().map(|(file, _)| file).collect::<Vec<_>>())
        }
    }
    shown
}

/// `Ready=True Ready: enforced by every ready relay`
fn told_lines(told: &ObjectStatus) -> (String, Value) {
    let (conditions, generation, summary) = match &told.status {
        KindStatus::Domain(status) => (&status.conditions, status.observed_generation, json!(status.summary)),
        KindStatus::Host(status) => (&status.conditions, status.observed_generation, json!(status.summary)),
        KindStatus::Policy(status) => (&status.conditions, status.observed_generation, json!(status.summary)),
    };
    assert!(conditions.iter().all(|condition| condition.observed_generation == generation));
    let line = |condition: &Condition| {
        let Condition { type_, status, reason, message, .. } = condition;
        format!("{type_}={status} {reason}: {message}")
    };
    let lines: Vec<_> = conditions.iter().map(line).collect();
    let mut shown = json!({"observedGeneration": generation, "summary": summary, "conditions": lines});
    if let KindStatus::Policy(PolicyStatus { kept_volumes, .. }) = &told.status
        && !kept_volumes.is_empty()
    {
        shown["keptVolumes"] = json!(kept_volumes);
    }
    (told.object.to_string(), shown)
}

fn cases() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of pairs");
    let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".in.yaml")?.to_owned()));
    let names: Vec<_> = names.collect::<BTreeSet<_>>().into_iter().collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

#[test]
fn every_input_has_the_outcome_that_was_reviewed() {
    let bless = std::env::var_os("POSTERN_BLESS").is_some();
    let mut differ = Vec::new();
    for name in cases() {
        let file = folder().join(format!("{name}.out.yaml"));
        let found = shown(&load(&name));
        if bless {
            std::fs::write(&file, &found).expect("written");
        } else if std::fs::read_to_string(&file).unwrap_or_default() != found {
            differ.push(format!("=== {name}\n{found}"));
        }
    }
    assert!(differ.is_empty(), "these outcomes are not the reviewed ones:\n{}", differ.join("\n"));
}

#[test]
fn every_settings_file_is_believed_by_who_reads_it() {
    for name in cases() {
        let (_, rendered, _) = outcome(&load(&name), NOW);
        let file = SettingsFile::from_json(rendered.settings.to_json().as_bytes());
        assert_eq!(file.expect("settings"), rendered.settings, "{name}");
    }
}

#[test]
fn the_order_of_reading_changes_nothing() {
    for name in cases() {
        let mut case = load(&name);
        let before = shown(&case);
        case.inputs.domains.reverse();
        case.inputs.hosts.reverse();
        case.inputs.policies.reverse();
        assert_eq!(before, shown(&case), "{name}");
    }
}

#[test]
fn a_second_look_at_the_same_objects_gives_the_same_status_at_any_later_time() {
    for name in cases() {
        let mut case = load(&name);
        let (.., told) = outcome(&case, NOW);
        for ObjectStatus { object, status, .. } in &told {
            let (name, inputs) = (&object.name, &mut case.inputs);
            match status {
                KindStatus::Domain(s) => remember(&mut inputs.domains, name, &s.conditions),
                KindStatus::Host(s) => remember(&mut inputs.hosts, name, &s.conditions),
                KindStatus::Policy(s) => {
                    remember(&mut inputs.policies, name, &s.conditions);
                    if object.name == DEFAULT_POLICY {
                        inputs.kept.clone_from(&s.kept_volumes);
                    }
                    // By another operator than the one that saw relays go.
                    inputs.left.clear();
                }
            }
        }
        let (.., again) = outcome(&case, "2027-01-01T00:00:00Z");
        assert_eq!(told, again, "{name}");
    }
}

fn remember<S>(objects: &mut [Object<S>], name: &str, conditions: &[Condition]) {
    let object = objects.iter_mut().find(|object| object.meta.name == *name).expect("an object for each status");
    object.conditions = conditions.into();
}

#[test]
fn no_secret_is_shown_in_settings_status_or_debug_output() {
    for name in cases() {
        let case = load(&name);
        let (problems, rendered, told) = outcome(&case, NOW);
        let (model, _) = resolve(&case.inputs);
        let spoken = format!("{problems:?} {told:?} {model:?} {:?} {}", case.inputs, rendered.settings.to_json());
        for content in case.inputs.secrets.values().flat_map(|secret| secret.data.values()) {
            let secret = String::from_utf8_lossy(&content.0);
            for line in secret.lines().filter(|line| line.len() > 8 && !line.starts_with("-----")) {
                assert!(!spoken.contains(line), "{name}: {line}");
            }
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_table_of_limits() {
    let (_, rendered, _) = outcome(&load("complete"), NOW);
    let limits = &rendered.settings.snapshot.policies[0].spec.limits;
    assert_eq!(limits.hops, u32::try_from(defaults::HOPS.default).expect("small"));
    assert_eq!(limits.message_size, defaults::MESSAGE_SIZE.default);
}
