//! `postern-operator`: looks after the DMZs of a cluster.

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use ipnet::IpNet;
use postern_operator::inputs::CLUSTER_DOMAIN;
use postern_operator::limits::{self, LEASE_DURATION, LEASE_RENEW_DEADLINE, LEASE_RETRY_PERIOD, LeaseTimes, seconds};
use postern_operator::{LeaseSettings, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes settings, secrets and NetworkPolicies of the RelayDomains, RelayHosts and FilterPolicies of each namespace, and
/// tells each of them what came of it.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Look after these namespaces only, and ask for no right beyond them. Default: every namespace that holds an object
    /// of our kinds or a relay workload.
    #[arg(long = "namespace", env = "POSTERN_NAMESPACES", value_delimiter = ',', value_name = "NAME")]
    namespaces: Vec<String>,
    /// The namespace of the operator's own pods: from there, and only from there, the relays let themselves be asked.
    #[arg(long, env = "POSTERN_OPERATOR_NAMESPACE", default_value = "postern-system", value_name = "NAME")]
    operator_namespace: String,
    /// The ranges of this cluster's pods, Services and nodes, such as 10.244.0.0/16,fd00:10::/56. Mail that goes out by the
    /// recipients' MX is never let through to them. Private ranges never are; name those that are public.
    #[arg(long = "cluster-ranges", env = "POSTERN_CLUSTER_RANGES", value_delimiter = ',', value_name = "CIDR",
        value_parser = cluster_range)]
    cluster_ranges: Vec<IpNet>,
    /// What the DNS names of this cluster's Services end in, as the kubelet's clusterDomain says.
    #[arg(long, env = "POSTERN_CLUSTER_DOMAIN", default_value = CLUSTER_DOMAIN, value_name = "NAME",
        value_parser = cluster_domain)]
    cluster_domain: String,
    /// The Lease in the operator's own namespace by which one of several operators leads; the others wait for it to end.
    /// An empty name: this is the only operator, and needs no Lease.
    #[arg(long, env = "POSTERN_LEASE", default_value = "postern-operator", value_name = "NAME")]
    lease: String,
    /// What stands in the Lease while this operator leads. Default: the host's name and a random number.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    #[arg(long, env = "POSTERN_LEASE_DURATION", default_value_t = LEASE_DURATION.default, value_name = "SECONDS",
        value_parser = |text: &str| seconds(&LEASE_DURATION, text), help = limits::help(&LEASE_DURATION))]
    lease_duration: u64,
    #[arg(long, env = "POSTERN_LEASE_RENEW_DEADLINE", default_value_t = LEASE_RENEW_DEADLINE.default,
        value_name = "SECONDS", value_parser = |text: &str| seconds(&LEASE_RENEW_DEADLINE, text),
        help = limits::help(&LEASE_RENEW_DEADLINE))]
    lease_renew_deadline: u64,
    #[arg(long, env = "POSTERN_LEASE_RETRY_PERIOD", default_value_t = LEASE_RETRY_PERIOD.default,
        value_name = "SECONDS", value_parser = |text: &str| seconds(&LEASE_RETRY_PERIOD, text),
        help = limits::help(&LEASE_RETRY_PERIOD))]
    lease_retry_period: u64,
    /// The name servers that are asked for the addresses of endpoints, each an address with or without a port. Default:
    /// those of /etc/resolv.conf, with /etc/hosts before them.
    #[arg(long, env = "POSTERN_DNS", value_name = "IP[,IP]", value_delimiter = ',', value_parser = name_server)]
    dns: Vec<SocketAddr>,
    /// Where /healthz, /readyz and /metrics are answered.
    #[arg(long, env = "POSTERN_HTTP", default_value = "0.0.0.0:8080", value_name = "ADDR:PORT")]
    http: SocketAddr,
    /// How the log is written.
    #[arg(long, env = "POSTERN_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    log_format: LogFormat,
    /// What is logged: `info`, `debug`, or more finely as in `info,postern_operator=debug`.
    #[arg(long, env = "POSTERN_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse::<SocketAddr>().or_else(|_| alone()).map_err(|_| "not an IP address, with or without a port".to_owned())
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[value(alias = "plain")]
    Text,
}

fn cluster_range(text: &str) -> Result<IpNet, String> {
    let range: IpNet = text.parse().map_err(|_| "not a range in CIDR notation, such as 10.244.0.0/16".to_owned())?;
    if range.prefix_len() == 0 {
        return Err("every address there is, so that no mail could go out directly".to_owned());
    }
    if range.trunc() == range {
        Ok(range)
    } else {
        Err(format!("has bits set behind its prefix: write {}", range.trunc()))
    }
}

fn cluster_domain(text: &str) -> Result<String, String> {
    postern_operator::domain_name(text).ok_or_else(|| "not a domain name, such as cluster.local".to_owned())
}

/// How long what still runs may hold up the exit.
const EXIT_TIME: Duration = Duration::from_millis(500);
/// With one alone, a long reconcile would keep the lease from being renewed.
const THREADS_MIN: usize = 2;

fn main() -> Result<()> {
    // Explicitly: with two providers among the dependencies of a workspace, the implicit default panics.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let flags = Flags::parse();
    log(&flags)?;
    let threads = std::thread::available_parallelism().map_or(THREADS_MIN, |threads| threads.get().max(THREADS_MIN));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(run(flags));
    runtime.shutdown_timeout(EXIT_TIME);
    ended
}

async fn run(flags: Flags) -> Result<()> {
    let lease = lease(&flags)?;
    let config = kube::Config::infer().await.context("no cluster to talk to")?;
    let settings = Settings {
        namespaces: flags.namespaces,
        operator_namespace: flags.operator_namespace,
        cluster_domain: flags.cluster_domain,
        cluster_ranges: flags.cluster_ranges.into_iter().collect(),
        refused_targets: postern_operator::addresses_of(&config).await,
        dns: flags.dns,
        lease,
    };
    let client = kube::Client::try_from(config).context("no client for the cluster")?;
    let http = TcpListener::bind(flags.http).await.with_context(|| format!("--http {}", flags.http))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ends = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    postern_operator::run(client, settings, http, ends).await
}

fn lease(flags: &Flags) -> Result<Option<LeaseSettings>> {
    let times = LeaseTimes::new(flags.lease_duration, flags.lease_renew_deadline, flags.lease_retry_period);
    let times = times.map_err(anyhow::Error::msg)?;
    let identity = flags.identity.clone().filter(|identity| !identity.is_empty()).unwrap_or_else(random_identity);
    let lease = LeaseSettings { name: flags.lease.clone(), identity, times };
    Ok(Some(lease).filter(|lease| !lease.name.is_empty()))
}

/// For an operator that runs in no pod. A number that another process has too would let both lead.
fn random_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("postern-operator");
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

fn log(flags: &Flags) -> Result<()> {
    let filter = EnvFilter::try_new(&flags.log).with_context(|| format!("--log {}", flags.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    match flags.log_format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}
