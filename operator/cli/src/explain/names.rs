//! What the names among sources and blocked clients stand for: as the person says, or as DNS says here and now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use clap::Args;
use postern_relay::config::Config;
use postern_relay::dns::Resolver;
use postern_relay::limits::Limits;
use postern_relay::metrics::Metrics;
use postern_relay::names::addresses;
use postern_relay::policy::resolved::{Answers, Resolved};
use postern_wire::snapshot::HostName;

/// How names are looked up.
#[derive(Debug, Args)]
pub(super) struct Lookups {
    /// Take this for the addresses of a name that is a source or a blocked client, instead of asking DNS
    #[arg(long, value_name = "NAME=IP[,IP]", value_parser = told)]
    resolve: Vec<Told>,
    /// Ask no name server: a name without --resolve is not known yet, as when a relay has just begun
    #[arg(long)]
    no_dns: bool,
}

#[derive(Clone, Debug)]
struct Told {
    name: String,
    addresses: BTreeSet<IpAddr>,
}

fn told(text: &str) -> Result<Told, String> {
    let (name, addresses) =
        text.split_once('=').ok_or("not of the form NAME=IP, such as mail.example.com=192.0.2.7")?;
    let addresses = addresses.split(',').filter(|address| !address.is_empty());
    let addresses = addresses.map(|text| text.parse().map_err(|_| format!("{text:?} is not an address")));
    Ok(Told { name: name.to_lowercase(), addresses: addresses.collect::<Result<_, _>>()? })
}

/// What all names of these settings stand for, and a sentence about each.
pub(super) fn resolve(config: &Config, args: &Lookups) -> Result<(Resolved, Vec<String>)> {
    let (sources, blocked) = config.rules.names();
    let names: BTreeSet<&HostName> = sources.chain(blocked).collect();
    if names.is_empty() {
        return Ok((Resolved::default(), Vec::new()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let limits = Limits::default();
        let resolver = Resolver::new(&[], &limits, Metrics::new());
        let each = names.into_iter().map(|name| one(name, args, &resolver, &limits));
        futures::future::join_all(each).await
    });
    let lists: Vec<Option<Vec<IpAddr>>> =
        found.iter().map(|one| one.addresses.as_ref().ok().map(|all| all.iter().copied().collect())).collect();
    let answers = found.iter().zip(&lists).map(|(one, list)| Answers {
        name: one.name,
        sources: list.as_deref(),
        blocked: list.as_deref().unwrap_or_default(),
        problem: None,
    });
    Ok((Resolved::new(answers), found.iter().map(Looked::sentence).collect()))
}

struct Looked<'a> {
    name: &'a HostName,
    /// Or why they are not known.
    addresses: Result<BTreeSet<IpAddr>, String>,
    said: bool,
}

async fn one<'a>(name: &'a HostName, args: &Lookups, resolver: &Resolver, limits: &Limits) -> Looked<'a> {
    let (HostName::A(text) | HostName::Mx(text)) = name;
    if let Some(told) = args.resolve.iter().find(|told| told.name == *text) {
        return Looked { name, addresses: Ok(told.addresses.clone()), said: true };
    }
    let addresses = match args.no_dns {
        true => Err("no name server was asked".to_owned()),
        false => addresses(resolver, name, limits).await,
    };
    Looked { name, addresses, said: false }
}

impl Looked<'_> {
    fn sentence(&self) -> String {
        let name = match self.name {
            HostName::A(name) => format!("the addresses of {name}"),
            HostName::Mx(domain) => format!("the MX of {domain}"),
        };
        let whence = if self.said { "as --resolve says" } else { "as DNS says here; the relays ask their own" };
        match &self.addresses {
            Ok(addresses) if addresses.is_empty() => format!("{name}: none, {whence}"),
            Ok(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                format!("{name}: {}, {whence}", addresses.join(", "))
            }
            Err(why) => format!("{name}: not known ({why}), as to a relay that has just begun"),
        }
    }
}
