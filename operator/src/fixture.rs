//! A small DMZ for the unit tests: one RelayDomain, one RelayHost, one FilterPolicy, all well. Each test changes one thing.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::inputs::{Anchor, Conditions, Inputs, Meta, Object, Place, Secret, SecretBytes};
use crate::problem::{Effect, Problem};
use crate::resolve::{Model, resolve};

/// Certificates only for show: one, in PEM form.
pub(crate) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

pub(crate) fn object<S: DeserializeOwned>(name: &str, spec: Value) -> Object<S> {
    let meta = Meta {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        generation: 1,
        created: Timestamp::from_second(1_800_000_000).expect("a time"),
    };
    Object {
        meta,
        spec: serde_json::from_value(spec).map(Arc::new).map_err(|error| error.to_string()),
        conditions: Conditions::default(),
    }
}

pub(crate) fn dmz() -> Inputs {
    let mut inputs = Inputs::new(Place::Cluster, "dmz", "postern-system");
    inputs.nodes = Some(BTreeSet::new());
    let workload = json!({"metadata": {"name": "relay", "uid": "uid-relay"}});
    inputs.anchor = Anchor::of(&serde_json::from_value(workload).expect("a StatefulSet"));
    inputs.hosts.push(object("exchange", json!({"endpoints": [{"host": {"address": "10.20.0.11"}}]})));
    inputs.policies.push(object("default", json!({})));
    inputs.domains.push(object(
        "contoso",
        json!({"domains": ["contoso.com"], "deliverTo": [{"name": "exchange"}], "recipients": {"mode": "AcceptAll"}}),
    ));
    inputs
}

/// The host trusts only the CA in this Secret.
pub(crate) fn with_ca(mut inputs: Inputs, resource_version: Option<&str>, content: &str) -> Inputs {
    let spec = json!({
        "endpoints": [{"host": {"address": "10.20.0.11"}}],
        "tls": {"verification": "Verified", "caSecretRef": {"name": "corp-ca", "key": "ca.crt"}},
    });
    inputs.hosts = vec![object("exchange", spec)];
    let version = resource_version.map(|version| ("uid-corp-ca".to_owned(), version.to_owned()));
    let data = [("ca.crt".to_owned(), SecretBytes(content.into()))].into();
    inputs.secrets.insert("corp-ca".to_owned(), Secret { version, data });
    inputs
}

pub(crate) fn model(inputs: &Inputs) -> Model {
    resolve(inputs).0
}

/// The messages of the problems with this effect.
pub(crate) fn told(problems: &[Problem], effect: Effect) -> Vec<&str> {
    problems.iter().filter(|problem| problem.effect == effect).map(|problem| problem.message.as_str()).collect()
}
