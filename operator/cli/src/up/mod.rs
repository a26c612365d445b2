//! `postern up`: a whole DMZ on this machine, from the same YAML and by the same code as in a cluster.
//!
//! The files are validated as the API server would, resolved and rendered as the operator would, and laid out as the
//! kubelet would; the relay follows that folder as in its pod. Whatever becomes of the files, the last good settings stay
//! in force.

mod sink;
mod source;
mod story;
mod watch;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use postern_relay::options::{Defaults, Flags, Options};
use postern_relay::{Handle, signals};
use postern_wire::Snapshot;
use tracing_subscriber::EnvFilter;

use self::sink::Sink;
use self::source::{Settings, Source};
use crate::manifest::Finding;
use crate::volume;

/// Where state is kept unless told otherwise; .gitignore knows it.
pub(crate) const STATE: &str = ".postern";
/// The control socket, under the state.
pub(crate) const CONTROL: &str = "control.sock";

/// Run a whole DMZ on this machine from a few YAML files
///
/// The files are checked, resolved and rendered by the operator's own code, and a relay obeys them. An edited file is
/// enforced within a second, for the next message; open connections go on. A file that is wrong changes nothing: what is
/// wrong is said, and the last good settings stay in force.
///
/// Ctrl-C finishes what was begun, then ends; a second one ends at once. Mail that waits is in the queue at the next start.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern up -f crds/examples/quickstart --sink
  postern up -f dmz/ --smtp 0.0.0.0:2525 --hostname relay.example.com --state /var/lib/postern
  postern queue list            (in another terminal)")]
pub(crate) struct Args {
    /// A file (YAML of any number of documents, or JSON), a folder of such files, or - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Where the queue, the settings in force and the sink's deliveries are kept
    #[arg(long, env = "POSTERN_STATE", value_name = "DIR", default_value = STATE, hide_env = true)]
    state: PathBuf,

    /// Also run a mailbox server on the loopback endpoints that the RelayHosts name: it takes all mail, shows each
    /// delivery and keeps it as a file
    #[arg(long)]
    sink: bool,

    /// A recipient that the sink refuses with 550, to see what becomes of it
    #[arg(long, value_name = "ADDRESS", requires = "sink")]
    sink_refuse: Vec<String>,

    /// What is logged: error, warn, info, debug, or a filter such as info,postern_relay::delivery=debug
    #[arg(long, env = "POSTERN_LOG", value_name = "FILTER", hide_env = true, default_value = "info")]
    log: EnvFilter,

    #[command(flatten)]
    relay: Flags,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Args { files, state, sink, sink_refuse, log, relay } = args;
    let mut source = Source::new(files);
    let seen = watch::look(source.files());
    let settings = match source.read() {
        Ok(settings) => settings,
        Err(findings) => {
            story::wrong_at_start(&findings);
            return Ok(ExitCode::FAILURE);
        }
    };
    let options = options(relay, &state)?;
    volume::publish(&options.settings, &settings.files, &settings.secrets)?;
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .compact()
        .init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("the TLS library already has another provider");
    }
    signals::raise_descriptors();
    let sink = sink.then(|| Sink { directory: state.join("delivered"), refused: lower_case(&sink_refuse) });
    let runtime = postern_relay::runtime()?;
    runtime.block_on(serve(source, seen, settings, options, sink))?;
    Ok(ExitCode::SUCCESS)
}

fn options(flags: Flags, state: &Path) -> Result<Options> {
    let defaults = Defaults {
        smtp: ([127, 0, 0, 1], 2525).into(),
        http: ([127, 0, 0, 1], 8025).into(),
        control: Some(state.join(CONTROL)),
    };
    Ok(flags.into_options(state.join("settings"), state.join("spool"), defaults)?)
}

fn lower_case(addresses: &[String]) -> Vec<String> {
    addresses.iter().map(|address| address.to_lowercase()).collect()
}

/// Runs the parts until a person or the system ends it.
async fn serve(
    source: Source,
    seen: watch::Seen,
    settings: Settings,
    options: Options,
    sink: Option<Sink>,
) -> Result<()> {
    let handle = Handle::new();
    tokio::spawn(signals::steer(handle.clone()).context("cannot listen for signals")?);
    let mut sinking = Vec::new();
    if let Some(sink) = sink {
        sinking = loopback_endpoints(&settings.file.snapshot).into_iter().collect();
        if sinking.is_empty() {
            bail!("--sink has nothing to listen on: no RelayHost has an endpoint with a loopback address and a port");
        }
        tokio::spawn(sink.bind(&sinking).await?);
    }
    let (volume, spool, control) = (options.settings.clone(), options.spool.clone(), options.control.clone());
    let relay = postern_relay::run(options, handle.clone());
    tokio::pin!(relay);
    tokio::select! {
        ended = &mut relay => return Ok(ended?),
        smtp = handle.smtp() => {
            let places = story::Places { smtp, http: handle.http().await, spool, control, sinks: sinking };
            story::started(&settings, &places);
        }
    }
    tokio::select! {
        ended = &mut relay => Ok(ended?),
        ended = follow(source, seen, &volume, &handle) => ended,
    }
}

/// Publishes each good edit, and says what is wrong with each bad one.
async fn follow(mut source: Source, mut seen: watch::Seen, volume: &Path, handle: &Handle) -> Result<()> {
    let mut said = Vec::new();
    loop {
        tokio::time::sleep(watch::EVERY).await;
        let (files, now) = (source.files().to_vec(), seen.clone());
        let look = move || if files.iter().any(|path| path != Path::new("-")) { watch::look(&files) } else { now };
        let now = tokio::task::spawn_blocking(look).await?;
        if now == seen {
            continue;
        }
        seen = now;
        let (read, result) = tokio::task::spawn_blocking(move || {
            let result = source.read();
            (source, result)
        })
        .await?;
        source = read;
        publish(result, volume, handle, &mut said);
    }
}

fn publish(read: Result<Settings, Vec<Finding>>, volume: &Path, handle: &Handle, said: &mut Vec<Finding>) {
    match read {
        Ok(settings) => {
            let before = handle.report().config().map(|config| config.digest.clone());
            if let Err(error) = volume::publish(volume, &settings.files, &settings.secrets) {
                // A full disk, say: the relay goes on by what it has, and the next edit tries again.
                eprintln!("not enforced: {error:#}");
                return;
            }
            if before.is_some_and(|digest| digest == settings.file.digest) {
                story::unchanged(&settings, said);
            }
            said.clear();
            handle.reload();
        }
        // Editors save in several steps, so the same findings may come twice.
        Err(findings) if findings == *said => {}
        Err(findings) => {
            story::wrong_edit(&findings);
            *said = findings;
        }
    }
}

/// Where the sink listens: each loopback address that is an endpoint.
fn loopback_endpoints(snapshot: &Snapshot) -> BTreeSet<SocketAddr> {
    let endpoints = snapshot.hosts.iter().flat_map(|host| &host.spec.endpoints);
    endpoints
        .filter_map(|endpoint| {
            let address: IpAddr = match endpoint.address.as_str() {
                "localhost" => [127, 0, 0, 1].into(),
                address => address.parse().ok()?,
            };
            address.is_loopback().then(|| SocketAddr::new(address, endpoint.port))
        })
        .collect()
}
