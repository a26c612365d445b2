//! Snapshot → Config: whole or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postern_wire::snapshot::{Section, Snapshot};
use postern_wire::status::Object;
use postern_wire::{Digest, snapshot};

use super::authorities::Authorities;
use super::invalid::{self, Invalid};
use super::secrets::{Secrets, secrets_of_host};
use super::section::{self, DomainPart, HostPart, PolicyPart};
use super::tls::Shared;
use super::{Config, Fault};
use crate::policy::client::Networks;
use crate::policy::names::Names;
use crate::policy::{Parts, Rules};
use crate::route::Routes;

/// Compiled sections of a Config, by object name: those whose digest is the same in the next Snapshot are taken over.
#[derive(Debug)]
pub(super) struct Sections {
    domains: HashMap<String, Compiled<DomainPart>>,
    hosts: HashMap<String, Compiled<HostPart>>,
    policies: HashMap<String, Compiled<PolicyPart>>,
    shared: Shared,
}

/// A compiled section and what it was compiled from.
#[derive(Debug)]
struct Compiled<T> {
    digest: Digest,
    /// Of the secrets beside it, which may change under the same name when a person edits the folder by hand.
    secrets: Option<Digest>,
    part: Arc<T>,
}

impl<T> Clone for Compiled<T> {
    fn clone(&self) -> Self {
        Self { digest: self.digest.clone(), secrets: self.secrets.clone(), part: self.part.clone() }
    }
}

/// Makes the settings that a Snapshot means, with its secrets, and says what of it cannot be enforced. Sections that are
/// the same in `old` are taken over from it.
///
/// # Errors
/// [`Invalid`], when it contradicts itself or the limits: nothing of it is in force then.
pub fn build(snapshot: Snapshot, secrets: &Secrets, old: Option<&Config>) -> Result<(Config, Vec<Fault>), Invalid> {
    let digest = Digest::of(&snapshot);
    build_known(digest, snapshot, secrets, old)
}

/// The same for a Snapshot whose digest was computed already.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_known(
    digest: Digest,
    snapshot: Snapshot,
    secrets: &Secrets,
    old: Option<&Config>,
) -> Result<(Config, Vec<Fault>), Invalid> {
    let Snapshot { schema: _, domains, hosts, policies, nodes } = snapshot;
    let nodes = invalid::nodes(&nodes)?;
    let old_authorities = old.map(|config| &config.authorities);
    let old = old.map(|config| &config.sections);
    let shared = match old {
        Some(old) => old.shared.clone(),
        None => Shared::new().map_err(|error| Invalid::Tls(error.to_string()))?,
    };
    let sections = Sections {
        domains: compile("RelayDomain", &domains, old.map(|old| &old.domains), |_| None, section::domain)?,
        hosts: compile(
            "RelayHost",
            &hosts,
            old.map(|old| &old.hosts),
            |host| host_secrets(host, secrets),
            |host| section::host(host, secrets, &shared),
        )?,
        policies: compile("FilterPolicy", &policies, old.map(|old| &old.policies), |_| None, section::policy)?,
        shared,
    };
    check_references(&sections)?;
    let faults = faults(&hosts, &sections);
    let objects = objects(&domains, &hosts, &policies, &faults);
    let certificates = sections.hosts.values().flat_map(|compiled| {
        let part = &compiled.part;
        part.source_certificates.iter().map(|certificate| (part.host.name.clone(), certificate.clone()))
    });
    let authorities = Authorities::new(certificates.collect(), old_authorities);
    let config = assemble(digest, (&domains, &policies, nodes), sections, objects, authorities)?;
    Ok((config, faults))
}

/// Compiles each section, unless the old Config has the same one.
fn compile<S, T>(
    kind: &'static str,
    sections: &[Section<S>],
    old: Option<&HashMap<String, Compiled<T>>>,
    secrets: impl Fn(&Section<S>) -> Option<Digest>,
    compile: impl Fn(&Section<S>) -> Result<T, Invalid>,
) -> Result<HashMap<String, Compiled<T>>, Invalid> {
    let mut compiled = HashMap::with_capacity(sections.len());
    for section in sections {
        let (digest, secrets) = (section.digest.clone(), secrets(section));
        let same = old.and_then(|old| old.get(&section.name));
        let same = same.filter(|same| same.digest == digest && same.secrets == secrets);
        let part = match same {
            Some(same) => same.clone(),
            None => Compiled { digest, secrets, part: Arc::new(compile(section)?) },
        };
        if compiled.insert(section.name.clone(), part).is_some() {
            return Err(Invalid::Twice(format!("{kind} {}", section.name)));
        }
    }
    Ok(compiled)
}

fn host_secrets(section: &Section<snapshot::Host>, secrets: &Secrets) -> Option<Digest> {
    let content: Vec<_> = secrets_of_host(section).into_iter().map(|file| secrets.get(file)).collect();
    (!content.is_empty()).then(|| Digest::of(&content))
}

