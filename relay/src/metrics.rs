//! What the relay counts, as Prometheus reads it. Names are `postern_relay_*`.
//!
//! Never a label that a stranger can choose: no address, no domain, no client. Each label has a fixed, small set of values,
//! so the number of series does not depend on traffic. (Certificates are named by whoever runs the relay.)

mod dns;

use std::fmt::Write as _;
use std::sync::Arc;

pub use dns::{Asked, Dns, Question, Said};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// All of them. Cheap to clone: the rooms share one.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Server,
    delivery: Delivery,
    spool: Spool,
    settings: Settings,
    dns: Dns,
    tls: Tls,
    canary_reached: Gauge,
    registry: Registry,
}

/// SMTP as a server.
#[derive(Debug)]
pub struct Server {
    /// Connections taken, whatever became of them.
    pub connections: Counter,
    /// Connections open now.
    pub open_connections: Gauge,
    /// Connections that the relay ended with 421 or 521, or without a word.
    pub closed: Family<Why, Counter>,
    /// Decisions of the policy, by its rule.
    pub decisions: Family<Rule, Counter>,
    /// Messages acknowledged after their sync.
    pub messages: Counter,
    /// Their octets.
    pub octets: Counter,
    /// Their recipients.
    pub recipients: Counter,
    /// Seconds from the final dot to its reply.
    pub commit_seconds: Histogram,
    /// TLS handshakes of clients, by how they ended.
    pub tls_handshakes: Family<Handshake, Counter>,
}

/// SMTP as a client.
#[derive(Debug)]
pub struct Delivery {
    /// Recipients settled, by what became of them in one attempt.
    pub recipients: Family<Fate, Counter>,
    /// Connections made to next hops.
    pub connections: Counter,
    /// Connections that could not be made, or failed before a message was settled.
    pub failed_connections: Counter,
    /// Connections open now.
    pub open_connections: Gauge,
    /// Seconds from acceptance to delivery, for each recipient delivered.
    pub seconds: Histogram,
    /// Notifications (DSN) made.
    pub notifications: Counter,
    /// Failures that nobody was told about, for the message had no sender.
    pub dropped_notifications: Counter,
    /// Connections without TLS because a handshake failed, to hosts that do not require it.
    pub tls_fallbacks: Counter,
    /// Destinations of which no next hop answered lately.
    pub destinations_down: Gauge,
}

/// The spool. Set from its usage when the metrics are read.
#[derive(Debug)]
pub struct Spool {
    /// Messages in the queue.
    pub messages: Gauge,
    /// Octets of segments and files.
    pub octets: Gauge,
    /// Age of the oldest message.
    pub oldest_seconds: Gauge,
    /// Damaged records set aside since the start.
    pub corrupt_records: Gauge,
}

/// The settings.
#[derive(Debug)]
pub struct Settings {
    /// Settings taken or refused.
    pub loads: Family<Load, Counter>,
    /// Objects in force.
    pub objects: Gauge,
    /// Objects that cannot be enforced whole.
    pub faults: Gauge,
}

/// The certificates that clients are shown.
#[derive(Debug)]
pub struct Tls {
    /// When each expires, in seconds since 1970.
    pub expiry: Family<CertificateName, Gauge>,
    /// How many have files that cannot be used.
    pub faults: Gauge,
}

/// A certificate by the name of its folder, which is the administrator's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateName {
    /// The name.
    pub certificate: String,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Handshake {
    /// One word.
    pub result: Shaken,
}

/// See [`Handshake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shaken {
    /// TLS stands.
    Ok,
    /// The connection is closed.
    Failed,
}

/// Why a connection was ended by the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    /// One word.
    pub why: Closed,
}

/// See [`Why`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// Too many connections.
    Full,
    /// Blocked by a policy.
    Blocked,
    /// Too slow.
    Timeout,
    /// Too many errors.
    Errors,
    /// A line that does not end, or a lone CR or LF in a body.
    Protocol,
    /// The relay is stopping.
    Draining,
}

/// A rule of the policy: one of the words that [`crate::policy`] uses, never text from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Rule {
    /// The word.
    pub rule: &'static str,
}

/// What became of a recipient in one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Fate {
    /// One word.
    pub outcome: Outcome,
}

/// See [`Fate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The next hop took it.
    Delivered,
    /// Again later.
    Deferred,
    /// Returned to its sender.
    Failed,
}

/// What became of new settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Load {
    /// One word.
    pub result: Loaded,
}

/// See [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loaded {
    /// In force.
    Enforced,
    /// Not believed: the last good ones stay.
    Rejected,
}

/// Label values as Prometheus writes them: lower-case words.
macro_rules! words {
    ($($kind:ident { $($variant:ident = $word:literal),* })*) => {
        $(impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(match self { $(Self::$variant => $word,)* })
            }
        })*
    };
}

