//! The settings in force: the Snapshot, indexed and typed, with keys loaded. The rest of the relay sees only this, as
//! `Arc<Config>`.

use std::sync::Arc;
use std::time::Duration;

use crate::route::Route;

/// A host to hand mail to.
#[derive(Clone, Debug)]
pub struct Host {
    /// The name of its section.
    pub name: Arc<str>,
    /// Equal, shared round robin.
    pub endpoints: Vec<Endpoint>,
    /// How the connection is protected, or why it cannot be: then nothing is dialled and mail waits.
    pub tls: Result<TlsPlan, Arc<str>>,
    /// How long mail for it is kept.
    pub lifetime: Duration,
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

/// How a connection to a host is protected.
#[derive(Clone, Debug)]
pub enum TlsPlan {
    /// Plain text.
    None,
    /// STARTTLS when offered, with anyone; plain text when not, or when the handshake failed on an earlier connection.
    Opportunistic(TlsClient),
    /// STARTTLS with anyone (Required) or only with a certificate that the configuration trusts (Verified), else deferred.
    Mandatory(TlsClient),
}

/// What rustls needs.
#[derive(Clone)]
pub struct TlsClient {
    /// Verification and roots are inside.
    pub config: Arc<rustls::ClientConfig>,
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
    fn route(&self, origin: &crate::envelope::Origin, recipient: &crate::address::Mailbox) -> Route;
    /// A host by the name of its section.
    fn host(&self, name: &str) -> Option<Arc<Host>>;
    /// The greatest lifetime of any host: mail without a route waits for so long.
    fn lifetime(&self) -> Duration;
}