/// Each name that a section uses must be there: the operator resolved them all.
fn check_references(sections: &Sections) -> Result<(), Invalid> {
    for (domain, Compiled { part, .. }) in &sections.domains {
        let dangling = |field, kind, name: &String| {
            let object = format!("RelayDomain {domain}");
            Invalid::Dangling { object, field, kind, name: name.clone() }
        };
        for (field, name) in &part.next_hops {
            let host = sections.hosts.get(name).ok_or_else(|| dangling(field, "RelayHost", name))?;
            if host.part.host.endpoints.is_empty() && host.part.host.mx.is_empty() {
                let (object, problem) = (format!("RelayDomain {domain}"), format!("RelayHost {name} has no endpoint"));
                return Err(Invalid::Value { object, field, problem });
            }
        }
        if let Some(name) = part.senders.iter().find(|name| !sections.hosts.contains_key(*name)) {
            return Err(dangling("outbound.hosts", "RelayHost", name));
        }
        if let Some(name) = part.policies.iter().find(|name| !sections.policies.contains_key(*name)) {
            return Err(dangling("policy", "FilterPolicy", name));
        }
    }
    Ok(())
}

fn faults(hosts: &[Section<snapshot::Host>], sections: &Sections) -> Vec<Fault> {
    let fault = |section: &Section<snapshot::Host>| {
        let part = &sections.hosts.get(&section.name)?.part;
        let problem = part.fault.clone()?;
        Some(Fault { kind: "RelayHost", name: part.host.name.clone(), problem })
    };
    hosts.iter().filter_map(fault).collect()
}

/// What `/status` says of each object.
fn objects(
    domains: &[Section<snapshot::Domain>],
    hosts: &[Section<snapshot::Host>],
    policies: &[Section<snapshot::Policy>],
    faults: &[Fault],
) -> Vec<Object> {
    let faults: HashMap<(&str, &str), &Fault> =
        faults.iter().map(|fault| ((fault.kind, &*fault.name), fault)).collect();
    let object = |kind: &str, name: &str, uid: &str, generation: i64, digest: &Digest| Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        generation,
        digest: digest.clone(),
        fault: faults.get(&(kind, name)).map(|fault| fault.problem.to_string()),
    };
    let domains = domains.iter().map(|one| object("RelayDomain", &one.name, &one.uid, one.generation, &one.digest));
    let hosts = hosts.iter().map(|one| object("RelayHost", &one.name, &one.uid, one.generation, &one.digest));
    let policies = policies.iter().map(|one| object("FilterPolicy", &one.name, &one.uid, one.generation, &one.digest));
    domains.chain(hosts).chain(policies).collect()
}

/// Indexes the compiled sections, in the order of the Snapshot.
fn assemble(
    digest: Digest,
    (domains, policies, nodes): (&[Section<snapshot::Domain>], &[Section<snapshot::Policy>], Networks<()>),
    sections: Sections,
    objects: Vec<Object>,
    authorities: Arc<Authorities>,
) -> Result<Config, Invalid> {
    let domain_parts: Vec<_> = domains.iter().map(|one| sections.domains[&one.name].part.clone()).collect();
    let claims = domain_parts.iter().enumerate();
    let claims = claims.flat_map(|(index, part)| part.names.iter().map(move |name| (name.as_str(), index)));
    let names = Names::new(claims).map_err(|twice| {
        let (first, second) = (&domains[twice.first].name, &domains[twice.second].name);
        Invalid::Twice(format!("domain name {} of RelayDomain {first} and RelayDomain {second}", twice.name))
    })?;
    let names = Arc::new(names);
    let (mut sources, mut blocked_clients) = (Networks::default(), Networks::default());
    let (mut source_names, mut blocked_names) = (HashMap::<_, Vec<_>>::new(), HashSet::new());
    for part in sections.hosts.values().map(|compiled| &compiled.part) {
        for (range, except) in &part.sources {
            sources.insert(*range, except, part.host.name.clone());
        }
        for name in &part.host.source_names {
            source_names.entry(name.clone()).or_default().push(part.host.name.clone());
        }
    }
    for part in sections.policies.values().map(|compiled| &compiled.part) {
        for (range, except) in &part.blocked_clients {
            blocked_clients.insert(*range, except, ());
        }
        blocked_names.extend(part.blocked_names.iter().cloned());
    }
    let rules = Arc::new(Rules::new(Parts {
        blocked_clients,
        blocked_names,
        sources,
        source_names,
        nodes,
        names: names.clone(),
        domains: domain_parts.iter().map(|part| part.rules.clone()).collect(),
        policies: policies.iter().map(|one| sections.policies[&one.name].part.policy.clone()).collect(),
    }));
    let routes = Routes::new(names, domain_parts.iter().map(|part| part.ways.clone()).collect());
    let hosts: HashMap<_, _> =
        sections.hosts.values().map(|one| (one.part.host.name.clone(), one.part.host.clone())).collect();
    let direct = Arc::new(section::direct(&sections.shared));
    let lifetime = hosts.values().map(|host| host.lifetime).max().unwrap_or(direct.lifetime);
    Ok(Config { digest, rules, routes, authorities, hosts, direct, lifetime, objects, sections })
}
