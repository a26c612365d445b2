//! Which settings are asked: those that files mean, and those that they would mean with what-if files laid over.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use postern_operator::inputs::{Inputs, Object};
use postern_operator::problem::Effect;
use postern_operator::render::render;
use postern_operator::resolve::resolve;
use postern_wire::{SCHEMA, Snapshot};

use crate::manifest::{self, Manifests};

/// Where settings come from.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Ask the settings that these manifests mean: a file, a folder of files, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Lay these manifests over, each object in place of the one of its kind and name, and tell what they change
    #[arg(long, value_name = "PATH")]
    what_if: Vec<PathBuf>,
}

/// Settings, and where they are from.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) snapshot: Snapshot,
    pub(super) from: String,
    pub(super) notes: Vec<String>,
}

/// What there is now, and with the what-if files.
pub(super) struct Found {
    pub(super) now: Settings,
    pub(super) what_if: Option<Settings>,
}

/// `None` when the files are wrong: standard error says how.
pub(super) fn find(args: &Place) -> Result<Option<Found>> {
    let Some(manifests) = valid(&args.files) else { return Ok(None) };
    let what_if = match args.what_if.as_slice() {
        [] => None,
        files => match valid(files) {
            Some(what_if) => Some(what_if),
            None => return Ok(None),
        },
    };
    let inputs = manifests.inputs();
    let from = names(&args.files);
    let what_if = what_if.map(|over| {
        let inputs = lay_over(inputs.clone(), over.inputs());
        settings(&inputs, format!("{from} with {} laid over", names(&args.what_if)))
    });
    Ok(Some(Found { now: settings(&inputs, from), what_if }))
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Manifests as the API server would take them; or standard error says what it would not.
fn valid(files: &[PathBuf]) -> Option<Manifests> {
    let manifests = manifest::read(files);
    manifests.findings.iter().for_each(|finding| eprintln!("{finding}"));
    manifests.findings.is_empty().then_some(manifests)
}

/// What the operator makes of these objects; what it would complain about is a note, for it may be the explanation.
/// `postern check` warns of more.
fn settings(inputs: &Inputs, from: String) -> Settings {
    let (model, problems) = resolve(inputs);
    let rendered = render(&model, SCHEMA);
    let problems = problems.iter().chain(&rendered.problems).filter(|problem| problem.effect != Effect::Warning);
    let notes = problems.map(|problem| format!("{}: {}", problem.object, problem.message)).collect();
    Settings { snapshot: rendered.settings.snapshot, from, notes }
}

/// Each object of `over` takes the place of the one of its kind and name, and is as old as that one.
fn lay_over(mut base: Inputs, over: Inputs) -> Inputs {
    replace(&mut base.domains, over.domains);
    replace(&mut base.hosts, over.hosts);
    replace(&mut base.policies, over.policies);
    base.config_maps.extend(over.config_maps);
    base.secrets.extend(over.secrets);
    base
}

fn replace<S>(base: &mut Vec<Object<S>>, over: Vec<Object<S>>) {
    for mut object in over {
        match base.iter_mut().find(|known| known.meta.name == object.meta.name) {
            Some(known) => {
                object.meta = known.meta.clone();
                object.meta.generation += 1;
                *known = object;
            }
            None => base.push(object),
        }
    }
}
