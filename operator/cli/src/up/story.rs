//! What `postern up` tells the person who started it, on standard output; the relay's own log goes to standard error.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use postern_wire::Snapshot;
use postern_wire::snapshot::{RecipientMode, Verifier, Way};

use super::source::Settings;
use crate::manifest::Finding;

/// Where everything is.
pub(super) struct Places {
    pub(super) smtp: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) spool: PathBuf,
    pub(super) control: Option<PathBuf>,
    pub(super) sinks: Vec<SocketAddr>,
}

/// The relay takes mail.
pub(super) fn started(settings: &Settings, places: &Places) {
    let snapshot = &settings.file.snapshot;
    for finding in settings.warnings.iter().chain(&settings.notes) {
        println!("note: {finding}");
    }
    println!("settings   {} with {}", settings.file.digest.short(), summary(snapshot));
    println!("domains    {}", some(names(snapshot).into_iter()));
    println!("SMTP       {}", places.smtp);
    println!("status     http://{}/status", places.http);
    if !places.sinks.is_empty() {
        println!("sink       {}", some(places.sinks.iter().map(SocketAddr::to_string)));
    }
    print!("queue      {}", places.spool.display());
    match &places.control {
        Some(socket) if *socket == PathBuf::from(super::STATE).join(super::CONTROL) => {
            println!(", see: postern queue list")
        }
        Some(socket) => println!(", see: postern queue --control {} list", socket.display()),
        None => println!(),
    }
    if let Some(recipient) = a_recipient(snapshot) {
        println!("\nTry it, in another terminal:\n\n  {}\n", try_it(places.smtp, &recipient));
    }
}

/// Nothing of it changed what the settings mean.
pub(super) fn unchanged(settings: &Settings, said: &[Finding]) {
    match said {
        [] => {}
        _ => println!("settings   {} again, and nothing is wrong any more", settings.file.digest.short()),
    }
}

/// Nothing was started.
pub(super) fn wrong_at_start(findings: &[Finding]) {
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    eprintln!("not started: {}", count(findings.len()));
}

/// The settings in force stay.
pub(super) fn wrong_edit(findings: &[Finding]) {
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    eprintln!("not enforced, the settings in force stay: {}", count(findings.len()));
}

fn count(findings: usize) -> String {
    match findings {
        1 => "1 thing is wrong".to_owned(),
        findings => format!("{findings} things are wrong"),
    }
}

fn summary(snapshot: &Snapshot) -> String {
    let Snapshot { schema: _, domains, hosts, policies, nodes: _ } = snapshot;
    let of = |count: usize, kind: &str| format!("{count} {kind}");
    [of(domains.len(), "RelayDomain"), of(hosts.len(), "RelayHost"), of(policies.len(), "FilterPolicy")].join(", ")
}

/// A name before its wildcard.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<_> = snapshot.domains.iter().flat_map(|domain| domain.spec.names.iter().cloned()).collect();
    names.sort_by_key(|name| (name.trim_start_matches("*.").to_owned(), name.starts_with("*.")));
    names
}

/// The first few.
fn some(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let items: Vec<_> = items.collect();
    let mut shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        shown.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    shown
}

/// An address that the relay takes mail for: rather a person's than a role's.
fn a_recipient(snapshot: &Snapshot) -> Option<String> {
    let inbound = |domain: &postern_wire::snapshot::Domain| match &domain.inbound {
        Way::Open(inbound) => Some((domain.names.clone(), inbound.recipients.mode.clone())),
        Way::Unresolved(_) => None,
    };
    snapshot.domains.iter().filter_map(|section| inbound(&section.spec)).find_map(|(names, mode)| match mode {
        RecipientMode::AcceptAll => {
            names.iter().find(|name| !name.starts_with("*.")).map(|name| format!("someone@{name}"))
        }
        RecipientMode::Verify(verifiers) => {
            let addresses = verifiers.into_iter().flat_map(|Verifier::List(addresses)| addresses);
            addresses.min_by_key(|address| address.starts_with("postmaster@") || address.starts_with("abuse@"))
        }
    })
}

fn try_it(smtp: SocketAddr, recipient: &str) -> String {
    let host = match smtp.ip() {
        address if address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        address => address,
    };
    let server = SocketAddr::new(host, smtp.port());
    format!(
        "printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl -sS --url smtp://{server} \
         --mail-from me@elsewhere.example --mail-rcpt {recipient} -T -"
    )
}
