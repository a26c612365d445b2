//! `postern trace`: everything that happened to a message, from the relays' own logs.

mod line;
mod read;
mod story;
mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;

use crate::cluster::{self, Cluster};
use crate::duration::seconds;
use crate::format::{Format, structured};
use story::{Story, Wanted};

/// Nothing was found.
const NOTHING: u8 = 3;
/// Some logs could not be read.
const NOT_ALL: u8 = 4;

/// Follow a message through the relays' logs: by whom it was handed in, what was decided, each attempt, what became of it
///
/// By its queue id, or by an address: that of a sender or a recipient, or @DOMAIN; then also what was refused. The logs are
/// those that Kubernetes keeps of each relay pod, those of a container before its restart too; or files with such logs.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  kubectl postern trace 06H08JKHTMZKN8K8 -n dmz
  kubectl postern trace bob@contoso.com --since 2h -n dmz
  kubectl logs -n dmz postern-relay-0 | postern trace @contoso.com -f -
  postern trace bob@contoso.com -f relay.log

Without -f the logs are read through the API server, with the rights of your kubeconfig (`get` on `pods/log`). A log in a \
file must be in the relays' JSON form (--log-format json, which is the default of postern-relay). Times are UTC.

Exit codes: 0 found; 1 failed, with the reason on standard error; 2 wrong usage; 3 nothing was found; 4 not all logs could \
be read, with the reasons on standard error.")]
pub(crate) struct Args {
    /// A queue id, an address, @DOMAIN, or <> for the empty sender
    #[arg(value_name = "ID|ADDRESS")]
    what: Wanted,

    /// Read these logs instead of those in a cluster; - for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with_all = ["namespace", "context", "kubeconfig", "pod", "since"])]
    files: Vec<PathBuf>,

    /// How far to look back: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "24h")]
    since: u64,

    #[command(flatten)]
    cluster: cluster::Target,

    /// Only this relay pod; again for each further one
    #[arg(long, value_name = "NAME", help_heading = "In a cluster")]
    pod: Vec<String>,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { what, files, since, cluster, pod, output } = args;
    let mut story = Story::new(what.clone());
    let failed = match files.as_slice() {
        [] => read::pods(&connect(cluster)?, pod, *since, &mut story)?,
        files => read::files(files, &mut story)?,
    };
    let told = story.end();
    let mut out = io::stdout().lock();
    match output {
        Format::Text => text::print(&mut out, &told)?,
        format => structured(&mut out, *format, &told)?,
    }
    out.flush()?;
    Ok(match (failed, told.is_empty()) {
        (1.., _) => ExitCode::from(NOT_ALL),
        (0, true) => ExitCode::from(NOTHING),
        (0, false) => ExitCode::SUCCESS,
    })
}

/// Whoever has not said where the logs are may not have meant a cluster.
fn connect(target: &cluster::Target) -> Result<Cluster> {
    match target.connect() {
        Err(error) if !target.is_said() && !cluster::is_plugin() => {
            Err(error).context("say -f LOG for a file, or --namespace NAME for a cluster")
        }
        other => other,
    }
}
