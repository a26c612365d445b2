//! Manifests from files: what users write, checked as the API server would check it, with the file and line of
//! everything that is wrong.
//!
//! [`read`] never fails: whatever is wrong is a [`Finding`], and what is not wrong is decoded. It reads our kinds and the
//! ConfigMaps and Secrets beside them; objects of other kinds get a note. All objects belong to one namespace.
//! [`Manifests::inputs`] is what the operator would have gathered from a cluster with these objects.

mod core;
#[cfg(test)]
mod examples;
mod inputs;
mod kind;
mod nearest;
mod node;
mod object;
mod source;
mod structure;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use postern_crds::{FilterPolicy, RelayDomain, RelayHost};
use serde::Serialize;

use self::node::Node;

/// The namespace of objects that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// One thing wrong with one place of one file, or one thing to know about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// The file as it was named, or `<stdin>`.
    pub(crate) file: String,
    /// Counted from 1; absent when the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    /// `RelayDomain/example`; absent when it is not known yet which object it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    /// `spec.deliverTo[0].name`; empty for the object as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) field: String,
    /// What is wrong, in the API server's words where it would say so too, and what to write instead.
    pub(crate) message: String,
    /// What of the schema is violated: a keyword (`maxItems`, `required`, `unknown` for a field that there is not) or
    /// `rule` and the CEL expression. Absent when no schema says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) constraint: Option<String>,
}

/// `dmz/domain.yaml:12: RelayDomain/example: spec.domains: Required value: …`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [self.object.as_deref().unwrap_or_default(), &self.field, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

/// Where an object is written.
#[derive(Debug)]
struct Origin {
    file: String,
    node: Node,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// What is wrong, in the order of the files. Nothing of an object that is wrong is in the fields below.
    pub(crate) findings: Vec<Finding>,
    /// What was left aside, and why that may be meant.
    pub(crate) notes: Vec<Finding>,
    /// The one namespace of all objects.
    pub(crate) namespace: String,
    /// The valid RelayDomains.
    pub(crate) domains: Vec<RelayDomain>,
    /// The valid RelayHosts.
    pub(crate) hosts: Vec<RelayHost>,
    /// The valid FilterPolicies.
    pub(crate) policies: Vec<FilterPolicy>,
    /// The ConfigMaps.
    pub(crate) config_maps: Vec<ConfigMap>,
    /// The Secrets, `stringData` already in `data`.
    pub(crate) secrets: Vec<Secret>,
    /// By object, `RelayDomain/example`.
    origins: BTreeMap<String, Origin>,
}

/// Reads files, folders and `-` for standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Manifests {
    let mut reader = object::Reader::new();
    for source in source::read(paths) {
        match source.text {
            Ok(text) => reader.file(&source.name, &text),
            Err(message) => reader.unreadable(&source.name, message),
        }
    }
    reader.finish()
}

impl Manifests {
    /// A finding about a field of an object that was read: `object` as in [`Finding::object`], `field` as in
    /// [`Finding::field`]. The line is that of the nearest field above that is written.
    pub(crate) fn finding(&self, object: &str, field: &str, message: impl Into<String>) -> Finding {
        let origin = self.origins.get(object);
        Finding {
            file: origin.map_or_else(String::new, |origin| origin.file.clone()),
            line: origin.map(|origin| origin.node.line_of(field)),
            object: Some(object.to_owned()),
            field: field.to_owned(),
            message: message.into(),
            constraint: None,
        }
    }
}
