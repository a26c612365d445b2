//! What the relay says of itself over HTTP, read-only: `/livez`, `/readyz`, `/metrics`, `/status`.
//!
//! Nothing can be changed here, and nothing here names an address, a sender or a recipient: whoever may reach the port may
//! read all of it. A connection lives for a limited time, and there is a limited number of them.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use postern_wire::status::{FAULTS_ONLY, Object, Queue};
use postern_wire::{SCHEMA, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::canary::Canary;
use crate::config::{Config, LiveNames};
use crate::control::Standing;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::reload::Report;
use crate::shutdown::{Shutdown, Stage};
use crate::spool::{Progress, Spool, Usage};
use crate::tls::Certificates;

/// For how long a relay that is done answers whoever follows its end. More than twice as long as the operator waits between
/// two questions.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The settings, and what became of the last ones.
    pub report: Report,
    /// What the names in the settings stand for now.
    pub names: LiveNames,
    /// What is counted.
    pub metrics: Metrics,
    /// How far opening the spool is.
    pub opening: Progress,
    /// Set once the spool is open.
    pub spool: Arc<OnceLock<Spool>>,
    /// Set once SMTP is listening.
    pub smtp: Arc<OnceLock<SocketAddr>>,
    /// The certificates that clients are shown. Absent: no TLS for clients.
    pub certificates: Option<Certificates>,
    /// Whether the network isolates us.
    pub canary: Canary,
    /// Whether we are stopping.
    pub shutdown: Shutdown,
    /// Whether somebody has asked for the status since we are: whoever wants to know what will be left.
    pub followed: Arc<AtomicBool>,
}

impl Admin {
    /// Why no mail should be sent here now; `None`: it should.
    pub fn not_ready(&self) -> Option<String> {
        if self.shutdown.stage() > Stage::Serving {
            return Some("stopping".to_owned());
        }
        if self.spool.get().is_none() {
            return Some(format!("the spool is being opened: {}", self.opening));
        }
        if self.report.config().is_none() {
            let reason = self.report.rejected();
            return Some(format!("no settings yet: {}", reason.as_deref().unwrap_or("they are being read")));
        }
        self.smtp.get().is_none().then(|| "SMTP is about to listen".to_owned())
    }

    /// What is in force, for `Programmed`; `faults_only`: only the objects of which not all is.
    pub fn status(&self, faults_only: bool) -> Status {
        let config = self.report.config();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            settings: config.as_ref().map(|config| config.digest.clone()),
            rejected: self.report.rejected().map(|reason| reason.to_string()),
            objects: config.map(|config| self.objects(&config, faults_only)).unwrap_or_default(),
            faults_only,
            names: self.names.load().report().to_vec(),
            queue: self.spool.get().map(queue),
            draining: self.shutdown.stage() > Stage::Serving,
            isolation: self.canary.isolation(),
        }
    }

    /// The same and more, for whoever asks at the control socket; what delivery knows is not here.
    pub fn standing(&self) -> Standing {
        let usage = self.spool.get().map(Spool::usage);
        let number = |number: fn(&Usage) -> u64| usage.as_ref().map_or(0, number);
        Standing {
            status: self.status(false),
            not_ready: self.not_ready(),
            octets: number(|usage| usage.octets),
            corrupt: number(|usage| usage.corrupt),
            full: usage.is_some_and(|usage| usage.full),
            unreachable: Vec::new(),
            certificates: self.certificates.as_ref().map(|all| all.problems(Timestamp::now())).unwrap_or_default(),
        }
    }

    /// Goes on answering for a moment when everything is done, if somebody follows how much is left: the operator, which
    /// tells it of the volume of a relay that is scaled in, asks twice a second.
    pub async fn last_word(&self) {
        if self.followed.load(Ordering::Relaxed) {
            sleep(LAST_WORD).await;
        }
    }

    /// What of each object is in force. A domain that requires TLS can get no mail while there is no certificate.
    fn objects(&self, config: &Config, faults_only: bool) -> Vec<Object> {
        let bare = self.certificates.as_ref().is_none_or(Certificates::is_empty);
        let required: HashSet<&str> = if bare { config.rules.tls_required().collect() } else { HashSet::new() };
        let is_closed = |object: &Object| object.kind == "RelayDomain" && required.contains(object.name.as_str());
        let told = config.objects().iter().filter(|object| !faults_only || object.fault.is_some() || is_closed(object));
        let told = told.cloned().map(|mut object| {
            if is_closed(&object) {
                let fault =
                    "inboundTLS is Required, and this relay has no certificate (--tls): its mail is answered 451";
                object.fault.get_or_insert_with(|| fault.to_owned());
            }
            object
        });
        told.collect()
    }

    /// All metrics, those of the spool as they are now.
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        if let Some(spool) = self.spool.get() {
            let (usage, gauges) = (spool.usage(), self.metrics.spool());
            let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let age = gauge(age(usage.oldest));
            gauges.messages.set(gauge(usage.messages));
            gauges.octets.set(gauge(usage.octets));
            gauges.oldest_seconds.set(age);
            gauges.corrupt_records.set(gauge(usage.corrupt));
        }
        self.metrics.encode()
    }
}

fn queue(spool: &Spool) -> Queue {
    let usage = spool.usage();
    Queue { messages: usage.messages, oldest: age(usage.oldest) }
}

/// In seconds.
fn age(oldest: Option<Timestamp>) -> u64 {
    let age = oldest.map_or(0, |oldest| Timestamp::now().duration_since(oldest).as_secs());
    u64::try_from(age).unwrap_or(0)
}

/// Serves until it is dropped: what waits when the relay ends is told, too.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, admin: Admin, limits: &Limits) -> io::Result<()> {
    let listener = Bounded {
        listener,
        places: Arc::new(Semaphore::new(usize::try_from(limits.http_connections).unwrap_or(Semaphore::MAX_PERMITS))),
        time: limits.http_time,
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(admin);
    axum::serve(listener, router).await
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status(State(admin): State<Admin>, asked: Uri) -> Response {
    if admin.shutdown.stage() > Stage::Serving {
        admin.followed.store(true, Ordering::Relaxed);
    }
    axum::Json(admin.status(asked.query() == Some(FAULTS_ONLY))).into_response()
}

/// A listener whose connections are few, and live for a limited time: a client that reads or writes slowly holds its place
/// only so long.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    time: Duration,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; without a place there would be no limit, so there is no other way out.
        let Ok(place) = self.places.clone().acquire_owned().await else { return std::future::pending().await };
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        (Connection { stream, end: Box::pin(sleep(self.time)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Fails every operation once its time is over.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// The stream, unless the time is over.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?.poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
