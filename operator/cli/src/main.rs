//! The program `postern`, also installed as `kubectl-postern`: one file for each subcommand, wired here.
//!
//! The only place where the operator's half and the relay's half meet. Errors go to standard error with exit code 1;
//! what a subcommand is asked for goes to standard output.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod check;
mod cluster;
mod completion;
mod control;
mod crds;
mod dmz;
mod duration;
mod explain;
mod format;
mod manifest;
mod queue;
mod relays;
mod render;
mod status;
mod text;
mod trace;
mod up;
mod volume;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Postern, the mail relay of a DMZ: a few YAML files say whose mail passes and where it goes.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::Args>),
    Check(check::Args),
    Render(render::Args),
    Explain(Box<explain::Args>),
    Status(status::Args),
    Queue(queue::Args),
    Trace(trace::Args),
    Crds(crds::Args),
    Completion(completion::Args),
    #[command(hide = true)]
    Control(control::Args),
}

/// The command line, by the name under which the program was called.
fn command() -> clap::Command {
    match cluster::is_plugin() {
        true => Cli::command().name("kubectl-postern").bin_name("kubectl postern"),
        false => Cli::command(),
    }
}

fn main() -> ExitCode {
    if completion::is_asked() {
        return completion::answer(&command()).unwrap_or(ExitCode::FAILURE);
    }
    let parsed = Cli::from_arg_matches(&command().get_matches());
    let cli = parsed.unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Up(args) => up::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Completion(args) => completion::run(&args, command()),
        Command::Control(args) => control::run(&args),
    };
    match result {
        Ok(code) => code,
        // Whoever reads only the first lines has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cluster::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whether nobody reads standard output any more. That of a connection to a cluster or a relay is wrapped, and is none.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// A paragraph is one line, which the terminal's width wraps; broken by hand it would be wrapped twice.
    #[test]
    fn no_paragraph_of_a_help_is_broken_by_hand() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2).filter(|pair| pair[0] != "Examples:") {
                let is_text = |line: &str| !line.is_empty() && !line.starts_with("  ");
                assert!(!is_text(pair[0]) || !is_text(pair[1]), "{}: {pair:?}", command.get_name());
            }
        }
    }

    #[test]
    fn every_subcommand_can_be_parsed() {
        Cli::command().debug_assert();
    }
}
