//! One relay, from its first line in the log to its last: opens the spool, waits for settings, serves and delivers, drains.
//!
//! No global, no signal, no exit: a process, `postern up` and a test run it alike, and steer it by a [`Handle`].
//!
//! Nothing listens for mail before the spool is open and the first settings are in force. When the server or the scheduler
//! fails, the relay ends with an error: what is acknowledged is in the spool, and the next start finds it there.

mod handle;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use postern_wire::limits::MESSAGE_SIZE;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::admin::{self, Admin};
use crate::canary::Canary;
use crate::config::{Directory, Live};
use crate::control::{self, Socket, SocketError, Standing};
use crate::delivery::{self, Exchangers, View};
use crate::dns::reach::Reach;
use crate::dns::{Lookup, Resolver};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::names;
use crate::options::Options;
use crate::reload;
use crate::server::{self, Listener, Server};
use crate::shutdown::{Shutdown, Stage, Trigger};
use crate::spool::{self, Arrivals, OpenError, Spool};
use crate::tls::{self, Acceptor, Certificates};
pub use handle::Handle;
use handle::Wish;

/// How long a relay that is to end at once may still take.
const CUT_OFF: Duration = Duration::from_secs(2);
/// How long the files of certificates may be half written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads for what blocks, such as reading the disk. Each keeps what the allocator has given it, and more of them make no
/// disk faster.
const BLOCKING: usize = 16;
/// How often the log says that a long start goes on.
const PROGRESS: Duration = Duration::from_secs(5);

/// Why a relay could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An address cannot be bound.
    #[error("--{flag} {address}: {source}")]
    Bind {
        /// `smtp`, `smtps` or `http`.
        flag: &'static str,
        /// As given.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS is to come before anything else, and there is no certificate for it.
    #[error("--smtps needs a certificate: there is none in --tls {}{}", .directory.display(), .problems.iter().map(|problem| format!("; {problem}")).collect::<String>())]
    NoCertificate {
        /// The folder.
        directory: PathBuf,
        /// What in it cannot be used, and why.
        problems: Vec<String>,
    },
    /// The spool cannot be used.
    #[error("--{}", .0)]
    Spool(#[from] OpenError),
    /// The control socket cannot be used.
    #[error("--control: {0}")]
    Control(#[from] SocketError),
    /// A part of the relay that it cannot do without has ended: a bug.
    #[error("{part} has ended unexpectedly{}", .panic.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Part {
        /// Which.
        part: &'static str,
        /// What it said.
        panic: Option<String>,
    },
}

/// What [`run`] is made for: a worker for each processor, and few threads for what blocks.
///
/// # Errors
/// When the system gives no more threads or descriptors.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING).build()
}

/// Runs a relay until it is told to stop, by `handle`, and has drained.
///
/// # Errors
/// [`Failure`]. What was acknowledged is in the spool all the same.
pub async fn run(options: Options, handle: Handle) -> Result<(), Failure> {
    let (trigger, shutdown) = crate::shutdown::channel();
    let relay = Relay {
        admin: Admin {
            report: handle.report.clone(),
            names: Arc::default(),
            metrics: Metrics::new(),
            opening: spool::Progress::default(),
            spool: Arc::default(),
            smtp: Arc::default(),
            certificates: None,
            canary: Canary::default(),
            shutdown: shutdown.clone(),
            followed: Arc::default(),
        },
        handle: handle.clone(),
        view: Arc::default(),
        options,
        shutdown,
    };
    let (limits, smtp) = (relay.options.limits.clone(), relay.admin.smtp.clone());
    let work = relay.work();
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        () = steer(&trigger, &handle, &limits, &smtp) => None,
    };
    match ended {
        Some(ended) => ended,
        None => timeout(CUT_OFF, work).await.unwrap_or_else(|_| {
            warn!("cut off: what was under way is tried again at the next start");
            Ok(())
        }),
    }
}

/// Leads through the stages of stopping; returns when all time is used up.
async fn steer(trigger: &Trigger, handle: &Handle, limits: &Limits, smtp: &OnceLock<SocketAddr>) {
    handle.wished(Wish::Drain).await;
    trigger.advance(Stage::Leaving);
    if smtp.get().is_some() {
        info!("stopping: new connections are taken for {:?} more", limits.drain_accept_time);
        handle.or_end(limits.drain_accept_time).await;
    }
    trigger.advance(Stage::Draining);
    info!("draining: what was begun, and what is due, may take {:?} more", limits.drain_time);
    let settling = limits.drain_time / 4;
    handle.or_end(limits.drain_time - settling).await;
    trigger.advance(Stage::Settling);
    handle.or_end(settling).await;
    trigger.advance(Stage::Ended);
}

/// What all parts are made from.
struct Relay {
    options: Options,
    view: Arc<View>,
    handle: Handle,
    admin: Admin,
    shutdown: Shutdown,
}

