//! The DNS, as the relay needs it: the addresses of a name, and the mail exchangers of a domain.
//!
//! - [`Lookup`] is the seam: delivery and the names in the settings ask it, a test may answer it by hand;
//! - [`Resolver`] answers it from the hosts file and from recursive name servers, and remembers answers for their TTL, within
//!   bounds;
//! - [`exchange`] makes of MX records the servers to try (RFC 5321, section 5.1; RFC 7505), and [`reach`] says which
//!   addresses are no place for a stranger's mail.
//!
//! A name is always taken whole, as the operator takes it: no search list makes another one of it. What comes from the network
//! is never believed beyond its form: a host is a host name or it is dropped, and what is too much is cut. A failure says
//! whether the DNS has said no or has said nothing: only the former may ever be final. DNSSEC is the business of the name
//! servers that are asked.

pub mod exchange;
pub mod reach;
mod resolver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use resolver::{Resolver, Times};

/// Answers questions about names.
pub trait Lookup: Send + Sync + 'static {
    /// Every A and AAAA of a name, IPv4 first. Never empty.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, Failure>>;
    /// Every MX of a domain, those of the lowest preference first. Never empty.
    fn exchanges<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Answer<Exchange>, Failure>>;
}

/// What the DNS has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records.
    pub records: Vec<T>,
    /// How long they may still be believed.
    pub ttl: Duration,
    /// Whether these are all: not so when the name servers failed for one of A and AAAA.
    pub complete: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The zone that would hold the name says that it does not exist (RFC 2308, section 2.1).
    #[error("there is no such name")]
    NoSuchName,
    /// The name exists, and has no record of this kind (RFC 2308, section 2.2).
    #[error("there is no record of this kind")]
    NoData,
    /// Nobody knows: SERVFAIL, no answer in time, an answer that is none. One sentence.
    #[error("{0}")]
    Temporary(String),
}

/// One MX record (RFC 1035, section 3.3.9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchange {
    /// Lower ones first.
    pub preference: u16,
    /// A lower-case host name without its final dot. Empty for the root: a null MX (RFC 7505).
    pub host: Arc<str>,
}
