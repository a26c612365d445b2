//! What a test needs of the cluster: an administrator's client and a namespace of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api_server::ApiServer;

/// A client of the administrator, of a server that is ready.
///
/// A client belongs to the runtime that made it, and each test has a runtime of its own: do not share one.
pub(crate) async fn admin() -> Result<Client> {
    // Rust's TLS has no default of its own here: see the operator's main.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::task::spawn_blocking(ApiServer::shared).await?.ready().await
}

/// A namespace that no other test has.
pub(crate) async fn namespace(client: &Client, hint: &str) -> Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{hint}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(name)
}

/// Asks again until there is an answer, or fails with what the last attempt said.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Result<T>) -> T {
    let mut last = String::new();
    for _ in 0..300 {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within 30 s: {what}: {last}");
}
