//! A Model in the words of relays that read an older schema only: what they cannot be told is left out, so that nothing is done that
//! was not asked for. Mail that needs it gets 451 or waits; whoever they could not recognise may not relay; and while they
//! could not recognise whom to keep out, nobody is let in. The object is told which field it is.
//!
//! A section that says nothing newer keeps its bytes, and so its digest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use postern_crds::condition::Reason;
use postern_wire::Section;
use postern_wire::snapshot::{
    Auth, ClientCertificate, Domain, Handshake, Host, HostLimits, Inbound, InboundTls, KeyPair, NextHop, Outbound,
    Policy, Queue, SecretFile, Tls, Way,
};

use crate::inputs::Kind;
use crate::problem::{DEFAULT_POLICY, Effect, Problem, Problems};
use crate::resolve::{Model, node};

/// The schema that has every field of the objects.
const ALL: u32 = 2;
/// The schema that has the nodes.
const NODES: u32 = 3;
const BLOCKED: &str = "spec.connections.blockedClients by name";

/// The same DMZ in this schema.
pub(super) fn lower<'a>(model: &'a Model, schema: u32, problems: &mut Vec<Problem>) -> Cow<'a, Model> {
    if schema >= NODES {
        return Cow::Borrowed(model);
    }
    let mut model = model.clone();
    without_nodes(&mut model);
    if schema >= ALL {
        return Cow::Owned(model);
    }
    // The hosts to which no mail can be handed, and the field for which.
    let mut hosts = BTreeMap::new();
    for section in &mut model.hosts {
        let mut problems = Problems::of(Kind::RelayHost, &section.name, problems);
        if let Some(field) = replace(section, |spec| host(spec, &mut problems)) {
            hosts.insert(section.name.clone(), field);
        }
    }
    let mut blind = false;
    for section in &mut model.policies {
        let mut problems = Problems::of(Kind::FilterPolicy, &section.name, problems);
        blind |= replace(section, |spec| policy(spec, &mut problems));
    }
    for section in &mut model.domains {
        let mut problems = Problems::of(Kind::RelayDomain, &section.name, problems);
        replace(section, |spec| domain(spec, &Gaps { hosts: &hosts, blind }, &mut problems));
    }
    let named: Vec<SecretFile> = model.hosts.iter().flat_map(|section| secret_files(&section.spec)).cloned().collect();
    model.secrets.retain(|file, _| named.contains(file));
    Cow::Owned(model)
}

/// Relays that are not told which addresses are nodes' are told of no source that has one. What a name stands for only they
/// know.
fn without_nodes(model: &mut Model) {
    let nodes = std::mem::take(&mut model.nodes);
    for section in &mut model.hosts {
        replace(section, |spec| {
            spec.sources = spec.sources.iter().filter_map(|network| node::without(network, &nodes)).collect();
        });
    }
}

/// Changes a section, and seals it again.
fn replace<T: serde::Serialize, R>(section: &mut Section<T>, change: impl FnOnce(&mut T) -> R) -> R {
    let result = change(&mut section.spec);
    section.digest = postern_wire::Digest::of(&section.spec);
    result
}

fn too_old(field: &str, consequence: &str, problems: &mut Problems<'_>) {
    let message = format!("{field}: not every relay understands this; upgrade the relays; until then {consequence}");
    problems.add(Effect::NotProgrammed, Reason::RelayTooOld, message);
}

fn unsaid(field: &str) -> String {
    format!("{field}: needs relays of schema {ALL}")
}

/// The first field without which no mail may be handed to the host.
fn host(spec: &mut Host, problems: &mut Problems<'_>) -> Option<&'static str> {
    let Host {
        endpoints: _,
        mx,
        tls,
        auth,
        limits: HostLimits { connections, messages_per_connection, messages_per_minute },
        sources: _,
        source_names,
        source_certificates,
        queue: Queue { lifetime: _, null_sender_lifetime, warn_after },
        suspend: _,
    } = spec;
    let (implicit, shows) = match tls {
        Way::Open(Tls { handshake, verification: _, server_name: _, ca: _, client_certificate }) => {
            (*handshake == Handshake::Implicit, client_certificate.is_some())
        }
        Way::Unresolved(_) => (false, false),
    };
    let delivery = [
        ("spec.endpoints by mx", !std::mem::take(mx).is_empty()),
        ("spec.tls.handshake Implicit", implicit),
        ("spec.tls.clientCertificateSecretRef", shows),
        ("spec.auth", auth.take().is_some()),
        ("spec.limits.connections", connections.take().is_some()),
        ("spec.limits.messagesPerConnection", messages_per_connection.take().is_some()),
        ("spec.limits.messagesPerMinute", messages_per_minute.take().is_some()),
        ("spec.queue.nullSenderLifetime", null_sender_lifetime.take().is_some()),
        ("spec.queue.warnAfter", warn_after.take().is_some()),
    ];
    let sources = [
        ("spec.sources by a and mx", !std::mem::take(source_names).is_empty()),
        ("spec.sources by clientCertificate", !std::mem::take(source_certificates).is_empty()),
    ];
    let sources = said(&sources);
    if !sources.is_empty() {
        too_old(&sources.join(", "), "nobody may relay by such entries", problems);
    }
    let delivery = said(&delivery);
    let first = delivery.first().copied()?;
    *tls = Way::Unresolved(unsaid(first));
    too_old(&delivery.join(", "), "no mail is handed to this host", problems);
    Some(first)
}

fn said(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, is_said)| *is_said).map(|(field, _)| *field).collect()
}

