//! Every default, in one table; never in a CRD, where a stored object would freeze it.
//!
//! | field | when nothing is said |
//! |---|---|
//! | `RelayDomain.spec.deliverTo[].preference`, also of `bounces.via` and `outbound.via` | [`PREFERENCE`] |
//! | `RelayDomain.spec.filterPolicyRef` | the FilterPolicy [`DEFAULT_POLICY`](crate::problem::DEFAULT_POLICY), which must exist |
//! | `RelayDomain.spec.recipients.subaddressDelimiter` | none: a local part is looked up whole |
//! | `RelayDomain.spec.inboundTLS` | [`INBOUND_TLS`] |
//! | `RelayDomain.spec.bounces` | the way of `outbound`, also when that is direct; without one they are held |
//! | `RelayDomain.spec.outbound` | nothing leaves with these domains as sender |
//! | `RelayDomain.spec.outbound.recipients` | [`OUTBOUND_RECIPIENTS`] |
//! | `RelayDomain.spec.outbound.via` | directly to each recipient domain's MX |
//! | `RelayHost.spec.endpoints` | it is only a source |
//! | `RelayHost.spec.endpoints[].host.port` | [`PORT`]; with handshake Implicit [`PORT_IMPLICIT`] |
//! | `RelayHost.spec.endpoints[].service.namespace` | the RelayHost's own |
//! | `RelayHost.spec.endpoints[].service.port` | as that of `host` |
//! | `RelayHost.spec.tls.handshake` | [`HANDSHAKE`] |
//! | `RelayHost.spec.tls.verification` | [`VERIFICATION`] |
//! | `RelayHost.spec.tls.serverName` | the endpoint's address, or the MX's name |
//! | `RelayHost.spec.tls.caSecretRef` | the public CAs |
//! | `RelayHost.spec.tls.clientCertificateSecretRef` | no certificate is shown |
//! | `RelayHost.spec.auth` | no login |
//! | `RelayHost.spec.limits.connections` | the relay's `--host-connections`, itself by default [`HOST_CONNECTIONS`] |
//! | `RelayHost.spec.limits.messagesPerConnection` | the relay's `--connection-messages`, itself by default [`HOST_CONNECTION_MESSAGES`] |
//! | `RelayHost.spec.limits.messagesPerMinute` | nothing is counted |
//! | `RelayHost.spec.queue.lifetime` | [`QUEUE_LIFETIME`] |
//! | `RelayHost.spec.queue.nullSenderLifetime` | [`QUEUE_NULL_SENDER_LIFETIME`], or `lifetime` when that is less |
//! | `RelayHost.spec.queue.warnAfter` | [`QUEUE_WARN_AFTER`] |
//! | `RelayHost.spec.suspend` | `false` |
//! | `RelayHost.spec.sources` | from nowhere |
//! | `FilterPolicy.spec.limits.messageSize` | [`MESSAGE_SIZE`] |
//! | `FilterPolicy.spec.limits.recipientsPerMessage` | [`RECIPIENTS_PER_MESSAGE`] |
//! | `FilterPolicy.spec.limits.hops` | [`HOPS`] |
//! | `FilterPolicy.spec.connections.blockedClients` | nobody |
//! | `FilterPolicy.spec.senders.blocked`, `.allowed` | nobody |

use postern_wire::snapshot::{Handshake, InboundTls, OutboundRecipients, Verification};

pub use postern_wire::limits::{
    HOPS, HOST_CONNECTION_MESSAGES, HOST_CONNECTIONS, HOST_MESSAGES, MESSAGE_SIZE, QUEUE_LIFETIME,
    QUEUE_NULL_SENDER_LIFETIME, QUEUE_WARN_AFTER, RECIPIENTS_PER_MESSAGE,
};

/// Where a next hop stands among its peers: room for two kinds of better ones, and for any number of worse.
pub const PREFERENCE: u16 = 10;

/// The port of mail between servers (RFC 5321, section 4.5.4.2).
pub const PORT: u16 = 25;

/// The port of mail over TLS from the first octet on (RFC 8314, section 7.3).
pub const PORT_IMPLICIT: u16 = 465;

/// TLS is offered, as between strangers.
pub const INBOUND_TLS: InboundTls = InboundTls::Opportunistic;

/// TLS after STARTTLS, where the host offers it.
pub const HANDSHAKE: Handshake = Handshake::StartTls;

/// Encrypted when offered, as mail between strangers is.
pub const VERIFICATION: Verification = Verification::Opportunistic;

/// Our hosts may send to anyone.
pub const OUTBOUND_RECIPIENTS: OutboundRecipients = OutboundRecipients::Any;
