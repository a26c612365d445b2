//! What users of Postern write: the kinds RelayDomain, RelayHost and FilterPolicy of the group `postern.io`.
//!
//! Types, their rules and their documentation, and nothing that acts: no client, no runtime, no defaults (those are the
//! operator's, so that a stored object never freezes one). The CRDs in `crds/yaml/` are generated from here.
//!
//! A kind says what may be written; whether what it refers to exists is only known to the operator, which answers with
//! the [`condition`]s.
#![deny(missing_docs)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns are alike, and a type of equal columns is not a mistake"
)]
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function to read its schema")]

pub mod condition;
mod definition;
pub mod domain;
pub mod duration;
pub mod host;
pub mod host_list;
pub mod policy;
pub mod reference;
mod rule;
pub mod size;
pub mod status;

pub use definition::all;
pub use domain::{RelayDomain, RelayDomainSpec};
pub use duration::Duration;
pub use host::{RelayHost, RelayHostSpec};
pub use host_list::HostListEntry;
pub use policy::{FilterPolicy, FilterPolicySpec};
pub use size::Size;

/// The API group of all kinds.
pub const GROUP: &str = "postern.io";

/// The one version of all kinds.
pub const VERSION: &str = "v1alpha1";
