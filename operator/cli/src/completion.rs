//! `postern completion`: what a shell needs to complete our command lines; and, under the name `kubectl_complete-postern`,
//! what kubectl asks of a plugin (it gives the words, the last of which is to be completed, and reads one completion a line).

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, Command};
use clap_complete::{Shell, generate};

/// By this name kubectl asks for completions of `kubectl postern`.
const KUBECTLS: &str = "kubectl_complete-postern";
/// What kubectl reads last: no file names besides.
const NO_FILES: &str = ":4";

/// Print a shell's completions
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  source <(postern completion bash)
  postern completion zsh > ~/.zfunc/_postern
  postern completion fish > ~/.config/fish/completions/postern.fish

For `kubectl postern`, kubectl asks a program kubectl_complete-postern on the PATH, which this is under that name:
  ln -s \"$(command -v postern)\" /usr/local/bin/kubectl-postern
  ln -s \"$(command -v postern)\" /usr/local/bin/kubectl_complete-postern")]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "postern", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether it is kubectl that asks.
pub(crate) fn is_asked() -> bool {
    let name = env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == KUBECTLS)
}

/// Answers kubectl.
pub(crate) fn answer(command: &Command) -> Result<ExitCode> {
    let words: Vec<String> = env::args().skip(1).collect();
    let mut text = complete(command, &words).join("\n");
    text.push('\n');
    text.push_str(NO_FILES);
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// What the last word may become: a subcommand, a flag, or one of a flag's values.
fn complete(command: &Command, words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let (mut place, mut globals) = (command, Vec::new());
    for word in before {
        if let Some(inner) = place.find_subcommand(word) {
            globals.extend(place.get_arguments().filter(|argument| argument.is_global_set()));
            place = inner;
        }
    }
    let arguments = || place.get_arguments().chain(globals.iter().copied()).filter(|argument| !argument.is_hide_set());
    let named = before.last().and_then(|word| {
        let long = word.strip_prefix("--");
        let short = word.strip_prefix('-').filter(|_| long.is_none());
        arguments().find(|argument| {
            long.is_some_and(|long| argument.get_long() == Some(long))
                || short.is_some_and(|short| argument.get_short().map(String::from).as_deref() == Some(short))
        })
    });
    let all: Vec<String> = match named.filter(|argument| argument.get_action().takes_values()) {
        Some(argument) => argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
        None if last.starts_with('-') => {
            arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
        }
        None => {
            let subcommands = place.get_subcommands().filter(|command| !command.is_hide_set());
            let values = arguments().filter(|argument| argument.is_positional());
            let values = values.flat_map(clap::Arg::get_possible_values);
            let values = values.map(|value| value.get_name().to_owned());
            subcommands.map(|command| command.get_name().to_owned()).chain(values).collect()
        }
    };
    all.into_iter().filter(|word| word.starts_with(last.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        complete(&crate::command(), &words)
    }

    #[test]
    fn subcommands_flags_and_values_are_completed() {
        assert_eq!(completed("qu"), ["queue"]);
        assert_eq!(completed("queue re"), ["retry", "release"]);
        assert_eq!(completed("queue list --sort a"), ["age", "attempts"]);
        assert_eq!(completed("queue list --names"), ["--namespace"]);
        assert_eq!(completed("queue list -o y"), ["yaml"]);
        assert_eq!(completed("completion z"), ["zsh"]);
        assert_eq!(completed("contro"), Vec::<String>::new());
        assert_eq!(completed("status --namespace "), Vec::<String>::new());
    }
}
