//! What the operator writes, the relay takes: every reviewed outcome under `operator/tests/golden` becomes settings that a
//! relay enforces whole.

use std::path::{Path, PathBuf};

use postern_relay::config::{Secrets, build};
use postern_wire::{SettingsFile, Snapshot};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn outcomes() -> Vec<(String, Snapshot)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/golden");
    let files = std::fs::read_dir(folder).expect("the folder of outcomes").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with(".out.yaml")).collect();
    files.sort();
    let snapshot = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("readable");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let settings = documents.iter().find_map(|document| document["data"].get("settings.json"))?;
        Some((file.file_name()?.to_string_lossy().into_owned(), sealed(settings)))
    };
    files.into_iter().filter_map(snapshot).collect()
}

/// The outcomes are written without the digests of their sections.
fn sealed(settings: &Value) -> Snapshot {
    Snapshot {
        schema: decode(&settings["schema"]),
        domains: sections(&settings["domains"]),
        hosts: sections(&settings["hosts"]),
        policies: sections(&settings["policies"]),
        nodes: if settings["nodes"].is_null() { Vec::new() } else { decode(&settings["nodes"]) },
    }
}

fn sections<T: DeserializeOwned + serde::Serialize>(sections: &Value) -> Vec<postern_wire::Section<T>> {
    let section = |section: &Value| {
        let (name, uid): (String, String) = (decode(&section["name"]), decode(&section["uid"]));
        postern_wire::Section::new(name, uid, decode(&section["generation"]), decode(&section["spec"]))
    };
    sections.as_array().expect("a list").iter().map(section).collect()
}

fn decode<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn a_relay_takes_whatever_the_operator_writes() {
    let outcomes = outcomes();
    assert!(outcomes.len() > 5);
    for (name, snapshot) in outcomes {
        let file = SettingsFile::from_json(SettingsFile::new(snapshot).to_json().as_bytes());
        let snapshot = file.unwrap_or_else(|error| panic!("{name}: {error}")).snapshot;
        let (_, faults) =
            build(snapshot.clone(), &Secrets::default(), None).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The outcomes hold no secrets, so those that need one cannot be enforced here.
        let needs_secret = |problem: &str| problem.contains("secrets/") && problem.ends_with(" is missing");
        assert!(faults.iter().all(|fault| needs_secret(&fault.problem)), "{name}: {faults:?}");
    }
}
