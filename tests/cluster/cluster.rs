//! The cluster that all tests of this program share, and its administrator.

use std::env;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use postern_tests::clock::now;
use serde_json::Value;

/// How long what a cluster does by itself may take on two busy cores before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::find_or_start().expect("a cluster for the tests"));
/// Whoever stops nodes or programs of the cluster must be alone with it.
static UNDISTURBED: RwLock<()> = RwLock::new(());

pub(crate) struct Cluster {
    /// Its state folder, see tests/cluster/up.
    folder: PathBuf,
    assets: PathBuf,
    logs: PathBuf,
    number: u8,
    /// Takes it down when this process is gone, however it ends; absent when the cluster is another's.
    _keeper: Option<Child>,
}

/// A folder of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Holds off the tests that would disturb; keep it for the whole test.
pub(crate) fn undisturbed() -> RwLockReadGuard<'static, ()> {
    UNDISTURBED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no other test runs, and holds them off.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    UNDISTURBED.write().unwrap_or_else(PoisonError::into_inner)
}

/// Asks again until there is an answer.
///
/// # Errors
/// After [`PATIENCE`], with what the last attempt said.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
    within(PATIENCE, what, ask)
}

/// The same with another limit.
pub(crate) fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() > limit => return Err(error.context(format!("not within {limit:?}: {what}"))),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

