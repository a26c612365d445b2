//! Lists of recipients: written in the object, and one a line in ConfigMaps.
//!
//! A line that is no address, or none of this object's domains, costs that line only. A list that is missing closes the
//! way in: without it, mail to existing people would be refused for good.

use postern_crds::condition::Reason;
use postern_crds::domain;
use postern_crds::reference::KeyRef;
use postern_wire::snapshot::{RecipientMode, Recipients, Verifier};

use super::domain::Context;
use super::mailbox::recipient;
use super::name::covers;
use crate::problem::{Problems, quoted};

/// How many bad entries of one list are named; the rest is counted.
const NAMED_MAX: usize = 5;

pub(super) fn recipients(
    context: &Context<'_>,
    written: &domain::Recipients,
    problems: &mut Problems<'_>,
) -> Result<Recipients, String> {
    let domain::Recipients { mode, verify, subaddress_delimiter } = written;
    let mode = match mode {
        domain::RecipientMode::AcceptAll => RecipientMode::AcceptAll,
        domain::RecipientMode::Verify => RecipientMode::Verify(verifiers(context, verify, problems)?),
    };
    Ok(Recipients { mode, subaddress_delimiter: delimiter(subaddress_delimiter.as_deref(), problems) })
}

fn delimiter(written: Option<&str>, problems: &mut Problems<'_>) -> Option<char> {
    let text = written?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(delimiter), None) if delimiter.is_ascii_graphic() && !matches!(delimiter, '@' | '"' | '\\') => {
            Some(delimiter)
        }
        _ => {
            let message = format!(
                "spec.recipients.subaddressDelimiter: {} is not one character of a local part; none is in force",
                quoted(text)
            );
            problems.partial(Reason::Invalid, message);
            None
        }
    }
}

fn verifiers(
    context: &Context<'_>,
    written: &[domain::Verifier],
    problems: &mut Problems<'_>,
) -> Result<Vec<Verifier>, String> {
    let mut missing = None;
    if written.is_empty() {
        let message = "spec.recipients.verify: is empty, so nobody would be known";
        problems.invalid(message);
        missing = Some(message.to_owned());
    }
    let mut verifiers = Vec::with_capacity(written.len());
    for (index, domain::Verifier { list }) in written.iter().enumerate() {
        let field = format!("spec.recipients.verify[{index}]");
        let Some(list) = list else {
            let message = format!("{field}: names no way to verify: write `list`");
            problems.invalid(message.clone());
            missing = Some(message);
            continue;
        };
        match addresses(context, &field, list, problems) {
            Ok(addresses) => verifiers.push(Verifier::List(addresses)),
            Err(why) => missing = Some(why),
        }
    }
    missing.map_or(Ok(verifiers), Err)
}

/// All addresses of one list, sorted.
fn addresses(
    context: &Context<'_>,
    field: &str,
    list: &domain::RecipientList,
    problems: &mut Problems<'_>,
) -> Result<Vec<String>, String> {
    let domain::RecipientList { addresses, config_map_refs } = list;
    let mut known = Vec::new();
    let mut missing = None;
    let entries =
        addresses.iter().enumerate().map(|(index, text)| (format!("{field}.list.addresses[{index}]"), text.trim()));
    take(context, &format!("{field}.list.addresses"), entries, &mut known, problems);
    for KeyRef { name, key } in config_map_refs {
        let Some(data) = context.inputs.config_maps.get(name) else {
            missing = Some(format!("{field}.list: the ConfigMap {name} does not exist"));
            problems.unresolved(Reason::ConfigMapNotFound, missing.clone().unwrap_or_default());
            continue;
        };
        let Some(text) = data.get(key) else {
            missing = Some(format!("{field}.list: the ConfigMap {name} has no key {key}"));
            problems.unresolved(Reason::ConfigMapNotFound, missing.clone().unwrap_or_default());
            continue;
        };
        let source = format!("ConfigMap {name}, key {key}");
        let lines = text.lines().enumerate().filter_map(|(index, line)| {
            let entry = line.split('#').next().unwrap_or_default().trim();
            (!entry.is_empty()).then(|| (format!("{source}, line {}", index + 1), entry))
        });
        take(context, &source, lines, &mut known, problems);
    }
    known.sort();
    known.dedup();
    missing.map_or(Ok(known), Err)
}

/// Adds the good entries of one source to `known`, and names the bad ones.
fn take<'a>(
    context: &Context<'_>,
    source: &str,
    entries: impl Iterator<Item = (String, &'a str)>,
    known: &mut Vec<String>,
    problems: &mut Problems<'_>,
) {
    let mut bad = 0;
    for (place, text) in entries {
        let why = match recipient(text) {
            Ok((key, domain)) if context.held.iter().any(|name| covers(name, &domain)) => {
                known.push(key);
                continue;
            }
            // The name's own problem says that another object holds it.
            Ok((_, domain)) if context.claimed.iter().any(|name| covers(name, &domain)) => continue,
            Ok(_) => "is not in a domain of this object".to_owned(),
            Err(why) => why.to_string(),
        };
        bad += 1;
        if bad <= NAMED_MAX {
            problems.partial(Reason::Invalid, format!("{place}: {} {why}; it is left out", quoted(text)));
        }
    }
    if bad > NAMED_MAX {
        problems.partial(Reason::Invalid, format!("{source}: {} more entries are left out", bad - NAMED_MAX));
    }
}
