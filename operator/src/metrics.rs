//! What the operator counts. No label carries anything that a user wrote.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    result: &'static str,
}

impl Ended {
    pub(crate) const DONE: Self = Self { result: "done" };
    /// Not every cache is complete.
    pub(crate) const WAITING: Self = Self { result: "waiting" };
    /// Something could not be written; it is tried again.
    pub(crate) const FAILED: Self = Self { result: "failed" };
}

/// A write that the API server took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Write {
    pub(crate) kind: String,
    pub(crate) verb: &'static str,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Told {
    result: &'static str,
}

#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) reconciles: Family<Ended, Counter>,
    pub(crate) seconds: Histogram,
    pub(crate) writes: Family<Write, Counter>,
    pub(crate) namespaces: Gauge,
    pub(crate) leader: Gauge,
    pub(crate) events: Family<Told, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            seconds: Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            writes: Family::default(),
            namespaces: Gauge::default(),
            leader: Gauge::default(),
            events: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("postern_operator");
        registry.register("reconciles", "Reconciles of a namespace, by how they ended", metrics.reconciles.clone());
        registry.register("reconcile_seconds", "Time that a reconcile took", metrics.seconds.clone());
        registry.register("writes", "Writes that the API server took, by kind and verb", metrics.writes.clone());
        registry.register("namespaces", "DMZs that are being looked after", metrics.namespaces.clone());
        registry.register("leader", "1 while this operator leads, and so writes", metrics.leader.clone());
        registry.register("events", "Events on objects, by what became of them", metrics.events.clone());
        metrics
    }

    pub(crate) fn ended(&self, ended: Ended, took: Duration) {
        self.reconciles.get_or_create(&ended).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn told(&self, result: &'static str) {
        self.events.get_or_create(&Told { result }).inc();
    }

    pub(crate) fn wrote(&self, kind: &str, verb: &'static str) {
        self.writes.get_or_create(&Write { kind: kind.to_owned(), verb }).inc();
    }
}