impl Cluster {
    /// The one of this test program, brought up at the first call.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    fn find_or_start() -> Result<Self> {
        if let Some(kubeconfig) = env::var_os("POSTERN_CLUSTER") {
            return Self::of(Path::new(&kubeconfig), None);
        }
        let target =
            env::current_exe()?.ancestors().nth(3).context("a test program lies in target/PROFILE/deps")?.to_owned();
        let logs = target.join("tests/cluster");
        drop(fs::remove_dir_all(&logs));
        let owner = process::id().to_string();
        let mut up = Command::new(repository("tests/cluster/up"));
        up.args(["--owner", &owner, "--logs"]).arg(&logs).stderr(Stdio::inherit());
        let mut output = up.output()?;
        if !output.status.success() {
            // A dozen programs start at the same time, on a machine that may be busy. What is tested begins only then.
            eprintln!("no cluster yet: once more");
            output = up.output()?;
        }
        ensure!(output.status.success(), "tests/cluster/up ended with {}", output.status);
        let kubeconfig = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        let keeper = keeper(&kubeconfig, &owner)?;
        Self::of(&kubeconfig, Some(keeper))
    }

    fn of(kubeconfig: &Path, keeper: Option<Child>) -> Result<Self> {
        let folder = kubeconfig.parent().context("a kubeconfig of tests/cluster/up")?.to_owned();
        let facts =
            fs::read_to_string(folder.join("facts")).context("is POSTERN_CLUSTER what tests/cluster/up printed?")?;
        let fact = |name: &str| {
            let found = facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.with_context(|| format!("no {name} in {facts}"))
        };
        let (assets, logs) = (PathBuf::from(fact("assets")?), PathBuf::from(fact("logs")?));
        Ok(Self { assets, logs, number: fact("number")?.parse()?, folder, _keeper: keeper })
    }

    /// The address of this machine that is, to the pods, a server outside of the cluster.
    pub(crate) fn outside(&self) -> IpAddr {
        Ipv4Addr::new(10, 160 + self.number, 0, 2).into()
    }

    /// A node's address: `a` or `b`.
    pub(crate) fn node(&self, node: &str) -> IpAddr {
        Ipv4Addr::new(10, 160 + self.number, 0, if node == "a" { 11 } else { 12 }).into()
    }

    /// The network namespace of node `a`, of node `b`, or between them (`net`).
    pub(crate) fn network(&self, namespace: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/postern-{}-{namespace}", self.number))
    }

    /// Where a node's containerd keeps the network namespaces of its pods.
    pub(crate) fn pod_networks(&self, node: &str) -> PathBuf {
        self.folder.join(node).join("containerd-run/io.containerd.grpc.v1.cri/netns")
    }

    /// What a program of the cluster has printed, such as `kubelet-a`: its last lines.
    pub(crate) fn last_words(&self, component: &str, lines: usize) -> String {
        let text = fs::read(self.logs.join(format!("{component}.log"))).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text), lines)
    }

    /// Ends a program of the cluster at once, such as `kube-apiserver`.
    pub(crate) fn kill(&self, component: &str) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join(format!("run/{component}.pid")))?;
        let killed = Command::new("kill").args(["-9", pid.trim()]).status()?;
        ensure!(killed.success(), "{component} does not run");
        Ok(())
    }

    /// Starts a program of the cluster again.
    pub(crate) fn start(&self, component: &str) -> Result<()> {
        let mut command = Command::new("setsid");
        command.arg("--fork").arg(self.folder.join(format!("run/{component}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ensure!(command.status()?.success(), "{component} does not start");
        Ok(())
    }

    /// Writes down a figure, beside the logs and in the test's own output.
    pub(crate) fn note(&self, figure: &str) {
        println!("{figure}");
        let file = fs::File::options().create(true).append(true).open(self.logs.join("figures.txt"));
        // The figure has been printed.
        drop(file.and_then(|mut file| writeln!(file, "{figure}")));
    }

    /// A program of Kubernetes, such as `kubectl`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.assets.join(name)
    }

    /// By which the administrator reaches it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command.arg("--cache-dir").arg(self.folder.join("kubectl"));
        command
    }

    /// What `kubectl` prints, run as the administrator.
    ///
    /// # Errors
    /// With what it printed on both, when it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        told(self.kubectl_command().args(args).stdin(Stdio::null()).output()?, "kubectl", args)
    }

    /// The same with this on its stdin.
    pub(crate) fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // Dropping the pipe ends its input. What kubectl has against it stands in its stderr.
        drop(child.stdin.take().context("a pipe")?.write_all(input.as_bytes()));
        told(child.wait_with_output()?, "kubectl", args)
    }

    /// An object, or a list of them.
    pub(crate) fn get(&self, args: &[&str]) -> Result<Value> {
        let args = [&["get", "-o", "json"], args].concat();
        Ok(serde_json::from_str(&self.kubectl(&args)?)?)
    }

    /// What `helm` prints, run as the administrator.
    pub(crate) fn helm(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.assets.join("helm"));
        command.arg("--kubeconfig").arg(self.kubeconfig());
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.folder.join("helm"));
        }
        told(command.args(args).stdin(Stdio::null()).output()?, "helm", args)
    }

    /// Installs or upgrades a chart of this repository with the images of this build, and waits until all of it runs.
    pub(crate) fn chart(&self, chart: &str, namespace: &str, values: &[&str]) -> Result<String> {
        self.release(chart, namespace, values, &["--wait", "--timeout=4m"])
    }

    /// The same, waiting or not.
    pub(crate) fn release(&self, chart: &str, namespace: &str, values: &[&str], wait: &[&str]) -> Result<String> {
        let release = format!("postern-{chart}");
        let folder = repository(&format!("charts/{chart}")).display().to_string();
        let image = format!("image.repository=postern.test/{release},image.tag=test,image.pullPolicy=IfNotPresent");
        let mut args = vec!["upgrade", "--install", &release, &folder, "--namespace", namespace, "--create-namespace"];
        args.extend(wait);
        args.extend(["--set", &image]);
        args.extend(values.iter().flat_map(|value| ["--set", value]));
        self.helm(&args)
    }

    /// The operator, installed at the first call.
    pub(crate) fn operator(&self) {
        static INSTALLED: LazyLock<Result<()>> = LazyLock::new(|| {
            let values = ["log.format=text", "log.level=info\\,postern_operator=debug"];
            Cluster::shared().chart("operator", "postern-system", &values).map(drop)
        });
        if let Err(error) = &*INSTALLED {
            panic!("{error:#}\n{}", crate::trouble::of("postern-system"));
        }
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn told(output: Output, program: &str, args: &[&str]) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{program} {}: {}{text}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// A shell in a session of its own that reads a pipe which only this process holds open. When it closes, because a `static`
/// is never dropped but the process ends, the cluster is taken down, unless it is somebody else's by then.
fn keeper(kubeconfig: &Path, owner: &str) -> Result<Child> {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", r#"cat >/dev/null; exec "$1" "$2" "$3""#, "keeper"]);
    command.arg(repository("tests/cluster/down")).arg(kubeconfig).arg(owner);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}
