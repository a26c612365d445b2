//! The StatefulSet of the relays, and by whom the number of its pods is set.

use std::fmt::Display;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt as _;

/// Helm writes into it which release an object is of.
const RELEASE: &str = "meta.helm.sh/release-name";
/// The same by the chart's labels.
const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What of a StatefulSet counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) name: String,
    /// How many pods it is to have.
    pub(crate) replicas: usize,
    /// The Helm release that it is of.
    pub(crate) release: Option<String>,
}

impl Workload {
    pub(crate) fn of(workload: &StatefulSet) -> Self {
        let replicas = workload.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let labels = workload.labels();
        let by_helm = labels.get(MANAGED_BY).is_some_and(|manager| manager == "Helm");
        let release = workload.annotations().get(RELEASE).or_else(|| labels.get(INSTANCE).filter(|_| by_helm));
        Self {
            name: workload.name_any(),
            replicas: usize::try_from(replicas).unwrap_or_default(),
            release: release.cloned(),
        }
    }

    /// One that nothing is known of but its name.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), replicas: 0, release: None }
    }

    /// The command for it to have so many pods. What `kubectl scale` has set, the next `helm upgrade` fails on.
    pub(crate) fn scale(&self, namespace: &str, replicas: impl Display) -> String {
        let Self { name, replicas: _, release } = self;
        match release {
            Some(release) => {
                format!("helm upgrade {release} charts/relay -n {namespace} --reuse-values --set replicas={replicas}")
            }
            None => format!("kubectl -n {namespace} scale statefulset/{name} --replicas={replicas}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_helm_has_installed_is_scaled_by_helm() {
        let scale = |metadata| {
            let set = json!({"metadata": metadata, "spec": {"replicas": 0, "selector": {}, "serviceName": "r", "template": {}}});
            Workload::of(&serde_json::from_value(set).unwrap()).scale("dmz", 2)
        };
        let helm = "helm upgrade mine charts/relay -n dmz --reuse-values --set replicas=2";
        assert_eq!(scale(json!({"name": "r", "annotations": {RELEASE: "mine"}})), helm);
        assert_eq!(scale(json!({"name": "r", "labels": {INSTANCE: "mine", MANAGED_BY: "Helm"}})), helm);
        let others = json!({"name": "r", "labels": {INSTANCE: "mine", MANAGED_BY: "kustomize"}});
        assert_eq!(scale(others), "kubectl -n dmz scale statefulset/r --replicas=2");
    }
}
