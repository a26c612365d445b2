//! What RelayHosts and FilterPolicies offer to the RelayDomains that name them, and why one that exists offers nothing.

use std::collections::{BTreeMap, BTreeSet};

use postern_wire::Section;
use postern_wire::snapshot::{Host, Policy};

use super::{Withheld, is_withheld};
use crate::inputs::{Inputs, Kind, Object};

/// What the other sections offer to RelayDomains.
#[derive(Debug, Default)]
pub(super) struct Offers<'a> {
    pub(super) hosts: BTreeMap<&'a str, HostOffer>,
    pub(super) policies: BTreeSet<&'a str>,
    /// The RelayHosts and FilterPolicies that exist and have no section.
    absent: BTreeMap<(Kind, &'a str), Absence>,
}

/// What a RelayHost can be used for.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostOffer {
    pub(super) endpoints: bool,
    pub(super) sources: bool,
}

/// Why an object has no section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// There is no room for it in the settings.
    NoRoom,
    /// It cannot be decoded, and has no last good part.
    Unreadable,
}

impl<'a> Offers<'a> {
    pub(super) fn of(
        inputs: &'a Inputs,
        withheld: &Withheld,
        hosts: &'a [Section<Host>],
        policies: &'a [Section<Policy>],
    ) -> Self {
        let offer = |section: &'a Section<Host>| {
            let Host { endpoints, mx, sources, source_names, source_certificates, .. } = &section.spec;
            let endpoints = !endpoints.is_empty() || !mx.is_empty();
            let sources = !sources.is_empty() || !source_names.is_empty() || !source_certificates.is_empty();
            (&*section.name, HostOffer { endpoints, sources })
        };
        let absent_hosts = absent(Kind::RelayHost, &inputs.hosts, hosts, withheld);
        let absent_policies = absent(Kind::FilterPolicy, &inputs.policies, policies, withheld);
        Self {
            hosts: hosts.iter().map(offer).collect(),
            policies: policies.iter().map(|section| &*section.name).collect(),
            absent: absent_hosts.chain(absent_policies).collect(),
        }
    }

    /// Why there is nothing of this name. `None`: because there is no such object.
    pub(super) fn absence(&self, kind: Kind, name: &str) -> Option<Absence> {
        self.absent.get(&(kind, name)).copied()
    }
}

/// The objects that have none of these sections, which are sorted.
fn absent<'a, S, T>(
    kind: Kind,
    objects: &'a [Object<S>],
    sections: &[Section<T>],
    withheld: &Withheld,
) -> impl Iterator<Item = ((Kind, &'a str), Absence)> {
    objects.iter().filter_map(move |Object { meta, spec, conditions: _ }| {
        if sections.binary_search_by(|section| section.name.cmp(&meta.name)).is_ok() {
            return None;
        }
        let no_room = spec.is_ok() && is_withheld(withheld, kind, meta);
        Some(((kind, meta.name.as_str()), if no_room { Absence::NoRoom } else { Absence::Unreadable }))
    })
}
