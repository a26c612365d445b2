//! What a report is made of: from the API server, and from each relay. What may not be read is a problem like any other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Resource, ResourceExt};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_operator::render::{DEFAULT_DENY, DIGEST_ANNOTATION, EGRESS, INGRESS, ISOLATION, SETTINGS};
use postern_relay::control::{Answer, Command, Standing};
use serde_json::Value;

use super::problems::{Facts, problems};
use super::{Isolation, ObjectReport, PodReport, RelayReport, Report};
use crate::cluster::{Cluster, RELAYS};
use crate::relays::{Relays, Which, one, unexpected};

/// Every relay on this machine that is meant.
pub(super) fn here(which: &Which) -> Result<Report> {
    let mut relays = which.find()?;
    let relays = stand(&mut relays).into_iter().map(|(name, standing)| report(name, None, standing)).collect();
    let facts = Facts { relays, ..Facts::default() };
    Ok(whole(None, facts))
}

/// One namespace, or every one that has relays.
pub(super) fn cluster(which: &Which, all: bool) -> Result<Vec<Report>> {
    let mut cluster = which.cluster.connect()?;
    if !all {
        return Ok(vec![dmz(&cluster)?]);
    }
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let pods = cluster.runtime.block_on(pods.list(&ListParams::default().labels(RELAYS)));
    let namespaces: BTreeSet<String> =
        pods.context("the pods of all namespaces")?.iter().filter_map(Pod::namespace).collect();
    if namespaces.is_empty() {
        bail!("no namespace has relay pods: none has the label {RELAYS}");
    }
    let mut reports = Vec::new();
    for namespace in namespaces {
        cluster.namespace = namespace;
        reports.push(dmz(&cluster)?);
    }
    Ok(reports)
}

fn dmz(cluster: &Cluster) -> Result<Report> {
    let pods = cluster.relays()?;
    let mut relays = Relays::linked(cluster, pods.iter())?;
    let standings = stand(&mut relays);
    let pod = |name: &str| pods.iter().find(|pod| pod.name == name).map(PodReport::from);
    let relays = standings.into_iter().map(|(name, standing)| report(name.clone(), pod(&name), standing)).collect();
    let mut facts = Facts { relays, namespace: Some(cluster.namespace.clone()), ..Facts::default() };
    let mut unread = Vec::new();
    let settings = note(&mut unread, "ConfigMap", read_settings(cluster));
    facts.settings = settings.flatten();
    let workload = note(&mut unread, "StatefulSet", cluster.workload()).flatten();
    let annotated = |key: &str, value: &str| {
        workload.as_ref().is_some_and(|workload| workload.annotations().get(key).is_some_and(|found| found == value))
    };
    facts.paused = annotated("postern.io/paused", "true");
    let off = annotated("postern.io/network-policies", "off");
    facts.isolation = note(&mut unread, "NetworkPolicy", isolation(cluster, off));
    if let Some(workload) = &workload {
        let wanted = workload.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        facts.wanted = usize::try_from(wanted).ok();
    }
    facts.kept = note(&mut unread, "kept volumes", cluster.kept(workload.as_ref(), &pods)).unwrap_or_default();
    for resource in [
        ApiResource::erase::<RelayDomain>(&()),
        ApiResource::erase::<RelayHost>(&()),
        ApiResource::erase::<FilterPolicy>(&()),
    ] {
        let kind = resource.kind.clone();
        facts.objects.extend(note(&mut unread, &kind, objects(cluster, &resource)).unwrap_or_default());
    }
    facts.unread = unread;
    Ok(whole(Some(cluster.namespace.clone()), facts))
}

fn whole(namespace: Option<String>, facts: Facts) -> Report {
    let problems = problems(&facts);
    let Facts { relays, settings, kept, isolation, objects, .. } = facts;
    Report { namespace, problems, settings, kept_volumes: kept.volumes, relays, isolation, objects }
}

/// What cannot be read is told once, and everything else goes on.
fn note<T>(unread: &mut Vec<String>, kind: &str, read: Result<T>) -> Option<T> {
    read.map_err(|error| unread.push(format!("{kind}: {error:#}"))).ok()
}

fn stand(relays: &mut Relays) -> Vec<(String, Result<Standing>)> {
    relays.ask_each(|client| match one(client, Command::Status {})? {
        Answer::Status(standing) => Ok(*standing),
        other => Err(unexpected(other)),
    })
}

fn report(name: String, pod: Option<PodReport>, standing: Result<Standing>) -> RelayReport {
    let (standing, unreachable) = match standing {
        Ok(standing) => (Some(standing), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    RelayReport { name, pod, standing, unreachable }
}

fn api<K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>>(cluster: &Cluster) -> Api<K> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn read_settings(cluster: &Cluster) -> Result<Option<String>> {
    let map = cluster.runtime.block_on(api::<ConfigMap>(cluster).get_opt(SETTINGS))?;
    Ok(map.and_then(|map| map.annotations().get(DIGEST_ANNOTATION).cloned()))
}

fn isolation(cluster: &Cluster, off: bool) -> Result<Isolation> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=postern");
    let all = cluster.runtime.block_on(api::<NetworkPolicy>(cluster).list(&ours))?;
    let names: BTreeSet<String> = all.iter().map(ResourceExt::name_any).collect();
    let [default_deny, ingress, egress] = [DEFAULT_DENY, INGRESS, EGRESS].map(|name| names.contains(name));
    let paths = names.iter().filter(|name| !ISOLATION.contains(&name.as_str())).count();
    Ok(Isolation { off, default_deny, ingress, egress, paths })
}

/// Also those that our types cannot decode.
fn objects(cluster: &Cluster, resource: &ApiResource) -> Result<Vec<ObjectReport>> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, resource);
    let all = cluster.runtime.block_on(api.list(&ListParams::default()))?;
    Ok(all.iter().map(|object| object_report(&resource.kind, object)).collect())
}

fn object_report(kind: &str, object: &DynamicObject) -> ObjectReport {
    let conditions = object.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    let found = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    let should = |kind: &str| if kind == "PartiallyInvalid" { "False" } else { "True" };
    let told = |kind: &&str| {
        let condition = found(kind).filter(|condition| condition["status"] != should(kind))?;
        let (status, reason, message) =
            (text(condition, "status"), text(condition, "reason"), text(condition, "message"));
        Some(format!("{kind}={status}, {reason}: {message}"))
    };
    let mut troubles: Vec<String> =
        ["Accepted", "ResolvedRefs", "Programmed", "PartiallyInvalid"].iter().filter_map(told).collect();
    // When it is True, the volumes themselves are named.
    troubles.extend(told(&"MailKept").filter(|_| found("MailKept").is_some_and(|kept| kept["status"] == "Unknown")));
    let ready = found("Ready").map(|ready| text(ready, "status")).unwrap_or_default();
    let generation = object.metadata.generation;
    let seen = found("Ready").and_then(|ready| ready["observedGeneration"].as_i64());
    if ready.is_empty() || seen < generation {
        let seen = seen.map(|seen| format!(", only of generation {seen}")).unwrap_or_default();
        troubles.insert(
            0,
            format!("the operator has said nothing of its generation {}{seen} yet", generation.unwrap_or_default()),
        );
    } else if ready != "True" && troubles.is_empty() {
        troubles.extend(told(&"Ready"));
    }
    ObjectReport { kind: kind.to_owned(), name: object.name_any(), ready, troubles }
}
