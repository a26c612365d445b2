//! `postern` in the hands of somebody who does not know it: what is read only in part, and what is asked of nothing.

use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use postern_tests::program::own;

use crate::{Up, text};

/// As `postern … | head -c 1` does; the reader is gone before the first line.
#[test]
fn who_reads_only_the_first_lines_sees_no_error() -> Result<()> {
    let up = Up::prepare()?;
    for arguments in [&["render", "-f", "dmz"][..], &["crds"], &["crds", "--reference"], &["check", "-f", "dmz"]] {
        let mut command = Command::new(own("postern")?);
        command.current_dir(up.folder.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn()?;
        drop(program.stdout.take());
        let mut said = String::new();
        program.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
        // What is wrong with the manifests may stand there.
        let is_quiet = !said.contains("error") && !said.contains("panicked");
        assert!(program.wait()?.success() && is_quiet, "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_check_of_nothing_says_so() -> Result<()> {
    let up = Up::prepare()?;
    let output = up.postern(&["check", "-f", "-"])?;
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("<stdin>: no object of Postern was read (warning)\n"), "{said}");
    let said = text(&up.postern(&["check", "-f", "dmz"])?.stdout);
    assert!(!said.contains("no object"), "{said}");
    Ok(())
}

#[test]
fn a_trace_without_a_cluster_says_what_to_name() -> Result<()> {
    let up = Up::prepare()?;
    let mut command = Command::new(own("postern")?);
    command.current_dir(up.folder.path()).args(["trace", "a@b.example"]);
    command.env("HOME", up.folder.path()).env_remove("KUBECONFIG");
    let output = command.output()?;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: say -f LOG for a file, or --namespace NAME for a cluster: "), "{said}");
    assert!(said.matches("No such file").count() == 1 && !said.contains('"'), "{said}");
    Ok(())
}
