//! Every limit that users can set in a custom resource: one table.
//!
//! The operator takes the defaults from here (they are never in a CRD: a stored object must not freeze one), the bounds in
//! the CRDs are tested against it, and the relay refuses a Snapshot outside of it. The limits of the relay process
//! itself (connections, lines, time, memory, spool) are its flags and stand in the relay's own table, of the same type.

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Where it is set: a field's path, or a flag.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// When nothing is said.
    pub default: u64,
    /// The least that can be said.
    pub min: u64,
    /// The most that can be said.
    pub max: u64,
    /// What happens at the limit.
    pub meaning: &'static str,
}

impl Limit {
    /// Whether a value may be used.
    pub const fn allows(&self, value: u64) -> bool {
        self.min <= value && value <= self.max
    }
}

/// `FilterPolicy.spec.limits.messageSize`.
pub const MESSAGE_SIZE: Limit = Limit {
    name: "FilterPolicy.spec.limits.messageSize",
    unit: "octets",
    default: 35 << 20,
    min: 64 << 10,
    max: 1 << 30,
    meaning: "a larger message is refused with 552 5.3.4",
};

/// `FilterPolicy.spec.limits.recipientsPerMessage`. RFC 5321, section 4.5.3.1.8, asks for at least 100.
pub const RECIPIENTS_PER_MESSAGE: Limit = Limit {
    name: "FilterPolicy.spec.limits.recipientsPerMessage",
    unit: "recipients",
    default: 100,
    min: 1,
    max: 1000,
    meaning: "further recipients of a transaction get 452 4.5.3; those accepted stay",
};

/// `FilterPolicy.spec.limits.hops`. RFC 5321, section 6.3, asks for at least 100 where nothing else finds a loop; peers use 50.
pub const HOPS: Limit = Limit {
    name: "FilterPolicy.spec.limits.hops",
    unit: "Received header fields",
    default: 50,
    min: 5,
    max: 200,
    meaning: "a message with more is looping and is refused with 554 5.4.6",
};

/// `RelayHost.spec.queue.lifetime`.
pub const QUEUE_LIFETIME: Limit = Limit {
    name: "RelayHost.spec.queue.lifetime",
    unit: "seconds",
    default: 120 * 3600,
    min: 60,
    max: 30 * 24 * 3600,
    meaning: "mail that could not be delivered for so long is returned to its sender",
};

/// `RelayHost.spec.queue.nullSenderLifetime`. Never more than the lifetime of other mail.
pub const QUEUE_NULL_SENDER_LIFETIME: Limit = Limit {
    name: "RelayHost.spec.queue.nullSenderLifetime",
    unit: "seconds",
    default: 48 * 3600,
    min: 60,
    max: 30 * 24 * 3600,
    meaning: "mail with the null sender that could not be delivered for so long is given up",
};

/// `RelayHost.spec.queue.warnAfter`.
pub const QUEUE_WARN_AFTER: Limit = Limit {
    name: "RelayHost.spec.queue.warnAfter",
    unit: "seconds",
    default: 4 * 3600,
    min: 0,
    max: 30 * 24 * 3600,
    meaning: "a sender of ours is told once that the message waits; 0: never",
};

/// `RelayHost.spec.limits.connections`. Without it the relay's `--host-connections` holds.
pub const HOST_CONNECTIONS: Limit = Limit {
    name: "RelayHost.spec.limits.connections",
    unit: "connections",
    default: 20,
    min: 1,
    max: 1000,
    meaning: "further messages to the host wait for a free connection of the same relay",
};

/// `RelayHost.spec.limits.messagesPerConnection`. Without it the relay's `--connection-messages` holds.
pub const HOST_CONNECTION_MESSAGES: Limit = Limit {
    name: "RelayHost.spec.limits.messagesPerConnection",
    unit: "messages",
    default: 1000,
    min: 1,
    max: 100_000,
    meaning: "after so many a new connection is made",
};

/// `RelayHost.spec.limits.messagesPerMinute`. The default is the most, which no next hop reaches: without the field nothing
/// is counted.
pub const HOST_MESSAGES: Limit = Limit {
    name: "RelayHost.spec.limits.messagesPerMinute",
    unit: "messages a minute",
    default: 1_000_000,
    min: 1,
    max: 1_000_000,
    meaning: "further messages to the host wait, in each relay",
};

/// The whole table, in the order of the API reference.
pub const TABLE: &[Limit] = &[
    HOST_CONNECTIONS,
    HOST_CONNECTION_MESSAGES,
    HOST_MESSAGES,
    QUEUE_LIFETIME,
    QUEUE_NULL_SENDER_LIFETIME,
    QUEUE_WARN_AFTER,
    MESSAGE_SIZE,
    RECIPIENTS_PER_MESSAGE,
    HOPS,
];