/// Whether relays would let in whom they should keep out.
fn policy(spec: &mut Policy, problems: &mut Problems<'_>) -> bool {
    let Policy { limits: _, blocked_clients: _, blocked_names, senders: _ } = spec;
    let blind = !std::mem::take(blocked_names).is_empty();
    if blind {
        too_old(BLOCKED, "all mail gets 451 4.3.5, for those clients could not be kept out", problems);
    }
    blind
}

/// What the other sections cannot say.
struct Gaps<'a> {
    hosts: &'a BTreeMap<String, &'static str>,
    blind: bool,
}

fn domain(spec: &mut Domain, gaps: &Gaps<'_>, problems: &mut Problems<'_>) {
    let Domain { names: _, inbound, bounces, outbound } = spec;
    close(inbound, "mail to these domains gets 451 4.3.5", problems, |inbound, problems| {
        let Inbound { deliver_to, recipients: _, policy: _, tls } = inbound;
        match tls {
            InboundTls::Required => return Err("spec.inboundTLS".to_owned()),
            InboundTls::Opportunistic => {}
        }
        gaps.check_policy()?;
        gaps.check_hops("spec.deliverTo", deliver_to, problems)
    });
    if let Some(bounces) = bounces {
        close(bounces, "notifications wait", problems, |via, problems| {
            gaps.check_hops("spec.bounces.via", via, problems)
        });
    }
    if let Some(outbound) = outbound {
        close(outbound, "mail from these domains gets 451 4.3.5", problems, |outbound, problems| {
            let Outbound { hosts: _, recipients: _, via, policy: _ } = outbound;
            if via.is_empty() {
                return Err("spec.outbound without via".to_owned());
            }
            gaps.check_policy()?;
            gaps.check_hops("spec.outbound.via", via, problems)
        });
    }
}

/// Closes a way that cannot be told as it is.
fn close<T>(
    way: &mut Way<T>,
    consequence: &str,
    problems: &mut Problems<'_>,
    check: impl FnOnce(&mut T, &mut Problems<'_>) -> Result<(), String>,
) {
    let Way::Open(open) = way else { return };
    if let Err(field) = check(open, problems) {
        too_old(&field, consequence, problems);
        *way = Way::Unresolved(unsaid(&field));
    }
}

impl Gaps<'_> {
    fn check_policy(&self) -> Result<(), String> {
        if self.blind { Err(format!("{BLOCKED}, in the FilterPolicy {DEFAULT_POLICY}")) } else { Ok(()) }
    }

    /// Leaves out the hosts to which nothing can be handed. An error when none is left.
    fn check_hops(&self, field: &str, hops: &mut Vec<NextHop>, problems: &mut Problems<'_>) -> Result<(), String> {
        let named = |hop: &NextHop| {
            let of_host = self.hosts.get(&hop.host)?;
            Some(format!("{field}: {of_host} of the RelayHost {}", hop.host))
        };
        let told: Vec<_> = hops.iter().filter_map(named).collect();
        hops.retain(|hop| !self.hosts.contains_key(&hop.host));
        match told.into_iter().next() {
            Some(field) if hops.is_empty() => Err(field),
            Some(field) => {
                too_old(&field, "mail goes to the others", problems);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The files that a section refers to.
fn secret_files(host: &Host) -> Vec<&SecretFile> {
    let Host { tls, auth, source_certificates, .. } = host;
    let mut files: Vec<_> = source_certificates.iter().map(|ClientCertificate { ca, dns_name: _ }| ca).collect();
    if let Way::Open(Tls { ca, client_certificate, .. }) = tls {
        files.extend(ca);
        files.extend(client_certificate.iter().flat_map(|KeyPair { certificate, key }| [certificate, key]));
    }
    if let Some(Way::Open(Auth { username, password })) = auth {
        files.extend([username, password]);
    }
    files
}
