//! One kube-apiserver with its etcd for the whole test binary; each test takes a namespace of its own. A second one is for
//! tests of operators that would be in each other's way.
//!
//! There is no kubelet, no scheduler and no controller manager: nothing collects garbage, and a pod runs only because a
//! test says so in its status. Every request of every user is in the audit log, which is how writes are counted.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::certificates::{Authority, Files};
use crate::process::{Process, free_port, steady_port};

/// How long an API server may take until it is ready. 5 s on an idle machine with two cores.
const START_WITHIN: Duration = Duration::from_secs(90);

static SHARED: LazyLock<ApiServer> = LazyLock::new(|| ApiServer::start().expect("an API server for the tests"));
static APART: LazyLock<ApiServer> = LazyLock::new(|| ApiServer::start().expect("a second API server for the tests"));

pub(crate) struct ApiServer {
    assets: PathBuf,
    folder: PathBuf,
    authority: Authority,
    url: String,
    args: Vec<String>,
    process: Mutex<Option<Process>>,
    _etcd: Process,
    _remover: Process,
}

impl ApiServer {
    /// The one of this test binary, started at the first call. Blocks: see [`crate::cluster::admin`].
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    /// Another one, on which no operator runs but those that a test starts itself.
    pub(crate) fn apart() -> &'static Self {
        &APART
    }

    fn start() -> Result<Self> {
        let assets = assets()?;
        let (folder, remover) = folder()?;
        let path = folder.as_path();
        let (etcd, etcd_url) = start_etcd(&assets, path)?;
        let authority = Authority::new(path)?;
        let port = steady_port()?;
        let args = api_server_args(path, &authority, &etcd_url, port)?;
        let url = format!("https://127.0.0.1:{port}");
        let process = Mutex::new(None);
        let server = Self { assets, authority, url, args, process, _etcd: etcd, _remover: remover, folder };
        server.start_again()?;
        Ok(server)
    }

    /// Kills it; what it has stored stays.
    pub(crate) fn stop(&self) {
        drop(self.process.lock().expect("no test panicked here").take());
    }

    /// Starts it where it was; [`ApiServer::ready`] waits for it.
    pub(crate) fn start_again(&self) -> Result<()> {
        let log = self.folder.join("kube-apiserver.log");
        let process = Process::start(&self.assets.join("kube-apiserver"), &self.args, &log)?;
        *self.process.lock().expect("no test panicked here") = Some(process);
        Ok(())
    }

    /// Waits until requests of the administrator are answered.
    pub(crate) async fn ready(&self) -> Result<Client> {
        let client = self.client("admin", "admin", Some("system:masters")).await?;
        let answered = async {
            loop {
                let request = http::Request::get("/readyz").body(Vec::new())?;
                if client.request_text(request).await.is_ok_and(|text| text == "ok") {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(START_WITHIN, answered).await {
            Ok(done) => done.map(|()| client),
            Err(_) => bail!(
                "kube-apiserver is not ready:\n{}",
                self.process
                    .lock()
                    .expect("no test panicked here")
                    .as_ref()
                    .map(Process::last_words)
                    .unwrap_or_default()
            ),
        }
    }

    /// A client with a certificate for this user.
    pub(crate) async fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(file, user, group)?)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig file with a certificate for this user, made at the first call.
    pub(crate) fn kubeconfig(&self, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.kubeconfig_by(&self.url, file, user, group)
    }

    /// The same, with another address on the way to this server.
    pub(crate) fn kubeconfig_by(&self, url: &str, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().expect("no test panicked here");
        let path = self.folder.join(format!("{file}.kubeconfig"));
        if !path.exists() {
            let files = self.authority.user(file, user, group)?;
            fs::write(&path, kubeconfig_text(url, &self.authority.ca(), &files))?;
        }
        Ok(path)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.url.trim_start_matches("https://").parse()?)
    }

    /// Where `kubectl`, say, is.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.assets.join(name)
    }

    /// A file in the folder of this run, removed with it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What `kubectl` prints on stdout, run as the administrator; an error carries its stderr.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let kubeconfig = self.kubeconfig("admin", "admin", Some("system:masters"))?;
        let output = Command::new(self.assets.join("kubectl"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg(format!("--cache-dir={}", self.folder.join("kubectl").display()))
            .args(args)
            .output()?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Every request that `user` has made in `namespace` and that was answered, oldest first: `patch configmaps/x 200`.
    pub(crate) fn requests(&self, user: &str, namespace: &str) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.join("audit.log"))?;
        // The last line may still be being written.
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_user = events.filter(|event| {
            event["user"]["username"] == user
                && event["objectRef"]["namespace"].as_str().unwrap_or_default() == namespace
        });
        Ok(of_user.map(|event| request_line(&event)).collect())
    }
}

fn request_line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let parts = [text(&object["resource"]), text(&object["name"]), text(&object["subresource"])];
    let target: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{} {} {}", text(&event["verb"]), target.join("/"), event["responseStatus"]["code"])
}

/// Builds what is missing, once, and says where it is.
fn assets() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/assets");
    let output =
        Command::new(&script).args(["kube-apiserver", "kubectl"]).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{} failed", script.display());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// In memory where possible: etcd syncs every write, and nothing here outlives the test.
fn folder() -> Result<(PathBuf, Process)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("postern-kubernetes-");
    let made = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).context("a folder for etcd")?;
    let remover = Process::removing(made.path())?;
    Ok((made.keep(), remover))
}

fn start_etcd(assets: &Path, folder: &Path) -> Result<(Process, String)> {
    let (client, peer) = (format!("http://127.0.0.1:{}", free_port()?), format!("http://127.0.0.1:{}", free_port()?));
    let data = folder.join("etcd");
    let args = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    let own = assets.join("etcd");
    let program = if own.exists() { own } else { PathBuf::from("etcd") };
    let process = Process::start(&program, &args, &folder.join("etcd.log"))?;
    Ok((process, client))
}

fn api_server_args(folder: &Path, authority: &Authority, etcd: &str, port: u16) -> Result<Vec<String>> {
    let server = authority.server("kube-apiserver")?;
    let accounts = authority.server("service-accounts")?;
    let policy = folder.join("audit-policy.yaml");
    fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    )?;
    let shown = |path: &Path| path.display().to_string();
    let flags = [
        ("etcd-servers", etcd.to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("advertise-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("tls-cert-file", shown(&server.certificate)),
        ("tls-private-key-file", shown(&server.key)),
        ("client-ca-file", shown(&authority.ca())),
        ("authorization-mode", "RBAC".to_owned()),
        ("service-account-issuer", "https://postern.test".to_owned()),
        ("service-account-key-file", shown(&accounts.certificate)),
        ("service-account-signing-key-file", shown(&accounts.key)),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        // Pods are made by the tests themselves, in namespaces to which no controller adds a ServiceAccount.
        ("disable-admission-plugins", "ServiceAccount".to_owned()),
        ("audit-policy-file", shown(&policy)),
        ("audit-log-path", shown(&folder.join("audit.log"))),
        ("audit-log-mode", "blocking-strict".to_owned()),
    ];
    Ok(flags.iter().map(|(name, value)| format!("--{name}={value}")).collect())
}

fn kubeconfig_text(url: &str, ca: &Path, files: &Files) -> String {
    let (certificate, key, ca) = (files.certificate.display(), files.key.display(), ca.display());
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"{url}\", certificate-authority: \"{ca}\"}}}}]\n\
         users: [{{name: test, user: {{client-certificate: \"{certificate}\", client-key: \"{key}\"}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    )
}