impl Relay {
    /// Starts everything in its order, and ends it in the other.
    async fn work(mut self) -> Result<(), Failure> {
        // Dropped at the end of this function, whichever way: no task outlives its relay.
        let mut aside = JoinSet::new();
        self.admin.certificates = self.follow_certificates(&mut aside).await?;
        self.serve_http(&mut aside).await?;
        let first = self.follow_settings(&mut aside);
        let Some((spool, arrivals)) = self.open_spool().await? else { return Ok(()) };
        self.serve_control(&mut aside, &spool)?;
        let live = tokio::select! {
            Ok(live) = first => live,
            () = self.shutdown.reached(Stage::Draining) => {
                spool.close().await;
                self.admin.last_word().await;
                return Ok(());
            }
        };
        let (options, metrics) = (&self.options, self.admin.metrics.clone());
        let lookup: Arc<dyn Lookup> = Arc::new(Resolver::new(&options.dns, &options.limits, metrics));
        self.follow_names(&mut aside, &live, &lookup).await;
        let listeners = self.listen().await?;
        let (canary, metrics) = (self.admin.canary.clone(), self.admin.metrics.clone());
        aside.spawn(canary.run(self.options.canary, self.options.limits.clone(), metrics, self.shutdown.clone()));
        let (taking, intake) = oneshot::channel();
        let delivery = self.delivery(spool.clone(), arrivals, live.clone(), lookup, intake);
        let delivery = tokio::spawn(delivery::run(delivery));
        let server = server::run(listeners, self.server(spool.clone(), live), self.shutdown.clone());
        let server = tokio::spawn(async move {
            server.await;
            drop(taking);
        });
        self.until_drained(server, delivery).await?;
        spool.close().await;
        info!("drained: {} wait in the spool", spool.usage().messages);
        self.admin.last_word().await;
        Ok(())
    }

    async fn serve_http(&self, aside: &mut JoinSet<()>) -> Result<(), Failure> {
        let (listener, address) = bind("http", self.options.http).await?;
        info!("HTTP answers on {address}");
        self.handle.bound.send_modify(|bound| bound.http = Some(address));
        let (admin, limits) = (self.admin.clone(), self.options.limits.clone());
        aside.spawn(async move {
            if let Err(error) = admin::serve(listener, admin, &limits).await {
                error!(%error, "HTTP has ended");
            }
        });
        Ok(())
    }

    fn follow_settings(&self, aside: &mut JoinSet<()>) -> oneshot::Receiver<Live> {
        let Limits { settings_size, secret_size, .. } = self.options.limits;
        let options = reload::Options::new(&self.options.settings, settings_size, secret_size);
        let (sender, first) = oneshot::channel();
        let (report, metrics, look) =
            (self.admin.report.clone(), self.admin.metrics.clone(), self.handle.look[0].clone());
        aside.spawn(reload::run(options, report, metrics, look, sender, self.shutdown.clone()));
        first
    }

    /// Returns when each name in the settings was looked up once, or the time for one look-up is over.
    async fn follow_names(&self, aside: &mut JoinSet<()>, live: &Live, lookup: &Arc<dyn Lookup>) {
        let (sender, first) = oneshot::channel();
        let options = names::Options {
            live: live.clone(),
            names: self.admin.names.clone(),
            lookup: lookup.clone(),
            limits: self.options.limits.clone(),
            metrics: self.admin.metrics.clone(),
        };
        aside.spawn(names::run(options, sender, self.shutdown.clone()));
        let time = self.options.limits.dns_time;
        let looked = tokio::select! {
            looked = timeout(time, first) => looked.is_ok(),
            () = self.shutdown.reached(Stage::Draining) => true,
        };
        if !looked {
            warn!("not every name in the settings is known yet: its clients are told to come again");
        }
    }

