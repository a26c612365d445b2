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
    /// What waits in the spool. Absent: the spool is not open yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Whether it is about to end.
    #[serde(default)]
    pub draining: bool,
    /// Whether its network keeps it from what no policy opens. Absent: it was not told what to try, or is not certain yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
}

/// What waits in a relay's spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Messages of which not every recipient is settled.
    pub messages: u64,
    /// Seconds since the oldest of them came; 0 without any.
    pub oldest: u64,
}

/// What came of trying to reach what must not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// The address that was tried.
    pub canary: String,
    /// Whether it was reached: then nothing isolates the relay.
    pub reached: bool,
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
