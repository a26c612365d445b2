//! What a report is made of: from the API server, and from each relay. What may not be read is a problem like any other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Resource, ResourceExt};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_operator::render::{DEFAULT_DENY, DIGEST_ANNOTATION, EGRESS, INGRESS, ISOLATION, SETTINGS};
use postern_relay::control::{Answer, Command, Standing};
use serde_json::Value;

use super::problems::{Facts, Unread, problems};
use super::{Isolation, ObjectReport, PodReport, RelayReport, Report};
use crate::cluster::{Cluster, RELAYS, Workload, api_sentence, is_forbidden, sentence};
use crate::relays::{Relays, Which, complain, known, one, unexpected};

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
        return Ok(vec![dmz(&cluster, &which.pod)?]);
    }
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let pods = cluster.runtime.block_on(pods.list(&ListParams::default().labels(RELAYS)));
    let mut namespaces: BTreeSet<String> =
        pods.context("the pods of all namespaces")?.iter().filter_map(Pod::namespace).collect();
    // Those that have no pod now.
    let workloads: Api<StatefulSet> = Api::all(cluster.client.clone());
    match cluster.runtime.block_on(workloads.list(&ListParams::default().labels(RELAYS))) {
        Ok(workloads) => namespaces.extend(workloads.iter().filter_map(StatefulSet::namespace)),
        Err(error) => complain("a DMZ without pods is not known", api_sentence(&error)),
    }
    if namespaces.is_empty() {
        bail!("no namespace has relays: no pod and no StatefulSet has the label {RELAYS}");
    }
    let mut reports = Vec::new();
    for namespace in namespaces {
        cluster.namespace = namespace;
        reports.push(dmz(&cluster, &[])?);
    }
    Ok(reports)
}

fn dmz(cluster: &Cluster, only: &[String]) -> Result<Report> {
    let pods = cluster.relays()?;
    known(cluster, &pods, only)?;
    let meant = pods.iter().filter(|pod| only.is_empty() || only.contains(&pod.name));
    let mut relays = Relays::linked(cluster, meant)?;
    let standings = stand(&mut relays);
    let pod = |name: &str| pods.iter().find(|pod| pod.name == name).map(PodReport::from);
    let relays = standings.into_iter().map(|(name, standing)| report(name.clone(), pod(&name), standing)).collect();
    let mut facts = Facts { relays, namespace: Some(cluster.namespace.clone()), ..Facts::default() };
    facts.is_narrowed = !only.is_empty();
    let mut unread = Vec::new();
    let settings = note(&mut unread, "ConfigMap", "get on configmaps", read_settings(cluster));
    facts.settings = settings.flatten();
    let workload = note(&mut unread, "StatefulSet", "list on statefulsets.apps", cluster.workload()).flatten();
    let annotated = |key: &str, value: &str| {
        workload.as_ref().is_some_and(|workload| workload.annotations().get(key).is_some_and(|found| found == value))
    };
    facts.paused = annotated("postern.io/paused", "true");
    let off = annotated("postern.io/network-policies", "off");
    facts.isolation =
        note(&mut unread, "NetworkPolicy", "list on networkpolicies.networking.k8s.io", isolation(cluster, off));
    facts.workload = workload.as_ref().map(Workload::of);
    let right = "get on filterpolicies.postern.io, or list on persistentvolumeclaims";
    facts.kept = note(&mut unread, "kept volumes", right, cluster.kept(workload.as_ref(), &pods)).unwrap_or_default();
    for resource in kinds() {
        let right = format!("list on {}.{}", resource.plural, resource.group);
        match note(&mut unread, &resource.kind, &right, objects(cluster, &resource)) {
            Some(objects) => facts.objects.extend(objects),
            None => facts.unknown.push(resource.kind),
        }
    }
    facts.unread = unread;
    Ok(whole(Some(cluster.namespace.clone()), facts))
}

fn whole(namespace: Option<String>, facts: Facts) -> Report {
    let problems = problems(&facts);
    let Facts { relays, settings, kept, isolation, objects, unknown, .. } = facts;
    Report { namespace, problems, settings, kept_volumes: kept.volumes, relays, isolation, objects, unknown }
}

/// What cannot be read is told once, and everything else goes on.
fn note<T>(unread: &mut Vec<Unread>, kind: &str, right: &str, read: Result<T>) -> Option<T> {
    let told = |error: anyhow::Error| Unread {
        kind: kind.to_owned(),
        why: sentence(&error),
        right: is_forbidden(&error).then(|| right.to_owned()),
    };
    read.map_err(|error| unread.push(told(error))).ok()
}

/// Those of Postern.
pub(crate) fn kinds() -> [ApiResource; 3] {
    [
        ApiResource::erase::<RelayDomain>(&()),
        ApiResource::erase::<RelayHost>(&()),
        ApiResource::erase::<FilterPolicy>(&()),
    ]
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
        Err(error) => (None, Some(sentence(&error))),
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
pub(crate) fn objects(cluster: &Cluster, resource: &ApiResource) -> Result<Vec<ObjectReport>> {
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
    let is_unseen = ready.is_empty() || seen < generation;
    if is_unseen {
        let seen = seen.map(|seen| format!(", only of generation {seen}")).unwrap_or_default();
        troubles.insert(
            0,
            format!("the operator has said nothing of its generation {}{seen} yet", generation.unwrap_or_default()),
        );
    } else if ready != "True" && troubles.is_empty() {
        troubles.extend(told(&"Ready"));
    }
    ObjectReport { kind: kind.to_owned(), name: object.name_any(), ready, troubles, is_unseen }
}