words! {
    Closed {
        Full = "full", Blocked = "blocked", Timeout = "timeout", Errors = "errors", Protocol = "protocol",
        Draining = "draining"
    }
    Outcome { Delivered = "delivered", Deferred = "deferred", Failed = "failed" }
    Loaded { Enforced = "enforced", Rejected = "rejected" }
    Shaken { Ok = "ok", Failed = "failed" }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postern_relay");
        let server = Server::new(registry.sub_registry_with_prefix("smtp"));
        let delivery = Delivery::new(registry.sub_registry_with_prefix("delivery"));
        let spool = Spool::new(registry.sub_registry_with_prefix("spool"));
        let settings = Settings::new(registry.sub_registry_with_prefix("settings"));
        let dns = Dns::new(registry.sub_registry_with_prefix("dns"));
        let tls = Tls::new(registry.sub_registry_with_prefix("tls"));
        let canary_reached = Gauge::default();
        registry.register("canary_reached", "Whether nothing isolates this relay (1)", canary_reached.clone());
        Self(Arc::new(Inner { server, delivery, spool, settings, dns, tls, canary_reached, registry }))
    }

    /// Whether what must not be reached was.
    pub fn canary_reached(&self, reached: bool) {
        self.0.canary_reached.set(reached.into());
    }

    /// SMTP as a server.
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// SMTP as a client.
    pub fn delivery(&self) -> &Delivery {
        &self.0.delivery
    }

    /// The spool.
    pub fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The DNS.
    pub fn dns(&self) -> &Dns {
        &self.0.dns
    }

    /// The certificates.
    pub fn tls(&self) -> &Tls {
        &self.0.tls
    }

    /// All of them in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: text is written into memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl Server {
    fn new(registry: &mut Registry) -> Self {
        let server = Self {
            connections: Counter::default(),
            open_connections: Gauge::default(),
            closed: Family::default(),
            decisions: Family::default(),
            messages: Counter::default(),
            octets: Counter::default(),
            recipients: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            tls_handshakes: Family::default(),
        };
        registry.register("connections", "Connections taken", server.connections.clone());
        registry.register("open_connections", "Connections open now", server.open_connections.clone());
        registry.register("closed", "Connections that the relay ended, by why", server.closed.clone());
        registry.register("decisions", "Decisions of the policy, by rule", server.decisions.clone());
        registry.register("messages", "Messages acknowledged", server.messages.clone());
        registry.register_with_unit("message", "Octets acknowledged", Unit::Bytes, server.octets.clone());
        registry.register("recipients", "Recipients of the messages acknowledged", server.recipients.clone());
        registry.register("tls_handshakes", "TLS handshakes of clients, by result", server.tls_handshakes.clone());
        let commit = server.commit_seconds.clone();
        registry.register_with_unit("commit", "Time from the final dot to its reply", Unit::Seconds, commit);
        server
    }
}

impl Delivery {
    fn new(registry: &mut Registry) -> Self {
        let delivery = Self {
            recipients: Family::default(),
            connections: Counter::default(),
            failed_connections: Counter::default(),
            open_connections: Gauge::default(),
            seconds: Histogram::new(exponential_buckets(0.005, 4.0, 14)),
            notifications: Counter::default(),
            dropped_notifications: Counter::default(),
            tls_fallbacks: Counter::default(),
            destinations_down: Gauge::default(),
        };
        registry.register("recipients", "Recipients settled, by outcome of the attempt", delivery.recipients.clone());
        registry.register("connections", "Connections made to next hops", delivery.connections.clone());
        let failed = delivery.failed_connections.clone();
        registry.register("failed_connections", "Connections to next hops that could not be made or failed", failed);
        registry.register("open_connections", "Connections to next hops open now", delivery.open_connections.clone());
        let seconds = delivery.seconds.clone();
        registry.register_with_unit("delay", "Time from acceptance to delivery", Unit::Seconds, seconds);
        registry.register("notifications", "Notifications (DSN) made", delivery.notifications.clone());
        let dropped = delivery.dropped_notifications.clone();
        registry.register("dropped_notifications", "Failures that nobody was told about: no sender", dropped);
        let fallbacks = delivery.tls_fallbacks.clone();
        registry.register("tls_fallbacks", "Connections without TLS because a handshake failed", fallbacks);
        let down = delivery.destinations_down.clone();
        registry.register("destinations_down", "Destinations of which no next hop answered lately", down);
        delivery
    }
}

impl Spool {
    fn new(registry: &mut Registry) -> Self {
        let spool = Self {
            messages: Gauge::default(),
            octets: Gauge::default(),
            oldest_seconds: Gauge::default(),
            corrupt_records: Gauge::default(),
        };
        registry.register("messages", "Messages in the queue", spool.messages.clone());
        registry.register_with_unit("size", "Size of segments and files", Unit::Bytes, spool.octets.clone());
        let oldest = spool.oldest_seconds.clone();
        registry.register_with_unit("oldest", "Age of the oldest message in the queue", Unit::Seconds, oldest);
        registry.register("corrupt_records", "Damaged records set aside", spool.corrupt_records.clone());
        spool
    }
}

impl Settings {
    fn new(registry: &mut Registry) -> Self {
        let settings = Self { loads: Family::default(), objects: Gauge::default(), faults: Gauge::default() };
        registry.register("loads", "Settings read, by result", settings.loads.clone());
        registry.register("objects", "Objects in force", settings.objects.clone());
        registry.register("faults", "Objects that cannot be enforced whole", settings.faults.clone());
        settings
    }
}

impl Tls {
    fn new(registry: &mut Registry) -> Self {
        let tls = Self { expiry: Family::default(), faults: Gauge::default() };
        let help = "When each certificate expires, since 1970";
        registry.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, tls.expiry.clone());
        registry.register("certificate_faults", "Certificates whose files cannot be used", tls.faults.clone());
        tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_openmetrics_under_the_relays_names() {
        let metrics = Metrics::new();
        metrics.server().decisions.get_or_create(&Rule { rule: "relaying-denied" }).inc();
        metrics.delivery().recipients.get_or_create(&Fate { outcome: Outcome::Deferred }).inc_by(2);
        metrics.spool().messages.set(3);
        metrics.server().octets.inc_by(4096);
        let text = metrics.encode().unwrap();
        for line in [
            "postern_relay_smtp_decisions_total{rule=\"relaying-denied\"} 1",
            "postern_relay_delivery_recipients_total{outcome=\"deferred\"} 2",
            "postern_relay_spool_messages 3",
            "postern_relay_smtp_message_bytes_total 4096",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("postern_relay_")));
    }
}
