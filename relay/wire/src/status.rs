//! What a relay answers at `/status`.

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::snapshot::HostName;

/// A relay's own account of what it enforces. The operator makes `Programmed` of it.
///
/// Unlike the Snapshot it may grow fields without a new schema: whoever reads it ignores what it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The relay's version.
    pub version: String,
    /// The highest Snapshot schema that it reads.
    pub schema: u32,
    /// The digest of the settings in force. Absent: none yet, and no listener either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Digest>,
    /// Why the files that are there now were not taken; the settings in force are older. Absent: they are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Each object of the settings in force; or, with `faults_only`, each of which not all is.
    pub objects: Vec<Object>,
    /// Whether `objects` holds only those with a fault: the answer to [`FAULTS_ONLY`]. Of thousands of objects that is all
    /// that needs to be told to whoever knows the settings by their digest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub faults_only: bool,
    /// Each name that is a source or a blocked client in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ResolvedName>,
}

/// The query with which a relay is asked for the objects with a fault only: `/status?objects=faults`.
pub const FAULTS_ONLY: &str = "objects=faults";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A name that stands for addresses, as one relay knows it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedName {
    /// The name.
    pub name: HostName,
    /// How many addresses it has.
    pub addresses: u64,
    /// Why its last look-up failed: what it had before stays for a while. Absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One object as a relay enforces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// `RelayDomain`, `RelayHost` or `FilterPolicy`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// The generation that its section was made from.
    pub generation: i64,
    /// The digest of the section in force.
    pub digest: Digest,
    /// What of it cannot be enforced (a certificate that does not parse, say). Absent: all of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
