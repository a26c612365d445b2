//! Where an accepted message goes, as the relay's own routes tell it, and what of it stands in its way.

use postern_relay::address::Mailbox;
use postern_relay::config::Directory as _;
use postern_relay::envelope::Origin;
use postern_relay::route::{Destination, Route, Tier};
use postern_wire::snapshot::{Endpoint, Host, Way};

use super::step::{Stage, Step, Verdict};
use super::story::Settings;

/// One step for one recipient.
pub(super) fn tell(settings: &Settings, origin: &Origin, mailbox: &Mailbox) -> Step {
    let mut by = field(settings, origin, mailbox).into_iter().collect::<Vec<_>>();
    let mut hosts = Vec::new();
    let (verdict, rule, says) = match settings.config.route(origin, mailbox) {
        Route::Held(reason) => (Verdict::Held, "held", format!("<{mailbox}> waits in the queue: {reason}.")),
        Route::To(Destination::Mx(domain)) => {
            let text = format!("<{mailbox}> goes directly to the MX of {}.", domain.as_str());
            (Verdict::Accepted, "accepted", text)
        }
        Route::To(Destination::Hosts(tiers)) => {
            hosts.extend(tiers.iter().flat_map(|tier| &tier.hosts).map(|name| format!("RelayHost/{name}")));
            let text = format!("<{mailbox}> goes to {}.", hops(settings, &tiers, &mut by));
            (Verdict::Accepted, "accepted", text)
        }
    };
    Step { stage: Stage::Route, verdict, rule, reply: None, says, by, hosts }
}

/// The field that names the way.
fn field(settings: &Settings, origin: &Origin, mailbox: &Mailbox) -> Option<String> {
    let rules = &settings.config.rules;
    if let Some(holder) = rules.holder(mailbox.domain().as_str()) {
        return Some(format!("RelayDomain/{} spec.deliverTo", holder.domain.name));
    }
    let Origin::Source { domain, .. } = origin else { return None };
    let holder = rules.holder(domain)?;
    Some(format!("RelayDomain/{} spec.outbound.via", holder.domain.name))
}

/// `exchange-a (10.20.0.11:25), then, when that fails, exchange-b (…)`
fn hops(settings: &Settings, tiers: &[Tier], by: &mut Vec<String>) -> String {
    let tier = |tier: &Tier, by: &mut Vec<String>| {
        let hosts = tier.hosts.iter().map(|name| host(settings, name, by));
        hosts.collect::<Vec<_>>().join(" or ")
    };
    let tiers: Vec<String> = tiers.iter().map(|one| tier(one, by)).collect();
    tiers.join("; when that fails to ")
}

fn host(settings: &Settings, name: &str, by: &mut Vec<String>) -> String {
    let Some(section) = settings.snapshot.hosts.iter().find(|section| section.name == name) else {
        return name.to_owned();
    };
    let Host { endpoints, mx, tls, auth, suspend, .. } = &section.spec;
    let endpoints = endpoints.iter().map(|Endpoint { address, port }| match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    });
    let mut details: Vec<String> = endpoints.chain(mx.iter().map(|domain| format!("MX of {domain}"))).collect();
    let mut trouble = |field: &str, says: String| {
        by.push(format!("RelayHost/{name} {field}"));
        details.push(says);
    };
    if *suspend {
        trouble("spec.suspend", "suspended: its mail waits".to_owned());
    }
    if let Way::Unresolved(reason) = tls {
        trouble("spec.tls", format!("its mail waits: {reason}"));
    }
    if let Some(Way::Unresolved(reason)) = auth {
        trouble("spec.auth", format!("its mail waits: {reason}"));
    }
    format!("{name} ({})", details.join(", "))
}
