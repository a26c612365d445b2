//! Manifests of this repository, and what its charts render, applied as they are.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every document of a YAML file.
pub(crate) fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_saphyr::from_multiple(&text).with_context(|| file.display().to_string())
}

/// The YAML files of a folder of this repository, sorted.
pub(crate) fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

fn of_kind<K: Resource<DynamicType = ()>>(documents: &[Value]) -> Result<Vec<&Value>> {
    let kind = K::kind(&());
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == *kind).collect();
    anyhow::ensure!(!found.is_empty(), "there is no {kind} among them");
    Ok(found)
}

/// Applies the objects of this kind.
pub(crate) async fn apply<K>(client: &Client, documents: &[Value]) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    send(&Api::<K>::all(client.clone()), of_kind::<K>(documents)?).await
}

/// The same in a namespace.
pub(crate) async fn apply_in<K>(client: &Client, namespace: &str, documents: &[Value]) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    send(&Api::<K>::namespaced(client.clone(), namespace), of_kind::<K>(documents)?).await
}

async fn send<K>(api: &Api<K>, documents: Vec<&Value>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    for document in documents {
        let name = document["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
        let params = PatchParams::apply("test").force();
        let applied = api.patch(&name, &params, &Patch::Apply(document)).await;
        let applied = applied.with_context(|| format!("{} {name}", K::kind(&())))?;
        anyhow::ensure!(applied.name_any() == name, "{name} became another object");
    }
    Ok(())
}
