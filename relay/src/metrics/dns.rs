//! What is counted of the DNS: never by name, for strangers choose the names.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The DNS.
#[derive(Debug)]
pub struct Dns {
    /// Look-ups that memory did not answer, by what was asked and what was said.
    pub lookups: Family<Asked, Counter>,
    /// Names that stand for sources or blocked clients in the settings.
    pub names: Gauge,
    /// Those of them whose last look-up failed.
    pub failing_names: Gauge,
    /// The addresses that they stand for now.
    pub addresses: Gauge,
}

/// A look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Asked {
    /// What for.
    pub question: Question,
    /// What came of it.
    pub result: Said,
}

/// See [`Asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// A and AAAA of a name.
    Addresses,
    /// MX of a domain.
    Exchanges,
}

/// See [`Asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// Records.
    Answered,
    /// There is no such name.
    NoSuchName,
    /// No record of this kind.
    NoData,
    /// Nothing that can be used.
    Failed,
}

impl EncodeLabelValue for Question {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        std::fmt::Write::write_str(
            encoder,
            match self {
                Self::Addresses => "addresses",
                Self::Exchanges => "mx",
            },
        )
    }
}

impl EncodeLabelValue for Said {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        std::fmt::Write::write_str(
            encoder,
            match self {
                Self::Answered => "answered",
                Self::NoSuchName => "no-such-name",
                Self::NoData => "no-data",
                Self::Failed => "failed",
            },
        )
    }
}

impl Dns {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let dns = Self {
            lookups: Family::default(),
            names: Gauge::default(),
            failing_names: Gauge::default(),
            addresses: Gauge::default(),
        };
        registry.register("lookups", "Look-ups, by question and result", dns.lookups.clone());
        registry.register("names", "Names that are sources or blocked clients", dns.names.clone());
        registry.register("failing_names", "Those whose last look-up failed", dns.failing_names.clone());
        registry.register("addresses", "Addresses that these names stand for now", dns.addresses.clone());
        dns
    }

    /// Counts a look-up.
    pub fn asked(&self, question: Question, result: Said) {
        self.lookups.get_or_create(&Asked { question, result }).inc();
    }
}
