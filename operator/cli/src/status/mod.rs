//! `postern status`: a DMZ at a glance, what is wrong with it first, each with what to do about it.

mod gather;
mod problems;
mod text;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use postern_crds::status::KeptVolume;
use postern_relay::control::Standing;
use serde::Serialize;

use crate::cluster::RelayPod;
use crate::format::{Format, structured};
use crate::relays;
pub(crate) use gather::{kinds, objects};
use problems::Problem;

/// Something is wrong.
const PROBLEMS: u8 = 3;

/// See a DMZ at a glance: relays, settings, queue, isolation, and what is wrong with what to do
///
/// What the relays enforce is asked of themselves. Nothing is changed.
#[derive(Debug, ClapArgs)]
#[command(after_help = format!("Examples:
  kubectl postern status -n dmz
  kubectl postern status -A
  postern status

{}

Exit codes: 0 nothing is wrong; 1 failed, with the reason on standard error; 2 wrong usage; 3 something is wrong.", relays::RULE))]
pub(crate) struct Args {
    #[command(flatten)]
    which: relays::Which,

    /// Every namespace that has relay pods
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "pod", "control"])]
    all_namespaces: bool,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// One DMZ, or one relay on this machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Absent: a relay on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    problems: Vec<Problem>,
    /// The digest of the settings that the operator has published.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<String>,
    relays: Vec<RelayReport>,
    /// What relays have left that were scaled in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_volumes: Vec<KeptVolume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<Isolation>,
    objects: Vec<ObjectReport>,
    /// The kinds of objects that could not be read.
    #[serde(skip)]
    unknown: Vec<String>,
}

/// One relay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RelayReport {
    name: String,
    #[serde(flatten)]
    pod: Option<PodReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
}

/// What the API server knows of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodReport {
    ready: bool,
    phase: String,
    restarts: i32,
    node: String,
}

/// The NetworkPolicies around the relays.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Isolation {
    /// The StatefulSet says that somebody else writes them.
    off: bool,
    default_deny: bool,
    ingress: bool,
    egress: bool,
    /// How many more there are: one for each path.
    paths: usize,
}

impl Isolation {
    /// Whether every policy is there that concerns every relay.
    fn stands(&self) -> bool {
        let Self { off: _, default_deny, ingress, egress, paths: _ } = self;
        *default_deny && *ingress && *egress
    }
}

/// A custom resource.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectReport {
    kind: String,
    name: String,
    /// `True`, `False` or `Unknown`; empty as long as the operator has said nothing.
    ready: String,
    /// Conditions that are not as they should be: `Accepted=False, Invalid`, and the sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    troubles: Vec<String>,
    /// The operator has said nothing yet of what it is now.
    #[serde(skip)]
    is_unseen: bool,
}

impl ObjectReport {
    /// `RelayHost/exchange`
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// What its conditions say is wrong, without their names, each sentence once.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let told = self.troubles.iter().filter_map(|told| told.split_once(": "));
        let mut told: Vec<String> = told.map(|(_, sentence)| sentence.to_owned()).collect();
        told.dedup();
        told
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { which, all_namespaces, output } = args;
    let reports = match *all_namespaces || which.is_cluster() {
        true => gather::cluster(which, *all_namespaces)?,
        false => vec![gather::here(which)?],
    };
    let mut out = io::stdout().lock();
    match (output, reports.as_slice()) {
        (Format::Text, reports) => {
            for (number, report) in reports.iter().enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                text::print(&mut out, report)?;
            }
        }
        (format, [report]) if !all_namespaces => structured(&mut out, *format, report)?,
        (format, reports) => structured(&mut out, *format, &reports)?,
    }
    out.flush()?;
    let fine = reports.iter().all(|report| report.problems.is_empty());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(PROBLEMS) })
}

impl From<&RelayPod> for PodReport {
    fn from(pod: &RelayPod) -> Self {
        let RelayPod { name: _, container: _, ready, phase, restarts, node } = pod.clone();
        Self { ready, phase, restarts, node }
    }
}
