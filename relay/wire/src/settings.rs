//! How a Snapshot becomes a file, and how a file is believed.
//!
//! ```text
//! settings.json      {"schema":1,"digest":"3f2a…","shards":[],"snapshot":{…}}
//! secrets/NAME       one file for each secret that the snapshot refers to
//! ```
//! `digest` is the SHA-256 of the compact JSON of `snapshot`. Whoever reads the file computes it again, and that of every
//! section: a file that is half written, mixed or edited is never believed.

use serde::{Deserialize, Serialize};

use crate::{Digest, SCHEMA, Section, Snapshot};

/// The name of the file, in the mounted volume and in the ConfigMap.
pub const SETTINGS_FILE: &str = "settings.json";

/// The content of `settings.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsFile {
    /// The schema of `snapshot`, readable even when `snapshot` is not.
    pub schema: u32,
    /// The digest of `snapshot`: what people and status call "the settings".
    pub digest: Digest,
    /// The SHA-256 of each further file, when one is not enough.
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
    /// The file says that there are further files, which no schema up to [`SCHEMA`] has.
    #[error("{SETTINGS_FILE} names {0} further files, which schema {SCHEMA} does not have")]
    Sharded(usize),
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
