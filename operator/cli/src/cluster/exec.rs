//! A way into a relay pod: the API server's exec runs `/postern control` there, which connects its standard input and output
//! with the control socket. So authority over a queue is `pods/exec`: both `create` and `get`, for a WebSocket begins as a
//! GET, and an API server may ask for either.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{RelayPod, api_sentence};

/// What is run in the pod.
const COMMAND: [&str; 2] = ["/postern", "control"];
/// For the API server to reach the pod.
const TIME: Duration = Duration::from_secs(20);
/// Octets between the pod and us at once.
const BUFFER: usize = 64 << 10;
/// Octets of what the pod says is wrong.
const COMPLAINT_MAX: u64 = 4096;

/// A stream to a relay's control socket, and why it broke, once it has.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: StdStream,
    pub(crate) trouble: Trouble,
}

/// Why a link broke. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The reason, if it is known.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().ok()?.clone()
    }

    fn set(&self, reason: String) {
        if let Ok(mut place) = self.0.lock() {
            place.get_or_insert(reason);
        }
    }
}

impl Link {
    /// Returns at once; whoever reads from the stream waits until the pod answers.
    pub(super) fn open(runtime: &Runtime, api: Api<Pod>, pod: &RelayPod) -> Result<Self> {
        let (stream, end) = StdStream::pair()?;
        end.set_nonblocking(true)?;
        let trouble = Trouble::default();
        let (pod, told) = (pod.clone(), trouble.clone());
        runtime.spawn(async move {
            if let Err(reason) = carry(&api, &pod, &end).await {
                told.set(reason);
            }
            // Only now the reader sees the end: the reason is there before it.
            drop(end);
        });
        Ok(Self { stream, trouble })
    }
}

/// Carries octets both ways until one side ends. An error is a sentence about the pod.
async fn carry(api: &Api<Pod>, pod: &RelayPod, end: &StdStream) -> Result<(), String> {
    let parameters = AttachParams::default()
        .container(&pod.container)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER);
    let begun = timeout(TIME, api.exec(&pod.name, COMMAND, &parameters)).await;
    let begun = begun.map_err(|_| format!("the API server does not reach it within {} s", TIME.as_secs()))?;
    let mut process = begun.map_err(|error| refused(&error))?;
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) = (process.stdin(), process.stdout(), process.stderr())
    else {
        return Err("exec gives no streams".to_owned());
    };
    let local = |error: std::io::Error| error.to_string();
    // A second handle: the one of the caller stays open until the reason of a failure is known.
    let end = UnixStream::from_std(end.try_clone().map_err(local)?).map_err(local)?;
    let (mut from_us, mut to_us) = end.into_split();
    let complaint = async {
        let mut text = Vec::new();
        stderr.take(COMPLAINT_MAX).read_to_end(&mut text).await.ok();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let inward = async {
        // Whoever hangs up has what they wanted.
        copy(&mut from_us, &mut stdin).await.ok();
        stdin.shutdown().await.ok();
    };
    let outward = async {
        copy(&mut stdout, &mut to_us).await.ok();
    };
    tokio::select! {
        () = inward => return Ok(()),
        (complaint, ()) = async { tokio::join!(complaint, outward) } => {
            if !complaint.is_empty() {
                return Err(complaint);
            }
        }
    }
    let status = match process.take_status() {
        Some(status) => timeout(TIME, status).await.ok().flatten(),
        None => None,
    };
    let message = status
        .filter(|status| status.status.as_deref() == Some("Failure"))
        .map(|status| status.message.filter(|message| !message.is_empty()).unwrap_or("exec failed there".to_owned()));
    message.map_or(Ok(()), Err)
}

/// What an API server that says no means.
fn refused(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(_) => api_sentence(error),
        kube::Error::UpgradeConnection(upgrade) => format!("exec is refused: {upgrade}"),
        other => other.to_string(),
    }
}
