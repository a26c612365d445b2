//! The program `postern-relay`: flags, signals, log. Exit codes: 0 after a drain, 64 for flags that cannot be used (nothing
//! is bound then), 1 for everything else.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use postern_relay::options::{Defaults, Flags, Options};
use postern_relay::{Failure, Handle, limits, signals};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_USAGE` of sysexits.h.
const BAD_FLAGS: u8 = 64;
/// How long tasks that are cut off may hold up the exit.
const EXIT_TIME: Duration = Duration::from_millis(200);

/// Relays mail by the settings in a folder, and follows them as they change.
///
/// It takes mail on 0.0.0.0:2525 and answers HTTP on 0.0.0.0:8025, unless told otherwise, and takes none before its spool
/// is open and its first settings are in force. SIGHUP looks at the settings at once; SIGTERM drains: it stops being ready,
/// finishes what was begun, and exits. A second SIGTERM ends it.
///
/// Each flag can also be given as an environment variable: --settings as POSTERN_SETTINGS, --body-rate as
/// POSTERN_BODY_RATE.
#[derive(Debug, Parser)]
#[command(name = "postern-relay", version, max_term_width = 100)]
struct Cli {
    /// The folder with settings.json and secrets/, as `postern render --to` writes it and Kubernetes mounts it
    #[arg(long, env = "POSTERN_SETTINGS", value_name = "DIR", hide_env = true)]
    settings: PathBuf,
    /// The folder of the spool, for this process alone
    #[arg(long, env = "POSTERN_SPOOL", value_name = "DIR", hide_env = true)]
    spool: PathBuf,
    #[command(flatten)]
    flags: Flags,
    /// How the log is written, to standard error
    #[arg(long, env = "POSTERN_LOG_FORMAT", value_name = "FORMAT", hide_env = true, default_value = "json")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter such as info,postern_relay::delivery=debug
    #[arg(long, env = "POSTERN_LOG", value_name = "FILTER", hide_env = true, default_value = "info")]
    log: EnvFilter,
    /// Print every limit, of the process and of the custom resources: default, least, most, and what happens at it
    #[arg(long)]
    help_limits: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    #[value(alias = "plain")]
    Text,
}

fn main() -> ExitCode {
    // Before the others are read: like --help it needs none of them.
    if std::env::args_os().skip(1).any(|argument| argument == "--help-limits") {
        let printed = std::io::stdout().write_all(limits::page().as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Whoever closed standard output or error reads no message either.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(BAD_FLAGS) } else { ExitCode::SUCCESS };
        }
    };
    let Cli { settings, spool, flags, log_format, log, help_limits: _ } = cli;
    let defaults = Defaults { smtp: ([0, 0, 0, 0], 2525).into(), http: ([0, 0, 0, 0], 8025).into(), control: None };
    let options = match flags.into_options(settings, spool, defaults) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(BAD_FLAGS);
        }
    };
    start_log(log_format, log);
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the process ends with 1.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Relay(#[from] Failure),
    #[error("the TLS library already has another provider")]
    Provider,
}

fn start(options: Options) -> Result<(), Fatal> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| Fatal::Provider)?;
    signals::raise_descriptors();
    let runtime = postern_relay::runtime()?;
    let ended = runtime.block_on(async {
        let handle = Handle::new();
        tokio::spawn(signals::steer(handle.clone())?);
        Ok(postern_relay::run(options, handle).await?)
    });
    runtime.shutdown_timeout(EXIT_TIME);
    ended
}

fn start_log(format: LogFormat, filter: EnvFilter) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        LogFormat::Text => log.with_target(false).init(),
    }
}
