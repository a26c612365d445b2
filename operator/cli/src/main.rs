//! The program `postern`, also installed as `kubectl-postern`: one file for each subcommand, wired here.
//!
//! The only place where the operator's half and the relay's half meet. Errors go to standard error with exit code 1;
//! what a subcommand is asked for goes to standard output.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod crds;
mod dmz;
mod explain;
mod format;
mod manifest;
mod queue;
mod render;
mod text;
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
    Crds(crds::Args),
    Queue(queue::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(args) => up::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Queue(args) => queue::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn every_subcommand_can_be_parsed() {
        Cli::command().debug_assert();
    }
}
