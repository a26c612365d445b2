//! The settings in force: the Snapshot, indexed and typed, with keys loaded. The rest of the relay sees only this, as
//! `Arc<Config>`.
//!
//! [`build`] makes it whole or not at all, and never changes one that exists: whoever holds an `Arc<Config>` keeps the
//! settings that it began with.

mod authorities;
mod build;
mod invalid;
mod secrets;
mod section;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use postern_wire::Digest;
use postern_wire::snapshot::{HostLimits, HostName};
use postern_wire::status::Object;

use crate::address::Mailbox;
use crate::envelope::Origin;
use crate::policy::Rules;
use crate::policy::resolved::Resolved;
use crate::route::{Route, Routes};
pub use authorities::Authorities;
pub use build::build;
pub(crate) use build::build_known;
pub use invalid::Invalid;
pub(crate) use secrets::read_file;
pub use secrets::{Secrets, Unreadable, secret_files};

/// The settings in force, for whoever asks at each transaction or attempt and keeps the answer for as long.
pub type Live = Arc<ArcSwap<Config>>;

/// What the names in the settings stand for now, for whoever asks at each connection and transaction.
pub type LiveNames = Arc<ArcSwap<Resolved>>;

/// The settings of one DMZ, ready to be asked.
#[derive(Debug)]
pub struct Config {
    /// The digest of the Snapshot that it was made from.
    pub digest: Digest,
    /// Who may send what to whom: a transaction keeps those that it began with.
    pub rules: Arc<Rules>,
    /// Where mail goes.
    pub routes: Routes,
    /// Who is a source by a client certificate. The same as before, unless a host's changed.
    pub authorities: Arc<Authorities>,
    hosts: HashMap<Arc<str>, Arc<Host>>,
    direct: Arc<Host>,
    lifetime: Duration,
    /// For `/status`.
    objects: Vec<Object>,
    /// What the next Config may take over.
    sections: build::Sections,
}

/// Something of one object that cannot be enforced; the rest of it, and everything else, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `RelayDomain`, `RelayHost` or `FilterPolicy`.
    pub kind: &'static str,
    /// The object's name.
    pub name: Arc<str>,
    /// What cannot be enforced, and why.
    pub problem: Arc<str>,
}

impl Config {
    /// Each object in force, for `/status`.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Whether somebody else still holds this, or its rules.
    pub(crate) fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.rules) > 1
    }

    /// How many objects of a kind are in force.
    pub fn count(&self, kind: &str) -> usize {
        self.objects.iter().filter(|object| object.kind == kind).count()
    }
}

impl Directory for Config {
    fn route(&self, origin: &Origin, recipient: &Mailbox) -> Route {
        self.routes.route(origin, recipient)
    }

    fn host(&self, name: &str) -> Option<Arc<Host>> {
        self.hosts.get(name).cloned()
    }

    fn direct(&self) -> Arc<Host> {
        self.direct.clone()
    }

    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// A host to hand mail to.
#[derive(Clone, Debug)]
pub struct Host {
    /// The name of its section.
    pub name: Arc<str>,
    /// Equal, shared round robin.
    pub endpoints: Vec<Endpoint>,
    /// The MX of each of these domains: as equal as the endpoints.
    pub mx: Vec<Arc<str>>,
    /// How the connection is protected, or why it cannot be: then nothing is dialled and mail waits.
    pub tls: Result<TlsPlan, Arc<str>>,
    /// The login, or why it cannot be used: then nothing is dialled and mail waits.
    pub auth: Option<Result<Arc<Credentials>, Arc<str>>>,
    /// How much it may be given at once.
    pub limits: HostLimits,
    /// How long mail for it is kept.
    pub lifetime: Duration,
    /// How long mail with the null sender is kept: at most `lifetime`.
    pub null_sender_lifetime: Duration,
    /// After how long a sender of ours is told that its mail waits. Absent: never.
    pub warn_after: Option<Duration>,
    /// Names whose addresses are sources.
    pub source_names: Vec<HostName>,
    /// Accept and keep, dial nothing, expire nothing.
    pub suspend: bool,
}

/// An address (an IP address or a DNS name) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// As written.
    pub address: Arc<str>,
    /// 1 to 65535.
    pub port: u16,
}

/// A login for SASL. Its password is in no log, error or `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: Box<str>,
    /// The password.
    pub password: Box<str>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How a connection to a host is protected.
#[derive(Clone, Debug)]
pub enum TlsPlan {
    /// Plain text.
    None,
    /// TLS before anything is said, else deferred.
    Implicit(TlsClient),
    /// STARTTLS when offered, with anyone; plain text when not, or when the handshake failed on an earlier connection.
    Opportunistic(TlsClient),
    /// STARTTLS with anyone (Required) or only with a certificate that the configuration trusts (Verified), else deferred.
    Mandatory(TlsClient),
}

impl TlsPlan {
    /// Whether the other end must prove who it is.
    pub fn is_verified(&self) -> bool {
        match self {
            Self::None => false,
            Self::Implicit(client) | Self::Opportunistic(client) | Self::Mandatory(client) => client.verified,
        }
    }
}

/// What rustls needs.
#[derive(Clone)]
pub struct TlsClient {
    /// Verification and roots are inside.
    pub config: Arc<rustls::ClientConfig>,
    /// Whether `config` verifies the server's certificate.
    pub verified: bool,
    /// The name for SNI and for the certificate. Absent: the endpoint's address.
    pub server_name: Option<rustls_pki_types::ServerName<'static>>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// What delivery asks the settings in force. `Config` answers it; a test may answer it by hand.
pub trait Directory: Send + Sync + 'static {
    /// Where a recipient's mail goes next.
    fn route(&self, origin: &Origin, recipient: &Mailbox) -> Route;
    /// A host by the name of its section.
    fn host(&self, name: &str) -> Option<Arc<Host>>;
    /// What holds for mail that goes directly to the mail exchangers of its recipient's domain: a host without a name or an
    /// endpoint.
    fn direct(&self) -> Arc<Host>;
    /// The greatest lifetime of any host: mail without a route waits for so long.
    fn lifetime(&self) -> Duration;
}

#[cfg(test)]
mod tests;
