//! The Snapshot: what one DMZ's custom resources mean, with every reference resolved and every default filled in.
//!
//! Lists are in the order in which they are decided upon; those without an order (names, sections) are sorted, so that
//! equal inputs give equal bytes. Domain names are lower-case A-labels. Sizes are octets, times are whole seconds.
//! No secret is ever in here: a secret is named by its file under the volume's `secrets/`.
//!
//! Every new field raises [`SCHEMA`]. Unknown fields are refused: a relay that is too old must say so.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The highest schema that this build writes and reads.
///
/// | schema | adds |
/// |---|---|
/// | 1 | the first |
/// | 2 | [`Inbound::tls`], an empty [`Outbound::via`], [`Host::mx`], [`Host::auth`], [`Host::limits`], [`Host::source_names`], [`Host::source_certificates`], [`Handshake::Implicit`], [`Tls::client_certificate`], [`Queue::null_sender_lifetime`], [`Queue::warn_after`], [`Policy::blocked_names`] |
/// | 3 | [`Snapshot::nodes`]; settings in compressed files ([`crate::settings`]) |
///
/// A section that uses nothing of a later schema has the same bytes as before it.
pub const SCHEMA: u32 = 3;

/// The settings of one DMZ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// The schema in which this Snapshot is written, at most the relay's own [`SCHEMA`].
    pub schema: u32,
    /// One section for each RelayDomain, sorted by object name.
    pub domains: Vec<Section<Domain>>,
    /// One section for each RelayHost, sorted by object name.
    pub hosts: Vec<Section<Host>>,
    /// One section for each FilterPolicy, sorted by object name.
    pub policies: Vec<Section<Policy>>,
    /// Ranges of the cluster's nodes, sorted and none within another: whoever comes from one may be anybody, and no source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// What one object means, and which object at which generation it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Section<T> {
    /// The object's `metadata.name`. Other sections refer to it by this name.
    pub name: String,
    /// The object's `metadata.uid`.
    pub uid: String,
    /// The object's `metadata.generation` that this section was made from.
    pub generation: i64,
    /// [`Digest::of`] `spec`. It changes also with what the object refers to (a ConfigMap, say), which no generation shows.
    pub digest: Digest,
    /// The meaning of the object.
    pub spec: T,
}

impl<T: Serialize> Section<T> {
    /// A section with the digest of `spec` filled in.
    pub fn new(name: impl Into<String>, uid: impl Into<String>, generation: i64, spec: T) -> Self {
        let digest = Digest::of(&spec);
        Self { name: name.into(), uid: uid.into(), generation, digest, spec }
    }
}

/// Something that works, or the reason why it does not: mail that needs it is answered `451 4.3.5`, and only that mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Way<T> {
    /// All that it refers to was found.
    Open(T),
    /// Something that it refers to is missing: one sentence for the log, naming what.
    Unresolved(String),
}

/// A RelayDomain: whose mail passes, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Domain {
    /// The names that this object holds, sorted: `example.com`, or `*.example.com` for subdomains but not the parent.
    pub names: Vec<String>,
    /// Mail to these domains.
    pub inbound: Way<Inbound>,
    /// How notifications (DSN) about this domain's mail leave, when their addressee is not one of our own domains.
    /// Absent: by `outbound`'s way; without one they are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Way<Vec<NextHop>>>,
    /// Mail from these domains. Absent: nothing leaves with them as sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Way<Outbound>>,
}

/// Mail to a domain of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// The hosts to which it is handed, sorted by preference, then name. At least one.
    pub deliver_to: Vec<NextHop>,
    /// Which recipients exist.
    pub recipients: Recipients,
    /// The name of the policy section that outsiders' mail to this domain is held to.
    pub policy: String,
    /// Whether mail to this domain must come over TLS.
    #[serde(default, skip_serializing_if = "InboundTls::is_opportunistic")]
    pub tls: InboundTls,
}

/// Whether mail must come over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum InboundTls {
    /// Offered, where the relay has a certificate.
    #[default]
    Opportunistic,
    /// A recipient named over a plain connection is refused.
    Required,
}

impl InboundTls {
    fn is_opportunistic(&self) -> bool {
        *self == Self::Opportunistic
    }
}

/// A host and its place among its peers: lower preference first, equal ones share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NextHop {
    /// As in MX records (RFC 5321, section 5.1): the lowest is tried first.
    pub preference: u16,
    /// The name of a host section.
    pub host: String,
}

/// Which recipients of a domain exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipients {
    /// How a recipient is known.
    pub mode: RecipientMode,
    /// The character after which a local part is detail (RFC 5233), looked up without it if the whole is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subaddress_delimiter: Option<char>,
}

/// How a recipient is known to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RecipientMode {
    /// Every local part is taken.
    AcceptAll,
    /// Asked in order: the first that knows the address decides.
    Verify(Vec<Verifier>),
}

/// One place that knows recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Verifier {
    /// These addresses exist: lower-case, sorted, without duplicates.
    List(Vec<String>),
}

/// Mail from a domain of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outbound {
    /// Names of the host sections whose sources may send as these domains, sorted.
    pub hosts: Vec<String>,
    /// To whom they may send.
    pub recipients: OutboundRecipients,
    /// The smarthosts, sorted by preference, then name. Empty: directly to each recipient domain's MX.
    pub via: Vec<NextHop>,
    /// The name of the policy section whose limits hold for this mail.
    pub policy: String,
}

