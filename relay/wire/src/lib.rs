//! What the operator and the relay agree on, and nothing else.
//!
//! - [`snapshot`]: all that one DMZ's custom resources mean to its relays, one [`Section`] for each object;
//! - [`settings`]: how a Snapshot is laid out as files in the relay's one mounted volume;
//! - [`status`]: what a relay answers about the settings that it enforces;
//! - [`limits`]: the table of every limit that users can set, which the operator fills in and the relay checks.
//!
//! No Kubernetes type, no I/O, no behaviour: the operator writes these types, the relay reads them.
#![deny(missing_docs)]

mod digest;
pub mod limits;
pub mod settings;
pub mod snapshot;
pub mod status;

pub use digest::Digest;
pub use settings::{Invalid, PACKED_FILE, PLAIN_BYTES_MAX, SETTINGS_FILE, SHARDS_MAX, SettingsFile, shard_file};
pub use snapshot::{SCHEMA, Section, Snapshot};
pub use status::Status;
