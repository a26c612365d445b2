//! A RelayDomain → its section.
//!
//! Each direction (inbound, bounces, outbound) is resolved on its own: a missing reference closes the direction that needs
//! it and no other, and of several next hops one is enough.

use std::collections::BTreeSet;

use postern_crds::condition::Reason;
use postern_crds::domain::{self, RelayDomainSpec};
use postern_crds::reference;
use postern_wire::Section;
use postern_wire::snapshot::{Domain, Inbound, InboundTls, NextHop, Outbound, OutboundRecipients, Way};

use super::offer::{Absence, HostOffer, Offers};
use super::{defaults, recipients};
use crate::inputs::{Inputs, Kind};
use crate::problem::{DEFAULT_POLICY, Problems};

/// What a RelayDomain is resolved against.
pub(super) struct Context<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) offers: &'a Offers<'a>,
    /// The names that it holds, sorted.
    pub(super) held: &'a [String],
    /// The names that it claims, valid ones only.
    pub(super) claimed: &'a [String],
}

pub(super) fn domain(context: &Context<'_>, spec: &RelayDomainSpec, problems: &mut Problems<'_>) -> Domain {
    let RelayDomainSpec { domains: _, deliver_to, recipients, filter_policy_ref, inbound_tls, bounces, outbound } =
        spec;
    let policy = filter_policy_ref.as_ref().map_or(DEFAULT_POLICY, |reference| &reference.name);
    let field = if filter_policy_ref.is_some() { "spec.filterPolicyRef" } else { "spec.filterPolicyRef (not set)" };
    let written = Incoming { deliver_to, recipients, policy: (field, policy), tls: *inbound_tls };
    Domain {
        names: context.held.to_vec(),
        inbound: way("mail to these domains gets 451 4.3.5", problems, |problems| inbound(context, &written, problems)),
        bounces: bounces.as_ref().map(|domain::Bounces { via }| {
            way("notifications wait", problems, |problems| next_hops("spec.bounces.via", via, context.offers, problems))
        }),
        outbound: outbound.as_ref().map(|written| {
            way("mail from these domains gets 451 4.3.5", problems, |problems| outbound_of(context, written, problems))
        }),
    }
}

/// One direction; when it is closed, its last problem also says what that means for mail.
fn way<T>(
    consequence: &str,
    problems: &mut Problems<'_>,
    resolve: impl FnOnce(&mut Problems<'_>) -> Result<T, String>,
) -> Way<T> {
    problems.begin();
    match resolve(problems) {
        Ok(open) => Way::Open(open),
        Err(why) => {
            problems.consequence(consequence);
            Way::Unresolved(why)
        }
    }
}

/// The fields that mail to the domain needs.
struct Incoming<'a> {
    deliver_to: &'a [reference::NextHop],
    recipients: &'a domain::Recipients,
    /// The field, and the name of the FilterPolicy, written or by default.
    policy: (&'static str, &'a str),
    tls: Option<domain::InboundTls>,
}

fn inbound(context: &Context<'_>, written: &Incoming<'_>, problems: &mut Problems<'_>) -> Result<Inbound, String> {
    // All three are looked at, so that all that is missing is named at once.
    let deliver_to = next_hops("spec.deliverTo", written.deliver_to, context.offers, problems);
    let recipients = recipients::recipients(context, written.recipients, problems);
    let (field, policy) = written.policy;
    let policy = self::policy(field, policy, context.offers, problems);
    let tls = written.tls.map_or(defaults::INBOUND_TLS, |tls| match tls {
        domain::InboundTls::Opportunistic => InboundTls::Opportunistic,
        domain::InboundTls::Required => InboundTls::Required,
    });
    Ok(Inbound { deliver_to: deliver_to?, recipients: recipients?, policy: policy?, tls })
}

fn outbound_of(
    context: &Context<'_>,
    written: &domain::Outbound,
    problems: &mut Problems<'_>,
) -> Result<Outbound, String> {
    let domain::Outbound { hosts, recipients, via } = written;
    let senders = senders(hosts, context.offers, problems);
    // Only what was never written means the recipients' MX: smarthosts that are all gone close the way.
    let via = match via.is_empty() {
        true => Ok(Vec::new()),
        false => next_hops("spec.outbound.via", via, context.offers, problems),
    };
    let policy = policy("spec.outbound", DEFAULT_POLICY, context.offers, problems);
    let recipients = recipients.map_or(defaults::OUTBOUND_RECIPIENTS, |recipients| match recipients {
        domain::OutboundRecipients::Any => OutboundRecipients::Any,
        domain::OutboundRecipients::HostedDomains => OutboundRecipients::HostedDomains,
    });
    Ok(Outbound { hosts: senders?, recipients, via: via?, policy: policy? })
}

fn policy(field: &str, name: &str, offers: &Offers<'_>, problems: &mut Problems<'_>) -> Result<String, String> {
    if offers.policies.contains(name) {
        return Ok(name.to_owned());
    }
    Err(missing(field, Kind::FilterPolicy, name, offers, problems))
}

