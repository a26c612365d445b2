//! A FilterPolicy → its section. Nothing in it refers to anything, so it always has one: what is wrong in it is left out,
//! and the default holds instead.

use postern_crds::FilterPolicySpec;
use postern_crds::condition::Reason;
use postern_wire::limits::Limit;
use postern_wire::snapshot::{MessageLimits, Policy, Senders};

use super::defaults;
use super::host_list::{Hosts, clients};
use super::mailbox::sender_pattern;
use crate::problem::{DEFAULT_POLICY, Problems, quoted};

pub(super) fn policy(name: &str, spec: &FilterPolicySpec, problems: &mut Problems<'_>) -> Policy {
    let FilterPolicySpec { limits, connections, senders } = spec;
    let limits = limits.clone().unwrap_or_default();
    let message_size = limits.message_size.map(|size| size.octets());
    let limits = MessageLimits {
        message_size: bounded(&defaults::MESSAGE_SIZE, message_size, problems),
        recipients_per_message: narrow(bounded(
            &defaults::RECIPIENTS_PER_MESSAGE,
            limits.recipients_per_message.map(|count| Some(count.into())),
            problems,
        )),
        hops: narrow(bounded(&defaults::HOPS, limits.hops.map(|count| Some(count.into())), problems)),
    };
    let mut blocked_clients = connections.as_ref().map_or(&[][..], |connections| &connections.blocked_clients);
    if name != DEFAULT_POLICY && !blocked_clients.is_empty() {
        let message = format!(
            "spec.connections: only the FilterPolicy {DEFAULT_POLICY} may have it, for it holds before a domain is known"
        );
        problems.partial(Reason::Invalid, message);
        blocked_clients = &[];
    }
    let senders = senders.clone().unwrap_or_default();
    let blocked = clients("spec.connections.blockedClients", blocked_clients, problems);
    let Hosts { networks: blocked_clients, names: blocked_names, certificates: _ } = blocked;
    Policy {
        limits,
        blocked_clients,
        blocked_names,
        senders: Senders {
            blocked: patterns("spec.senders.blocked", &senders.blocked, problems),
            allowed: patterns("spec.senders.allowed", &senders.allowed, problems),
        },
    }
}

/// A value within its limit: what was said, else the default. `Some(None)`: what was said cannot be read.
pub(super) fn bounded(limit: &Limit, said: Option<Option<u64>>, problems: &mut Problems<'_>) -> u64 {
    let field = limit.name.split_once('.').map_or(limit.name, |(_, field)| field);
    match said {
        None => limit.default,
        Some(Some(value)) if limit.allows(value) => value,
        Some(value) => {
            let value = value.map_or_else(|| "what is written".to_owned(), |value| value.to_string());
            let Limit { unit, min, max, default, .. } = limit;
            let message =
                format!("{field}: {value} is not within {min} to {max} {unit}; the default, {default}, is in force");
            problems.partial(Reason::Invalid, message);
            limit.default
        }
    }
}

/// The limits that use it end far below.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn patterns(field: &str, written: &[String], problems: &mut Problems<'_>) -> Vec<String> {
    let mut patterns = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match sender_pattern(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => problems.partial(Reason::Invalid, format!("{field}[{index}]: {} {why}", quoted(text))),
        }
    }
    patterns.sort();
    patterns.dedup();
    patterns
}
