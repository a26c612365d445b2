//! What is wrong with a section, always with the name of its object.

use ipnet::IpNet;
use postern_wire::limits::Limit;
use postern_wire::snapshot as wire;

use crate::address::Domain as DomainName;
use crate::policy::client::{Networks, range};

/// Why a Snapshot is not taken: nothing of it is in force then. The operator writes none of these, so it says where to look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Outside of the limits table.
    #[error("{object}: {field} is {value}, must be between {min} and {max} {unit}")]
    Limit {
        /// `RelayHost exchange-a`
        object: String,
        /// The row of the table.
        field: &'static str,
        /// As written.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// A text or a combination that means nothing.
    #[error("{object}: {field}: {problem}")]
    Value {
        /// `RelayHost exchange-a`
        object: String,
        /// The field of the section.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A section names one that is not there.
    #[error("{object}: {field}: there is no {kind} {name}")]
    Dangling {
        /// `RelayDomain contoso`
        object: String,
        /// The field of the section.
        field: &'static str,
        /// The kind of what is missing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Two sections of one name, or two domains with one domain name.
    #[error("{0}: is there twice")]
    Twice(String),
    /// The TLS library refuses our own parameters.
    #[error("TLS: {0}")]
    Tls(String),
}

/// The addresses of nodes.
pub(super) fn nodes(ranges: &[String]) -> Result<Networks<()>, Invalid> {
    let read = |text: &String| {
        range(text).map_err(|error| Invalid::Value {
            object: "the settings".to_owned(),
            field: "nodes",
            problem: error.to_string(),
        })
    };
    ranges.iter().map(read).collect()
}

/// A range and the parts that do not belong to it.
pub(super) type Ranges = Vec<(IpNet, Vec<IpNet>)>;

/// Names the object in every error about it.
pub(super) struct Object<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
}

impl Object<'_> {
    pub(super) fn wrong(&self, field: &'static str, problem: impl ToString) -> Invalid {
        let object = format!("{} {}", self.kind, self.name);
        Invalid::Value { object, field, problem: problem.to_string() }
    }

    pub(super) fn limit(&self, limit: &Limit, value: u64) -> Result<u64, Invalid> {
        if limit.allows(value) {
            return Ok(value);
        }
        let object = format!("{} {}", self.kind, self.name);
        let Limit { name: field, unit, min, max, default: _, meaning: _ } = *limit;
        Err(Invalid::Limit { object, field, value, min, max, unit })
    }

    pub(super) fn ranges(&self, field: &'static str, networks: &[wire::Network]) -> Result<Ranges, Invalid> {
        let read = |text: &String| range(text).map_err(|error| self.wrong(field, error));
        networks
            .iter()
            .map(|wire::Network { range, except }| {
                Ok((read(range)?, except.iter().map(read).collect::<Result<_, _>>()?))
            })
            .collect()
    }

    pub(super) fn names(&self, field: &'static str, names: &[wire::HostName]) -> Result<Vec<wire::HostName>, Invalid> {
        for wire::HostName::A(name) | wire::HostName::Mx(name) in names {
            if !name.parse::<DomainName>().is_ok_and(|read| read.as_str() == name && !read.is_literal()) {
                return Err(self.wrong(field, format!("{name:?} is not a lower-case DNS name")));
            }
        }
        Ok(names.to_vec())
    }
}
