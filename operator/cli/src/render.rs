//! `postern render`: what the operator would write, without a cluster.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args as ClapArgs, ValueEnum};
use postern_operator::render::{files, render};
use postern_operator::resolve::Model;
use serde::Serialize;
use serde_json::Value;

use crate::manifest::{self, Manifests};
use crate::{dmz, volume};

/// Print what the operator would write: ConfigMap, Secret and NetworkPolicies
///
/// The manifests are checked first, as `postern check` does; nothing is printed when something is wrong. The Secret holds
/// the secrets themselves.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern render -f crds/examples/quickstart
  postern render -f dmz/ -o json | jq 'select(.kind == \"NetworkPolicy\")'
  postern render -f dmz/ --to settings && postern-relay --settings settings --spool spool")]
pub(crate) struct Args {
    /// A file (YAML of any number of documents, or JSON), a folder of such files, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Lay settings and secrets out in this folder instead, as in the relay pod's mounted volume
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// How to print the objects
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Yaml, conflicts_with = "to")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// One document for each object
    Yaml,
    /// One object on each line
    Json,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let manifests = manifest::read(&args.files);
    let Some(model) = valid_model(&manifests) else { return Ok(ExitCode::FAILURE) };
    let rendered = render(&model, postern_wire::SCHEMA);
    let mut out = io::stdout().lock();
    if let Some(folder) = &args.to {
        let settings = &rendered.settings;
        volume::publish(folder, &files(settings), &secrets(&model))?;
        writeln!(out, "settings {} are in {}", settings.digest.short(), folder.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &rendered.problems {
        eprintln!("{}: {}", problem.object, problem.message);
    }
    for policy in rendered.network_policies.iter().flatten() {
        print(&mut out, args.output, policy)?;
    }
    if let Some(secret) = &rendered.secret {
        print(&mut out, args.output, secret)?;
    }
    for config_map in rendered.config_maps.iter().flatten() {
        print(&mut out, args.output, config_map)?;
    }
    Ok(if rendered.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the manifests mean; or `None`, and standard error says what is wrong.
fn valid_model(manifests: &Manifests) -> Option<Model> {
    if !manifests.findings.is_empty() {
        manifests.findings.iter().for_each(|finding| eprintln!("{finding}"));
        return None;
    }
    let dmz = dmz::compile(manifests, &manifests.inputs());
    dmz.errors.iter().for_each(|finding| eprintln!("{finding}"));
    dmz.warnings.iter().for_each(|finding| eprintln!("{finding} (warning)"));
    dmz.errors.is_empty().then_some(dmz.model)
}

/// By file name, as they lie in the volume.
pub(crate) fn secrets(model: &Model) -> BTreeMap<String, Vec<u8>> {
    model.secrets.iter().map(|(file, content)| (file.0.clone(), content.0.clone())).collect()
}

fn print<T: Serialize + k8s_openapi::Resource>(out: &mut impl Write, output: Output, object: &T) -> Result<()> {
    let mut value = serde_json::to_value(object).context("an object does not serialise")?;
    if let Value::Object(fields) = &mut value {
        fields.insert("apiVersion".to_owned(), T::API_VERSION.into());
        fields.insert("kind".to_owned(), T::KIND.into());
    }
    match output {
        Output::Json => writeln!(out, "{value}")?,
        Output::Yaml => write!(out, "---\n{}", serde_saphyr::to_string(&value)?)?,
    }
    Ok(())
}
