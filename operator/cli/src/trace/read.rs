//! The logs: those of the relay pods, line by line through the API server, or files.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use futures::io::AsyncBufRead;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::story::Story;
use crate::cluster::{Cluster, RelayPod, sentence};
use crate::relays::{complain, known};

/// Files, one after the other. How many could not be read.
pub(super) fn files(files: &[PathBuf], story: &mut Story) -> Result<usize> {
    let only = files.len() == 1;
    let mut failed = 0;
    for path in files {
        let name = path.display().to_string();
        let read = match path == Path::new("-") {
            true => lines(io::stdin().lock(), "", story),
            false => {
                File::open(path).and_then(|file| lines(BufReader::new(file), if only { "" } else { &name }, story))
            }
        };
        match read {
            Ok(()) => {}
            Err(error) if only => return Err(error).context(name),
            Err(error) => {
                complain(&name, error);
                failed += 1;
            }
        }
    }
    Ok(failed)
}

/// A line that is not UTF-8 is none of ours.
fn lines(mut input: impl BufRead, name: &str, story: &mut Story) -> io::Result<()> {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        if let Ok(text) = std::str::from_utf8(&line) {
            story.hear(name, text);
        }
        line.clear();
    }
    Ok(())
}

/// The logs of all relay pods. How many could not be read.
pub(super) fn pods(cluster: &Cluster, only: &[String], since: u64, story: &mut Story) -> Result<usize> {
    let pods = cluster.relays()?;
    known(cluster, &pods, only)?;
    let meant: Vec<&RelayPod> = pods.iter().filter(|pod| only.is_empty() || only.contains(&pod.name)).collect();
    if meant.is_empty() {
        return Err(cluster.nobody());
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut failed = 0;
    for pod in &meant {
        // A container that was restarted has another log before this one; it is gone when the node has tidied up.
        if pod.restarts > 0 {
            cluster.runtime.block_on(pod_log(&api, pod, since, true, story)).ok();
        }
        if let Err(error) = cluster.runtime.block_on(pod_log(&api, pod, since, false, story)) {
            complain(&pod.name, format!("its log cannot be read: {}", sentence(&error)));
            failed += 1;
        }
    }
    if failed == meant.len() {
        bail!("no log could be read");
    }
    Ok(failed)
}

async fn pod_log(api: &Api<Pod>, pod: &RelayPod, since: u64, previous: bool, story: &mut Story) -> Result<()> {
    let parameters = LogParams {
        container: Some(pod.container.clone()),
        since_seconds: Some(i64::try_from(since).unwrap_or(i64::MAX)),
        previous,
        ..LogParams::default()
    };
    let log = api.log_stream(&pod.name, &parameters).await?;
    hear(log, &pod.name, story).await
}

async fn hear(log: impl AsyncBufRead, name: &str, story: &mut Story) -> Result<()> {
    let mut lines = std::pin::pin!(log.lines());
    while let Some(line) = lines.try_next().await? {
        story.hear(name, &line);
    }
    Ok(())
}