    /// `None` when the relay is to end first.
    async fn open_spool(&self) -> Result<Option<(Spool, Arrivals)>, Failure> {
        let directory = self.options.spool.clone();
        let options = spool::Options {
            size_max: self.options.limits.spool_size,
            memory_max: self.options.limits.body_memory,
            message_size_max: MESSAGE_SIZE.max,
            progress: self.admin.opening.clone(),
            ..spool::Options::new(&directory)
        };
        let mut opening = spawn_blocking(move || Spool::open(options, Timestamp::now()));
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                () = sleep(PROGRESS) => info!("still opening the spool {}: {}", directory.display(), self.admin.opening),
                () = self.shutdown.reached(Stage::Draining) => return Ok(None),
            }
        };
        let (spool, arrivals) = opened.map_err(|error| part("opening the spool", error))??;
        // Only this function sets it, once.
        self.admin.spool.set(spool.clone()).ok();
        Ok(Some((spool, arrivals)))
    }

    fn serve_control(&self, aside: &mut JoinSet<()>, spool: &Spool) -> Result<(), Failure> {
        let Some(path) = &self.options.control else { return Ok(()) };
        let socket = Socket::bind(path)?;
        info!("control socket {}", Path::new(path).display());
        let serving = control::Serving {
            spool: spool.clone(),
            destinations: control::destinations(self.admin.report.clone(), Arc::clone(&self.view)),
            standing: {
                let (admin, view) = (self.admin.clone(), Arc::clone(&self.view));
                Arc::new(move || Standing { unreachable: control::unreachable(&view), ..admin.standing() })
            },
            limits: self.options.limits.clone(),
        };
        aside.spawn(control::serve(socket, serving, self.shutdown.clone()));
        Ok(())
    }

    /// `None`: there are no certificates, and never will be.
    async fn follow_certificates(&self, aside: &mut JoinSet<()>) -> Result<Option<Certificates>, Failure> {
        let Some(directory) = self.options.tls.clone() else { return Ok(None) };
        let Limits { secret_size: file_size_max, certificates: pairs_max, .. } = self.options.limits;
        let options = tls::Options { directory: directory.clone(), file_size_max, pairs_max, patience: PATIENCE };
        let metrics = self.admin.metrics.clone();
        let opened = spawn_blocking(move || tls::Follower::open(options, metrics)).await;
        let follower = opened.map_err(|error| part("reading the certificates", error))?;
        let certificates = follower.certificates();
        if certificates.is_empty() {
            if !self.options.smtps.is_empty() {
                return Err(Failure::NoCertificate { directory, problems: follower.problems() });
            }
            warn!("no certificate in {}: STARTTLS is not offered until there is one", directory.display());
        }
        aside.spawn(follower.run(self.handle.look[1].clone(), self.shutdown.clone()));
        Ok(Some(certificates))
    }

    async fn listen(&self) -> Result<Vec<Listener>, Failure> {
        let mut listeners = Vec::new();
        for (flag, address, implicit) in self.places() {
            let (socket, address) = bind(flag, address).await?;
            info!("SMTP listens on {address}{}", if implicit { ", with TLS" } else { "" });
            // Only this function sets them, once: the first is the one that is told.
            self.admin.smtp.set(address).ok();
            self.handle.bound.send_modify(|bound| bound.smtp = bound.smtp.or(Some(address)));
            let acceptor = self.admin.certificates.clone().map(Acceptor::new);
            listeners.push(Listener { socket, acceptor, implicit });
        }
        Ok(listeners)
    }

    /// Where mail is taken: flag, address, and whether TLS comes first.
    fn places(&self) -> impl Iterator<Item = (&'static str, SocketAddr, bool)> {
        let plain = self.options.smtp.iter().map(|address| ("smtp", *address, false));
        plain.chain(self.options.smtps.iter().map(|address| ("smtps", *address, true)))
    }

    fn server(&self, spool: Spool, live: Live) -> Server {
        let Options { hostname, proxy_from, never_source, limits, .. } = &self.options;
        Server {
            hostname: hostname.as_str().into(),
            live,
            names: self.admin.names.clone(),
            spool,
            trusted_proxies: proxy_from.iter().copied().collect(),
            never_sources: never_source.iter().copied().collect(),
            limits: limits.clone(),
            metrics: self.admin.metrics.clone(),
        }
    }

    fn delivery(
        &self,
        spool: Spool,
        arrivals: Arrivals,
        live: Live,
        lookup: Arc<dyn Lookup>,
        intake: oneshot::Receiver<()>,
    ) -> delivery::Options {
        delivery::Options {
            spool,
            arrivals,
            directory: Arc::new(move || -> Arc<dyn Directory> { live.load_full() }),
            lookup,
            exchangers: Exchangers {
                reach: Reach::new(self.options.mx_allow.clone()),
                port: self.options.mx_port,
                own: self.places().map(|(_, address, _)| address.ip()).collect(),
            },
            limits: self.options.limits.clone(),
            hostname: self.options.hostname.as_str().into(),
            metrics: self.admin.metrics.clone(),
            view: Arc::clone(&self.view),
            shutdown: self.shutdown.clone(),
            intake,
        }
    }

    /// Both end by themselves once they are drained. Before that neither may.
    async fn until_drained(&self, mut server: JoinHandle<()>, mut delivery: JoinHandle<()>) -> Result<(), Failure> {
        let (mut served, mut delivered) = (false, false);
        while !(served && delivered) {
            let (name, ended) = tokio::select! {
                ended = &mut server, if !served => {
                    served = true;
                    ("the SMTP server", ended)
                }
                ended = &mut delivery, if !delivered => {
                    delivered = true;
                    ("delivery", ended)
                }
            };
            ended.map_err(|error| part(name, error))?;
            if self.shutdown.stage() < Stage::Draining {
                return Err(Failure::Part { part: name, panic: None });
            }
        }
        Ok(())
    }
}

fn part(part: &'static str, error: JoinError) -> Failure {
    Failure::Part { part, panic: Some(error.to_string()) }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Failure::Bind { flag, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