/// To whom mail from our domains may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum OutboundRecipients {
    /// To anyone.
    Any,
    /// Only to domains that this DMZ accepts mail for.
    HostedDomains,
}

/// A RelayHost: a mail server that the DMZ talks with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// How mail is handed to it: equal, shared round robin. With `mx` empty too, it is only a source.
    pub endpoints: Vec<Endpoint>,
    /// Further endpoints, as equal as those: the MX of each of these domains, on port 25. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx: Vec<String>,
    /// How the connection to it is protected, or which secret is missing.
    pub tls: Way<Tls>,
    /// How the relay logs in to it, or which secret is missing. Only with [`Verification::Verified`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Way<Auth>>,
    /// How much it may be given at once.
    #[serde(default, skip_serializing_if = "HostLimits::is_empty")]
    pub limits: HostLimits,
    /// From where it may relay.
    pub sources: Vec<Network>,
    /// Further sources: the addresses of these names, looked up by the relay again and again. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_names: Vec<HostName>,
    /// Further sources: whoever proves by a client certificate to be this. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_certificates: Vec<ClientCertificate>,
    /// How long mail for it is kept.
    pub queue: Queue,
    /// True: accept and keep, dial nothing, expire nothing.
    pub suspend: bool,
}

/// A DNS name that stands for addresses; never its answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HostName {
    /// Every A and AAAA of this name.
    A(String),
    /// Every A and AAAA of every MX of this domain.
    Mx(String),
}

/// Whom a client certificate must prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// The file under `secrets/` with the CAs that may have issued it, PEM.
    pub ca: SecretFile,
    /// The DNS name in its subjectAltName, a lower-case A-label.
    pub dns_name: String,
}

/// A login: SASL PLAIN or LOGIN, by what the server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// The file under `secrets/` that holds the user's name.
    pub username: SecretFile,
    /// The file under `secrets/` that holds the password.
    pub password: SecretFile,
}

/// How much a host may be given at once. Absent: what the relay's own limits say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostLimits {
    /// Connections at the same time, of one relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Messages on one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
    /// Messages in a minute, of one relay. Absent: as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
}

impl HostLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An address and a port to dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// An IP address or a DNS name; never the name's answers.
    pub address: String,
    /// 1 to 65535.
    pub port: u16,
}

/// How connections to a host are protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// When TLS begins.
    pub handshake: Handshake,
    /// What it must prove.
    pub verification: Verification,
    /// The name sent as SNI and looked for in the certificate. Absent: the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The file under `secrets/` that holds the CAs to trust, PEM. Absent: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretFile>,
    /// What the relay shows when the server asks who it is. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyPair {
    /// The file under `secrets/` with the certificate and its intermediates, PEM.
    pub certificate: SecretFile,
    /// The file under `secrets/` with its key, PEM.
    pub key: SecretFile,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Handshake {
    /// After the STARTTLS command (RFC 3207).
    StartTls,
    /// Before anything is said (RFC 8314, section 3).
    Implicit,
    /// Never.
    None,
}

/// What TLS must prove before mail is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Verification {
    /// Used when offered; plain text when not.
    Opportunistic,
    /// Encrypted with anyone, or deferred.
    Required,
    /// A certificate of a trusted CA for the right name, or deferred.
    Verified,
}

/// The name of a file under the volume's `secrets/`; it changes whenever the content does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretFile(pub String);

/// A range of addresses without some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// In CIDR notation, host bits zero: `10.20.0.0/28`, `2001:db8::/64`.
    pub range: String,
    /// Parts of `range` that do not belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// How long mail for a host is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queue {
    /// Seconds after which mail that could not be delivered is returned to its sender.
    pub lifetime: u64,
    /// Seconds after which mail with the null sender is given up. Absent: the default of
    /// [`QUEUE_NULL_SENDER_LIFETIME`](crate::limits::QUEUE_NULL_SENDER_LIFETIME), or `lifetime` when that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_sender_lifetime: Option<u64>,
    /// Seconds after which a sender of ours is told, once, that mail waits; 0: never. Absent: the default of
    /// [`QUEUE_WARN_AFTER`](crate::limits::QUEUE_WARN_AFTER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<u64>,
}

/// A FilterPolicy: what is let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Sizes and counts.
    pub limits: MessageLimits,
    /// Clients that get 554 at connect. Only in the policy named `default`, for it holds before a domain is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_clients: Vec<Network>,
    /// Further such clients: the addresses of these names. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_names: Vec<HostName>,
    /// Senders refused, and those taken all the same.
    pub senders: Senders,
}

/// What one message may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageLimits {
    /// Octets of a message, as SIZE counts them (RFC 1870).
    pub message_size: u64,
    /// Recipients of one transaction.
    pub recipients_per_message: u32,
    /// Received header fields that a message may have.
    pub hops: u32,
}

/// Patterns of sender addresses: `local@domain`, `*` for any run of characters, lower-case, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Senders {
    /// `550 5.7.1` at RCPT.
    pub blocked: Vec<String>,
    /// Overrides `blocked`, and nothing else.
    pub allowed: Vec<String>,
}
