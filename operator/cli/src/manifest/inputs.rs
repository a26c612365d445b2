//! From what was read to what the operator gathers: so that its `resolve` and `render` give the same answers from files.

use std::collections::BTreeMap;

use kube::Resource;
use postern_operator::inputs::{Conditions, Inputs, Meta, Object, Place, Secret, SecretBytes};

use super::Manifests;

/// The namespace that stands for the operator's where there is no operator. No pod is in it.
const NO_OPERATOR: &str = "postern-system";

impl Manifests {
    /// The DMZ of the valid objects. What only a cluster knows (an anchor, published settings, answers of DNS) is absent.
    pub(crate) fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::new(Place::Offline, self.namespace.clone(), NO_OPERATOR);
        inputs.domains = objects(&self.domains, |domain| domain.spec.clone());
        inputs.hosts = objects(&self.hosts, |host| host.spec.clone());
        inputs.policies = objects(&self.policies, |policy| policy.spec.clone());
        inputs.config_maps = self
            .config_maps
            .iter()
            .map(|map| (map.metadata.name.clone().unwrap_or_default(), map.data.clone().unwrap_or_default()))
            .collect();
        inputs.secrets = self
            .secrets
            .iter()
            .map(|secret| {
                let data = secret.data.iter().flatten();
                let data: BTreeMap<_, _> =
                    data.map(|(key, bytes)| (key.clone(), SecretBytes(bytes.0.clone()))).collect();
                (secret.metadata.name.clone().unwrap_or_default(), Secret { version: None, data })
            })
            .collect();
        inputs
    }
}

fn objects<K: Resource, S>(read: &[K], spec: impl Fn(&K) -> S) -> Vec<Object<S>> {
    read.iter()
        .map(|object| Object {
            meta: Meta::from(object.meta()),
            spec: Ok(spec(object).into()),
            conditions: Conditions::default(),
        })
        .collect()
}
