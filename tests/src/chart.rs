//! The charts, rendered by the real Helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of a chart: `operator` or `relay`.
pub fn folder(chart: &str) -> PathBuf {
    root().join("charts").join(chart)
}

/// The program, built at the first call anywhere.
fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = || -> Result<PathBuf> {
        let script = root().join("tests/kubernetes/assets");
        let output = Command::new(&script).arg("helm").output().with_context(|| script.display().to_string())?;
        if !output.status.success() {
            bail!("{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(Path::new(String::from_utf8(output.stdout)?.trim()).join("helm"))
    };
    match PROGRAM.get_or_init(|| built().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

/// Runs Helm with these arguments and a file of values behind them.
///
/// # Errors
/// When it cannot be run. What it says of the chart is in the output.
pub fn helm(arguments: &[&str], values: &Value) -> Result<Output> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&file, values)?;
    let mut command = Command::new(program()?);
    command.args(arguments).arg("--values").arg(file.path()).current_dir(root());
    command.output().context("helm")
}

/// What a chart becomes, as a release of its usual name in a namespace: the text that would be sent to a cluster.
///
/// # Errors
/// What Helm says of the chart or of the values.
pub fn rendered(chart: &str, namespace: &str, values: &Value) -> Result<String> {
    let (release, folder) = (format!("postern-{chart}"), folder(chart).display().to_string());
    let output = helm(&["template", &release, &folder, "--namespace", namespace], values)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The same, as objects.
///
/// # Errors
/// As [`rendered`], and when that is no YAML.
pub fn objects(chart: &str, namespace: &str, values: &Value) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered(chart, namespace, values)?)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
