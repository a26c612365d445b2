//! Refusals that more than one question can end in, and the names that they give to what decided.

use std::sync::Arc;

use super::{Decision, Domain, Tls, Transaction};
use crate::address::Mailbox;
use crate::smtp::Reply;
use crate::smtp::reply::Enhanced;

/// The first of these names, and how many there are besides: a reply has one line.
pub(super) fn some(names: &[Arc<str>]) -> String {
    match names {
        [] => String::new(),
        [name] => name.to_string(),
        [name, others @ ..] => format!("{name} (or {} others)", others.len()),
    }
}

/// `RelayDomain/contoso spec.recipients`
pub(super) fn field(domain: &Domain, field: &str) -> Arc<str> {
    format!("RelayDomain/{} {field}", domain.name).into()
}

/// The settings of this domain are incomplete: the client comes again, the log says what is missing.
pub(super) fn unresolved(domain: &Domain, what: &str, reason: &str) -> Decision {
    let text = format!("{what}: the settings for this domain are incomplete, try again later");
    let object = format!("RelayDomain/{}: {reason}", domain.name);
    Decision::refuse("unresolved", Reply::new(451, Enhanced(4, 3, 5), text), Some(object.into()))
}

/// The refusal of plain text to a domain that requires TLS. Known only at RCPT; the reply is that of RFC 3207, section 4.
/// Without a certificate of ours the client cannot do better: it comes again, until there is one.
pub(super) fn unprotected(domain: &Domain, what: &str, tls: Tls) -> Option<Decision> {
    let (rule, reply) = match tls {
        Tls::Active => return None,
        Tls::Unused => ("tls-required", Reply::new(530, Enhanced(5, 7, 0), "Must issue a STARTTLS command first")),
        Tls::Unavailable => {
            let text = format!("{what}: this domain needs TLS, which is not available now, try again later");
            ("tls-unavailable", Reply::new(451, Enhanced(4, 3, 5), text))
        }
    };
    Some(Decision::refuse(rule, reply, Some(field(domain, "spec.inboundTLS"))))
}

/// An outsider asks for what only sources may. Whoever is one but for its address is told so.
pub(super) fn relaying_denied(recipient: &Mailbox, transaction: &Transaction) -> Decision {
    let Transaction { client, veiled, .. } = transaction;
    let (why, object) = match veiled {
        None => (String::new(), None),
        Some((veil, host)) => {
            (format!(": {client} {veil}"), Some(format!("RelayHost/{host} spec.sources: {client} {veil}").into()))
        }
    };
    let text = format!("<{recipient}>: relaying denied{why}");
    Decision::refuse("relaying-denied", Reply::new(550, Enhanced(5, 7, 1), text), object)
}

/// What is refused because of who the client is, or is not, is refused only for now while that is not known.
pub(super) fn not_for_good(decision: Decision, transaction: &Transaction) -> Decision {
    const BY_PARTY: &[&str] = &["relaying-denied", "not-our-sender", "blocked-sender", "too-large"];
    match &transaction.unknown_name {
        Some(name) if BY_PARTY.contains(&decision.rule) => {
            let text = "it is not known yet who may relay here, try again later";
            Decision::refuse("unknown-source", Reply::new(451, Enhanced(4, 4, 3), text), Some(name.clone()))
        }
        _ => decision,
    }
}
