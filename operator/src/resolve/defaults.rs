//! Every default, in one table; never in a CRD, where a stored object would freeze it.
//!
//! | field | when nothing is said |
//! |---|---|
//! | `RelayDomain.spec.deliverTo[].preference`, also of `bounces.via` and `outbound.via` | [`PREFERENCE`] |
//! | `RelayDomain.spec.filterPolicyRef` | the FilterPolicy [`DEFAULT_POLICY`](crate::problem::DEFAULT_POLICY), which must exist |
//! | `RelayDomain.spec.recipients.subaddressDelimiter` | none: a local part is looked up whole |
//! | `RelayDomain.spec.bounces` | the way of `outbound`; without one they are held |
//! | `RelayDomain.spec.outbound` | nothing leaves with these domains as sender |
//! | `RelayDomain.spec.outbound.recipients` | [`OUTBOUND_RECIPIENTS`] |
//! | `RelayHost.spec.endpoints` | it is only a source |
//! | `RelayHost.spec.endpoints[].host.port` | [`PORT`] |
//! | `RelayHost.spec.tls.handshake` | [`HANDSHAKE`] |
//! | `RelayHost.spec.tls.verification` | [`VERIFICATION`] |
//! | `RelayHost.spec.tls.serverName` | the endpoint's address |
//! | `RelayHost.spec.tls.caSecretRef` | the public CAs |
//! | `RelayHost.spec.queue.lifetime` | [`QUEUE_LIFETIME`] |
//! | `RelayHost.spec.suspend` | `false` |
//! | `RelayHost.spec.sources` | from nowhere |
//! | `FilterPolicy.spec.limits.messageSize` | [`MESSAGE_SIZE`] |
//! | `FilterPolicy.spec.limits.recipientsPerMessage` | [`RECIPIENTS_PER_MESSAGE`] |
//! | `FilterPolicy.spec.limits.hops` | [`HOPS`] |
//! | `FilterPolicy.spec.connections.blockedClients` | nobody |
//! | `FilterPolicy.spec.senders.blocked`, `.allowed` | nobody |

use postern_wire::snapshot::{Handshake, OutboundRecipients, Verification};

pub use postern_wire::limits::{HOPS, MESSAGE_SIZE, QUEUE_LIFETIME, RECIPIENTS_PER_MESSAGE};

/// Where a next hop stands among its peers: room for two kinds of better ones, and for any number of worse.
pub const PREFERENCE: u16 = 10;

/// The port of mail between servers (RFC 5321, section 4.5.4.2).
pub const PORT: u16 = 25;

/// TLS after STARTTLS, where the host offers it.
pub const HANDSHAKE: Handshake = Handshake::StartTls;

/// Encrypted when offered, as mail between strangers is.
pub const VERIFICATION: Verification = Verification::Opportunistic;

/// Our hosts may send to anyone.
pub const OUTBOUND_RECIPIENTS: OutboundRecipients = OutboundRecipients::Any;
