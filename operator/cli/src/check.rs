//! `postern check`: what is wrong with manifests, without a cluster and without starting anything.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use crate::dmz;
use crate::manifest::{self, Finding, Manifests};

/// Say what is wrong with manifests: file, line, object, field, and what to write instead
///
/// They are checked as the API server would check them, and then as the operator would: whether everything that is
/// named exists and fits. The exit code is 1 when something is wrong.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern check -f crds/examples/quickstart
  postern check -f dmz/ -f secrets.yaml -o json
  helm template my-dmz | postern check -f -")]
pub(crate) struct Args {
    /// A file (YAML of any number of documents, or JSON), a folder of such files, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// One line for each finding
    Text,
    /// One object: errors, warnings and notes, and how many objects of each kind are valid
    Json,
}

/// The result as a whole.
#[derive(Debug, Serialize)]
struct Report {
    /// What must be changed.
    errors: Vec<Finding>,
    /// What works here, but perhaps not as meant.
    warnings: Vec<Finding>,
    /// What was left aside.
    notes: Vec<Finding>,
    valid: Valid,
}

/// How many objects are valid.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Valid {
    relay_domains: usize,
    relay_hosts: usize,
    filter_policies: usize,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut report = report(manifest::read(&args.files));
    report.warnings.extend(nothing(&report, &args.files));
    match args.output {
        Output::Json => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?,
        Output::Text => print(&report, &mut io::stdout().lock())?,
    }
    Ok(if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(mut manifests: Manifests) -> Report {
    let mut warnings = Vec::new();
    // What an object names is looked for when every object is valid; else a broken object would be missed by all others.
    if manifests.findings.is_empty() {
        let dmz = dmz::compile(&manifests, &manifests.inputs());
        (manifests.findings, warnings) = (dmz.errors, dmz.warnings);
    }
    Report {
        errors: manifests.findings,
        warnings,
        notes: manifests.notes,
        valid: Valid {
            relay_domains: manifests.domains.len(),
            relay_hosts: manifests.hosts.len(),
            filter_policies: manifests.policies.len(),
        },
    }
}

/// Where no object was read, good or bad, most likely the wrong thing was.
fn nothing(report: &Report, files: &[PathBuf]) -> Option<Finding> {
    let Valid { relay_domains, relay_hosts, filter_policies } = report.valid;
    let is_empty = report.errors.is_empty() && relay_domains + relay_hosts + filter_policies == 0;
    let name = |path: &PathBuf| if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    is_empty.then(|| Finding {
        file: files.iter().map(name).collect::<Vec<_>>().join(", "),
        line: None,
        object: None,
        field: String::new(),
        message: "no object of Postern was read".to_owned(),
        constraint: None,
    })
}

fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.errors {
        writeln!(out, "{finding}")?;
    }
    for finding in &report.warnings {
        writeln!(out, "{finding} (warning)")?;
    }
    for finding in &report.notes {
        writeln!(out, "{finding} (note)")?;
    }
    let Valid { relay_domains, relay_hosts, filter_policies } = report.valid;
    match report.errors.len() {
        0 => writeln!(
            out,
            "Valid: {relay_domains} RelayDomain, {relay_hosts} RelayHost, {filter_policies} FilterPolicy."
        ),
        1 => writeln!(out, "1 thing is wrong."),
        wrong => writeln!(out, "{wrong} things are wrong."),
    }
}
