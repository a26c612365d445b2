//! The addresses that the names in the settings stand for now. Pure: who looks the names up, and when, is not known here.
//!
//! A source whose name is not known yet is nobody yet, which its client is told with 451; a blocked client whose name is not
//! known yet is not blocked yet.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use postern_wire::snapshot::HostName;
use postern_wire::status::ResolvedName;

/// Every name's answers. What they are used for is the rules' business: a name that they do not hold means nothing to them.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    sources: HashMap<IpAddr, Vec<HostName>>,
    blocked: HashMap<IpAddr, Vec<HostName>>,
    known: HashSet<HostName>,
    report: Vec<ResolvedName>,
}

/// What one name stands for.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// The name.
    pub name: &'a HostName,
    /// Its addresses, where it is a source: those that the DNS has told lately. `None`: it has told nothing.
    pub sources: Option<&'a [IpAddr]>,
    /// Its addresses, where it is blocked: the last that it had.
    pub blocked: &'a [IpAddr],
    /// Why the last look-up failed.
    pub problem: Option<&'a str>,
}

impl Resolved {
    /// Indexes the answers by address.
    pub fn new<'a>(answers: impl IntoIterator<Item = Answers<'a>>) -> Self {
        let mut all = Self::default();
        for Answers { name, sources, blocked, problem } in answers {
            for (index, addresses) in [(&mut all.sources, sources.unwrap_or_default()), (&mut all.blocked, blocked)] {
                for address in addresses {
                    index.entry(address.to_canonical()).or_default().push(name.clone());
                }
            }
            if sources.is_some() {
                all.known.insert(name.clone());
            }
            all.report.push(ResolvedName {
                name: name.clone(),
                addresses: sources.map_or(0, |addresses| addresses.len() as u64),
                problem: problem.map(str::to_owned),
            });
        }
        all
    }

    /// The names that an address may send as.
    pub fn sources(&self, address: IpAddr) -> &[HostName] {
        self.sources.get(&address.to_canonical()).map_or(&[], Vec::as_slice)
    }

    /// The names under which an address may be blocked.
    pub fn blocked(&self, address: IpAddr) -> &[HostName] {
        self.blocked.get(&address.to_canonical()).map_or(&[], Vec::as_slice)
    }

    /// Whether the DNS has told, within the time that it is believed, what a name stands for: also nothing at all.
    pub fn is_known(&self, name: &HostName) -> bool {
        self.known.contains(name)
    }

    /// Each name, for `/status`.
    pub fn report(&self) -> &[ResolvedName] {
        &self.report
    }
}