/// That an object that is named has no section: what is wrong, as it stands in the settings.
fn missing(field: &str, kind: Kind, name: &str, offers: &Offers<'_>, problems: &mut Problems<'_>) -> String {
    let (reason, what) = match offers.absence(kind, name) {
        Some(Absence::NoRoom) => (Reason::SettingsFull, "exists, and waits for room in the settings of this DMZ"),
        Some(Absence::Unreadable) => (Reason::ContentInvalid, "exists, and cannot be read"),
        None if kind == Kind::FilterPolicy => (Reason::PolicyNotFound, "does not exist"),
        None => (Reason::HostNotFound, "does not exist"),
    };
    let why = format!("{field}: the {kind} {name} {what}");
    let hint = match (reason, kind) {
        (Reason::SettingsFull | Reason::ContentInvalid, _) => "see its status".to_owned(),
        (_, Kind::FilterPolicy) if name == DEFAULT_POLICY => {
            "charts/relay makes one; without it apply `kind: FilterPolicy, metadata: {name: default}, spec: {}`"
                .to_owned()
        }
        (_, Kind::FilterPolicy) => known(kind, offers.policies.iter().copied()),
        _ => known(kind, offers.hosts.keys().copied()),
    };
    problems.unresolved(reason, format!("{why} ({hint})"));
    why
}

/// What could be written instead of a name that does not exist. Only for people: it is no part of the settings, which
/// would change with every object otherwise.
fn known<'a>(kind: Kind, names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => format!("there is no {kind}"),
        count if count > SHOWN => format!("there are {shown} and {} more", count - SHOWN),
        1 => format!("there is {shown}"),
        _ => format!("there are {shown}"),
    }
}

/// The hosts that can take mail, sorted. An error only when there is none.
fn next_hops(
    field: &str,
    written: &[reference::NextHop],
    offers: &Offers<'_>,
    problems: &mut Problems<'_>,
) -> Result<Vec<NextHop>, String> {
    let mut hops = Vec::with_capacity(written.len());
    let mut why = format!("{field}: names no RelayHost");
    if written.is_empty() {
        problems.invalid(why.clone());
    }
    for reference::NextHop { name, preference } in written {
        match offers.hosts.get(name.as_str()) {
            Some(HostOffer { endpoints: true, .. }) => {
                hops.push(NextHop { preference: preference.unwrap_or(defaults::PREFERENCE), host: name.clone() });
                continue;
            }
            Some(_) => {
                why = format!("{field}: the RelayHost {name} has no endpoint to hand mail to");
                problems.unresolved(Reason::HostUnfit, why.clone());
            }
            None => why = missing(field, Kind::RelayHost, name, offers, problems),
        }
    }
    hops.sort();
    let mut seen = BTreeSet::new();
    hops.retain(|hop| seen.insert(hop.host.clone()));
    if hops.is_empty() { Err(why) } else { Ok(hops) }
}

/// The hosts that may send, sorted. An error only when there is none.
fn senders(
    written: &[reference::HostRef],
    offers: &Offers<'_>,
    problems: &mut Problems<'_>,
) -> Result<Vec<String>, String> {
    let field = "spec.outbound.hosts";
    let mut hosts = BTreeSet::new();
    let mut why = format!("{field}: names no RelayHost");
    if written.is_empty() {
        problems.invalid(why.clone());
    }
    for reference::HostRef { name } in written {
        match offers.hosts.get(name.as_str()) {
            Some(HostOffer { sources: true, .. }) => {
                hosts.insert(name.clone());
            }
            Some(_) => {
                why = format!("{field}: the RelayHost {name} has no sources from which it could send");
                problems.unresolved(Reason::HostUnfit, why.clone());
            }
            None => why = missing(field, Kind::RelayHost, name, offers, problems),
        }
    }
    if hosts.is_empty() { Err(why) } else { Ok(hosts.into_iter().collect()) }
}

/// The last good section of an object that cannot be decoded any more, with the names that it still holds and without
/// references to what is gone: each Snapshot must stand on its own.
pub(super) fn revive(section: &Section<Domain>, held: &[String], offers: &Offers<'_>) -> Section<Domain> {
    let Domain { names: _, inbound, bounces, outbound } = section.spec.clone();
    let spec = Domain {
        names: held.to_vec(),
        inbound: keep(inbound, |inbound| {
            inbound.deliver_to = kept_hops(std::mem::take(&mut inbound.deliver_to), offers)?;
            kept_policy(&inbound.policy, offers)
        }),
        bounces: bounces.map(|way| {
            keep(way, |via| {
                *via = kept_hops(std::mem::take(via), offers)?;
                Ok(())
            })
        }),
        outbound: outbound.map(|way| {
            keep(way, |outbound| {
                outbound.hosts.retain(|name| offers.hosts.get(name.as_str()).is_some_and(|offer| offer.sources));
                if !outbound.via.is_empty() {
                    outbound.via = kept_hops(std::mem::take(&mut outbound.via), offers)?;
                }
                kept_policy(&outbound.policy, offers)
            })
        }),
    };
    Section::new(&section.name, &section.uid, section.generation, spec)
}

fn keep<T>(way: Way<T>, check: impl FnOnce(&mut T) -> Result<(), String>) -> Way<T> {
    match way {
        Way::Unresolved(why) => Way::Unresolved(why),
        Way::Open(mut open) => match check(&mut open) {
            Ok(()) => Way::Open(open),
            Err(why) => Way::Unresolved(why),
        },
    }
}

fn kept_hops(mut hops: Vec<NextHop>, offers: &Offers<'_>) -> Result<Vec<NextHop>, String> {
    hops.retain(|hop| offers.hosts.get(hop.host.as_str()).is_some_and(|offer| offer.endpoints));
    if hops.is_empty() { Err("none of the RelayHosts of its last good part is left".to_owned()) } else { Ok(hops) }
}

fn kept_policy(name: &str, offers: &Offers<'_>) -> Result<(), String> {
    if offers.policies.contains(name) {
        return Ok(());
    }
    Err(format!("the FilterPolicy {name} of its last good part does not exist any more"))
}
