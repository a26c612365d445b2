//! What the relays of a DMZ obey, and the objects that it was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{self as core, ConfigMap, Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::core::object::HasSpec;
use kube::{Api, Resource};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use postern_operator::inputs::{
    Anchor, Conditions, Inputs, Meta, Object, Place, Published, SERVICE_NAME_LABEL, Secret as Given, SecretBytes,
    Service, ServiceName,
};
use postern_operator::render::{SETTINGS, config_map_of};
use postern_wire::{PLAIN_BYTES_MAX, SettingsFile, Snapshot};
use serde::de::DeserializeOwned;

use super::{Cluster, RELAYS, api_sentence};

/// By this variable the chart tells its relays what `--never-source` does.
const NEVER_SOURCE: &str = "POSTERN_NEVER_SOURCE";

impl Cluster {
    /// The published settings: those that the relays obey.
    pub(crate) fn settings(&self) -> Result<SettingsFile> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = || format!("the ConfigMap {SETTINGS} of namespace {}", self.namespace);
        if self.runtime.block_on(api.get_opt(SETTINGS)).with_context(what)?.is_none() {
            self.exists()?;
            bail!("{} does not exist: the operator has published no settings, and the relays take no mail", what());
        }
        // Large ones lie in several ConfigMaps.
        let content = |file: &str| {
            let map = self.runtime.block_on(api.get_opt(&config_map_of(file))).map_err(|error| error.to_string())?;
            Ok(map.and_then(|map| {
                let text = map.data.and_then(|mut data| data.remove(file)).map(String::into_bytes);
                text.or_else(|| Some(map.binary_data?.remove(file)?.0))
            }))
        };
        SettingsFile::read(content, PLAIN_BYTES_MAX).with_context(what)
    }

    /// The three kinds as they are now, with the published settings beside them. Their ConfigMaps and Secrets are not read yet.
    pub(crate) fn objects(&self, published: &Snapshot) -> Result<Inputs> {
        let mut inputs = Inputs::new(Place::Cluster, self.namespace.clone(), String::new());
        inputs.domains = self.list::<RelayDomain>()?;
        inputs.hosts = self.list::<RelayHost>()?;
        inputs.policies = self.list::<FilterPolicy>()?;
        // That there is somebody to obey is not in question here.
        inputs.anchor = Some(Anchor {
            name: "postern-relay".to_owned(),
            uid: String::new(),
            network_policies: true,
            paused: false,
            claim_templates: Vec::new(),
            first: 0,
            replicas: 1,
        });
        inputs.nodes = Some(published.nodes.iter().filter_map(|range| range.parse().ok()).collect());
        inputs.published = Some(Published { snapshot: published.clone(), secrets: BTreeMap::new() }.into());
        Ok(inputs)
    }

    fn list<K>(&self) -> Result<Vec<Object<K::Spec>>>
    where
        K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let all = self.runtime.block_on(api.list(&ListParams::default()));
        let all = all.with_context(|| format!("the {} of namespace {}", resource.plural, self.namespace))?;
        let object = |object: DynamicObject| Object {
            meta: Meta::from(&object.metadata),
            spec: serde_path_to_error::deserialize(&object.data["spec"])
                .map(Arc::new)
                .map_err(|error| format!("spec.{error}")),
            conditions: Conditions::default(),
        };
        Ok(all.items.into_iter().map(object).collect())
    }

    /// Reads the ConfigMaps and Secrets that these objects name and that are not there yet. A Secret that may not be read is
    /// as one that is missing: it decides nothing about who may send, and a sentence tells of it.
    pub(crate) fn read_named(&self, inputs: &mut Inputs) -> Result<Vec<String>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let missing = |names: std::collections::BTreeSet<&str>, known: &dyn Fn(&str) -> bool| -> Vec<String> {
            names.into_iter().filter(|name| !known(name)).map(str::to_owned).collect()
        };
        for name in missing(inputs.config_maps_named(), &|name| inputs.config_maps.contains_key(name)) {
            let map = self.runtime.block_on(maps.get_opt(&name)).with_context(|| format!("the ConfigMap {name}"))?;
            inputs.config_maps.extend(map.map(|map| (name, map.data.unwrap_or_default())));
        }
        let (secrets, mut notes) = (Api::<Secret>::namespaced(self.client.clone(), &self.namespace), Vec::new());
        for name in missing(inputs.secrets_named(), &|name| inputs.secrets.contains_key(name)) {
            match self.runtime.block_on(secrets.get_opt(&name)) {
                Ok(secret) => inputs.secrets.extend(secret.map(|secret| (name, given(&secret)))),
                Err(error) => {
                    notes.push(format!("the Secret {name} is as if it were missing: {}", api_sentence(&error)))
                }
            }
        }
        Ok(notes)
    }

    /// Reads the Services that these objects name, and what is behind them. A sentence tells of each that may not be read.
    pub(crate) fn read_services(&self, inputs: &mut Inputs) -> Vec<String> {
        let mut notes = Vec::new();
        for name in inputs.services_named() {
            let read = self.runtime.block_on(self.service(&name)).map_err(|error| api_sentence(&error));
            if let Err(why) = &read {
                notes.push(format!("the Service {name} was not read: {why}"));
            }
            inputs.services.extend(read.transpose().map(|service| (name, service)));
        }
        notes
    }

    async fn service(&self, name: &ServiceName) -> kube::Result<Option<Service>> {
        let services: Api<core::Service> = Api::namespaced(self.client.clone(), &name.namespace);
        let Some(service) = services.get_opt(&name.name).await? else { return Ok(None) };
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &name.namespace);
        let of_it = ListParams::default().labels(&format!("{SERVICE_NAME_LABEL}={}", name.name));
        let slices = slices.list(&of_it).await?;
        Ok(Some(Service::new(&service, slices.iter())))
    }

    /// What the relays are told by `--never-source`; empty when they are told nothing, or it cannot be read.
    pub(crate) fn never_source(&self) -> String {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = self.runtime.block_on(api.list(&ListParams::default().labels(RELAYS)));
        let pods = pods.map(|pods| pods.items).unwrap_or_default();
        let containers = pods.into_iter().filter_map(|pod| pod.spec).flat_map(|spec| spec.containers);
        let mut variables = containers.flat_map(|container| container.env.unwrap_or_default());
        variables.find(|variable| variable.name == NEVER_SOURCE).and_then(|variable| variable.value).unwrap_or_default()
    }
}

fn given(secret: &Secret) -> Given {
    let data = secret.data.iter().flatten();
    Given { version: None, data: data.map(|(key, value)| (key.clone(), SecretBytes(value.0.clone()))).collect() }
}
