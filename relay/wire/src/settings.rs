//! How a Snapshot becomes files, and how files are believed.
//!
//! ```text
//! settings.json            {"schema":3,"digest":"3f2a…","shards":[],"snapshot":{…}}
//! settings.json.zst        the same, compressed: when it is too large for one file as it is
//! settings.json.zst        {"schema":3,"digest":"3f2a…","shards":["91ab…","07cd…"]}, compressed: when it is too large even so
//! settings-1.json.zst …    then its compressed octets, in pieces: cat settings-?.json.zst | zstd -d
//! secrets/NAME             one file for each secret that the snapshot refers to
//! ```
//! `digest` is the SHA-256 of the compact JSON of `snapshot`, and each of `shards` that of one piece. Whoever reads the files
//! computes them again, and that of every section: files that are half written, mixed or edited are never believed.

use serde::{Deserialize, Serialize};

use crate::{Digest, SCHEMA, Section, Snapshot};

mod pack;
mod read;

pub use pack::{File, Files};

/// The name of the file, in the mounted volume and in the ConfigMap.
pub const SETTINGS_FILE: &str = "settings.json";

/// Its name when it is compressed.
pub const PACKED_FILE: &str = "settings.json.zst";

/// How many further files there may be: each is a ConfigMap that the relays' volume has a place for from the start.
pub const SHARDS_MAX: usize = 7;

/// Octets of the settings before they are compressed: the operator writes no more, and a relay takes as much unless it is
/// told otherwise.
pub const PLAIN_BYTES_MAX: u64 = 64 << 20;

/// The schema from which on relays read compressed settings.
pub const PACKED_SINCE: u32 = 3;

/// The name of a further file, counted from 1.
pub fn shard_file(number: usize) -> String {
    format!("settings-{number}.json.zst")
}

/// The content of `settings.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsFile {
    /// The schema of `snapshot`, readable even when `snapshot` is not.
    pub schema: u32,
    /// The digest of `snapshot`: what people and status call "the settings".
    pub digest: Digest,
    /// Always empty: settings in several files are put together again before they are one of these.
    pub shards: Vec<Digest>,
    /// The settings themselves.
    pub snapshot: Snapshot,
}

/// Why a settings file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Written for a newer relay.
    #[error("{SETTINGS_FILE} has schema {found}, this relay reads up to {SCHEMA}: upgrade the relay")]
    TooNew {
        /// The schema of the file.
        found: u32,
    },
    /// Not JSON, or not of the shape of a Snapshot.
    #[error("{SETTINGS_FILE} cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The file names further files where there are none, or more than there may be.
    #[error("it names {0} further files; only a {PACKED_FILE} without a snapshot does so, up to {SHARDS_MAX}")]
    Sharded(usize),
    /// Neither of the two is there.
    #[error("{SETTINGS_FILE} is missing, and so is {PACKED_FILE}")]
    Missing,
    /// Both are there, and nothing says which is meant.
    #[error("{SETTINGS_FILE} and {PACKED_FILE} are both there: one of them has to go")]
    Ambiguous,
    /// A file is there and cannot be had.
    #[error("{0}")]
    Unreadable(String),
    /// Not what the compression makes.
    #[error("{file} cannot be decompressed: {source}")]
    Packed {
        /// The file, or the first of several that belong together.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than the reader takes, before it was compressed.
    #[error("{file} holds more than {max} octets when decompressed")]
    TooLarge {
        /// The file, or the first of several that belong together.
        file: String,
        /// The most that is taken.
        max: u64,
    },
    /// One of the further files is not there (yet).
    #[error("{0} is missing, which {PACKED_FILE} names")]
    ShardMissing(String),
    /// One of the further files is older or newer than the rest.
    #[error("{0} is not the one that {PACKED_FILE} names: these files are not of one generation")]
    ShardDiffers(String),
    /// The digest of the whole is not the digest of its content.
    #[error("{SETTINGS_FILE} says that its digest is {said}, but its content has {found}")]
    Digest {
        /// As written in the file.
        said: Digest,
        /// As computed.
        found: Digest,
    },
    /// A section's digest is not the digest of its content.
    #[error(
        "{SETTINGS_FILE}: the section of {kind} {name} says that its digest is {said}, but its content has {found}"
    )]
    SectionDigest {
        /// `RelayDomain`, `RelayHost` or `FilterPolicy`.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// As written in the section.
        said: Digest,
        /// As computed.
        found: Digest,
    },
}

/// Only the schema, so that a file which is too new is named so, whatever else is in it.
#[derive(Deserialize)]
struct Peek {
    schema: u32,
}

impl SettingsFile {
    /// Seals a Snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { schema: snapshot.schema, digest: Digest::of(&snapshot), shards: Vec::new(), snapshot }
    }

    /// The bytes of the file: the same for the same Snapshot.
    ///
    /// # Panics
    /// Never: see [`Digest::of`].
    #[expect(clippy::expect_used, reason = "serialising a plain struct into memory has no way to fail")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a settings file serialises")
    }

    /// Reads and checks the bytes of a file.
    ///
    /// # Errors
    /// [`Invalid`], naming what is wrong; nothing of such a file may be used.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Invalid> {
        let file: Self = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            // A schema that is too new explains whatever cannot be read.
            Err(error) => match serde_json::from_slice(bytes) {
                Ok(Peek { schema }) if schema > SCHEMA => return Err(Invalid::TooNew { found: schema }),
                _ => return Err(error.into()),
            },
        };
        if file.schema > SCHEMA {
            return Err(Invalid::TooNew { found: file.schema });
        }
        if !file.shards.is_empty() {
            return Err(Invalid::Sharded(file.shards.len()));
        }
        let found = Digest::of(&file.snapshot);
        if found != file.digest || file.schema != file.snapshot.schema {
            return Err(Invalid::Digest { said: file.digest, found });
        }
        let Snapshot { schema: _, domains, hosts, policies, nodes: _ } = &file.snapshot;
        check_sections("RelayDomain", domains)?;
        check_sections("RelayHost", hosts)?;
        check_sections("FilterPolicy", policies)?;
        Ok(file)
    }
}

fn check_sections<T: Serialize>(kind: &'static str, sections: &[Section<T>]) -> Result<(), Invalid> {
    for section in sections {
        let found = Digest::of(&section.spec);
        if found != section.digest {
            let (name, said) = (section.name.clone(), section.digest.clone());
            return Err(Invalid::SectionDigest { kind, name, said, found });
        }
    }
    Ok(())
}
