//! The operator that the tests watch: the real program, one for all of them, with exactly the rights that the charts give it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use postern_tests::{chart, program};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_server::ApiServer;
use crate::manifests::{apply, apply_in};
use crate::process::{Process, free_port};

/// As the API server knows it: the ServiceAccount that the bindings name.
pub(crate) const USER: &str = "system:serviceaccount:postern-system:postern-operator";

/// What a chart renders for a namespace; the operator's rights are among it.
pub(crate) async fn objects(chart: &'static str, namespace: &str) -> Result<Vec<Value>> {
    let namespace = namespace.to_owned();
    tokio::task::spawn_blocking(move || chart::objects(chart, &namespace, &json!({}))).await?
}

/// Starts it at the first call.
pub(crate) async fn running(client: &Client) -> Result<&'static Running> {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = STARTING.lock().await;
    if let Some(running) = RUNNING.get() {
        return Ok(running);
    }
    let rights = objects("operator", "postern-system").await?;
    apply::<ClusterRole>(client, &rights).await?;
    apply::<ClusterRoleBinding>(client, &rights).await?;
    let started = tokio::task::spawn_blocking(start).await??;
    Ok(RUNNING.get_or_init(|| started))
}

/// An operator that has been started.
pub(crate) struct Running {
    _process: Process,
    /// Its port for health and metrics.
    pub(crate) http: u16,
}

/// How to start the only operator as this user.
pub(crate) fn command_line(file: &str, user: &str, http: u16) -> Result<Vec<String>> {
    let mut args = with_kubeconfig(&ApiServer::shared().kubeconfig(file, user, None)?, http)?;
    args.push("--lease=".to_owned());
    Ok(args)
}

/// How to start one of several.
pub(crate) fn with_kubeconfig(kubeconfig: &Path, http: u16) -> Result<Vec<String>> {
    Ok(vec![
        format!("KUBECONFIG={}", kubeconfig.display()),
        // As in the chart.
        "MIMALLOC_PURGE_DELAY=0".to_owned(),
        program::own("postern-operator")?.display().to_string(),
        format!("--http=127.0.0.1:{http}"),
        "--log=info,postern_operator=debug".to_owned(),
        "--log-format=text".to_owned(),
    ])
}

fn start() -> Result<Running> {
    let http = free_port()?;
    let args = command_line("operator", USER, http)?;
    let process = Process::start(Path::new("env"), &args, &ApiServer::shared().file("operator.log"))?;
    Ok(Running { _process: process, http })
}

/// How often it has looked after a namespace.
pub(crate) fn reconciles(namespace: &str) -> usize {
    let log = fs::read_to_string(ApiServer::shared().file("operator.log")).unwrap_or_default();
    let of_it = format!("reconciled namespace=\"{namespace}\" ended=Ended {{ result: \"done\" }}");
    log.matches(&of_it).count()
}

/// What an operator answers at its port.
pub(crate) async fn get(http: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", http)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Gives it the rights of a DMZ in a namespace.
pub(crate) async fn admit(client: &Client, namespace: &str) -> Result<()> {
    let rights = objects("relay", namespace).await?;
    apply_in::<Role>(client, namespace, &rights).await?;
    apply_in::<RoleBinding>(client, namespace, &rights).await.context("the operator's rights")
}
