//! From the files behind `-f` to one generation of settings, again and again: what the operator does for a namespace.
//!
//! It keeps what an API server would know and files do not: the generation of each object, one more at each edit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use postern_operator::inputs::{Inputs, Kind, Object, ObjectRef};
use postern_operator::render::{files, render};
use postern_wire::settings::Files;
use postern_wire::{Digest, SettingsFile};
use serde::Serialize;

use crate::dmz::{self, Dmz};
use crate::manifest::{self, Finding, Manifests};
use crate::render::secrets;

/// The files, and what is remembered of them.
#[derive(Debug)]
pub(super) struct Source {
    files: Vec<PathBuf>,
    generations: Generations,
}

/// What the relay is to obey, and what is to be said about it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) file: SettingsFile,
    /// The same as it lies in the volume.
    pub(super) files: Files,
    /// By file name.
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) warnings: Vec<Finding>,
    pub(super) notes: Vec<Finding>,
}

impl Source {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self { files, generations: Generations::default() }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads the files.
    ///
    /// # Errors
    /// All that is wrong with them. Then they have no part in anything, and what was read before stands.
    pub(super) fn read(&mut self) -> Result<Settings, Vec<Finding>> {
        let manifests = manifest::read(&self.files);
        if !manifests.findings.is_empty() {
            return Err(manifests.findings);
        }
        self.settings(&manifests)
    }

    fn settings(&mut self, manifests: &Manifests) -> Result<Settings, Vec<Finding>> {
        let mut inputs = manifests.inputs();
        let mut generations = self.generations.clone();
        generations.number(&mut inputs);
        let Dmz { model, errors, warnings } = dmz::compile(manifests, &inputs);
        if !errors.is_empty() {
            return Err(errors);
        }
        self.generations = generations;
        let file = render(&model, postern_wire::SCHEMA).settings;
        Ok(Settings { files: files(&file), file, secrets: secrets(&model), warnings, notes: manifests.notes.clone() })
    }
}

/// The last content and the generation of each object. One that was deleted and comes back is counted on: nobody could
/// tell otherwise whether the relay enforces the old one or the new one.
#[derive(Clone, Debug, Default)]
struct Generations(BTreeMap<ObjectRef, (Digest, i64)>);

impl Generations {
    fn number(&mut self, inputs: &mut Inputs) {
        let Inputs { domains, hosts, policies, .. } = inputs;
        self.each(Kind::RelayDomain, domains);
        self.each(Kind::RelayHost, hosts);
        self.each(Kind::FilterPolicy, policies);
    }

    /// An object that says its generation was exported from an API server, and keeps it.
    fn each<S: Serialize>(&mut self, kind: Kind, objects: &mut [Object<S>]) {
        for object in objects {
            let Ok(spec) = &object.spec else { continue };
            let (digest, written) = (Digest::of(spec), object.meta.generation.max(1));
            let known = self.0.entry(ObjectRef::new(kind, &object.meta.name)).or_insert((digest.clone(), written));
            if known.0 != digest {
                *known = (digest, known.1 + 1);
            }
            object.meta.generation = known.1.max(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const POLICY: &str =
        "apiVersion: postern.io/v1alpha1\nkind: FilterPolicy\nmetadata: {name: default}\nspec: {limits: {hops: 20}}\n";

    #[test]
    fn each_edit_is_one_more_generation_and_a_broken_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dmz.yaml");
        let mut source = Source::new(vec![file.clone()]);
        let mut generation = |text: &str| {
            fs::write(&file, text).unwrap();
            source
                .read()
                .map(|settings| settings.file.snapshot.policies[0].generation)
                .map_err(|findings| findings.len())
        };
        assert_eq!(generation(POLICY), Ok(1));
        assert_eq!(generation(&format!("# a comment\n{POLICY}")), Ok(1));
        assert_eq!(generation(&POLICY.replace("20", "21")), Ok(2));
        assert_eq!(generation(&POLICY.replace("hops", "hopps")), Err(1));
        assert_eq!(generation(&POLICY.replace("20", "22")), Ok(3));
    }
}
