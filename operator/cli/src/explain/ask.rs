//! What is asked: one message as a client would offer it.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;
use postern_relay::address::{Domain, ForwardPath, Mailbox, ReversePath};
use postern_relay::policy::client::{Networks, range};
use postern_relay::policy::{Client, Tls};
use postern_wire::Snapshot;

/// The message and its client.
#[derive(Clone, Debug, Args)]
pub(super) struct Question {
    /// The address that the client connects from
    #[arg(long = "client", value_name = "IP")]
    pub(super) address: IpAddr,
    /// The sender, as MAIL FROM has it; <> for a notification
    #[arg(long = "from", value_name = "ADDRESS", value_parser = sender)]
    pub(super) sender: ReversePath,
    /// A recipient, as RCPT TO has it; again for each further one, in their order
    #[arg(long = "to", value_name = "ADDRESS", value_parser = recipient, required = true)]
    pub(super) recipients: Vec<ForwardPath>,
    /// The connection is protected by TLS
    #[arg(long)]
    pub(super) tls: bool,
    /// The client has shown a certificate for this DNS name, of the CA that a RelayHost's source asks for. Implies --tls
    #[arg(long, value_name = "NAME")]
    pub(super) certificate: Vec<String>,
    /// How large the message is, in octets; 64Ki and 20Mi may be written too
    #[arg(long, value_name = "OCTETS", value_parser = octets)]
    pub(super) size: Option<u64>,
    /// The domain in the header field From: what counts where --from is <> and the client is a source
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub(super) header_from: Vec<String>,
    /// Addresses that make nobody a source, as the relay's own --never-source; without it, in a cluster, that of its pods
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = range)]
    pub(super) never_source: Vec<IpNet>,
}

impl Question {
    /// Also with what the relays are told themselves, unless the person says otherwise.
    pub(super) fn never_source_too(&self, told: &[IpNet]) -> Self {
        let mut all = self.clone();
        if all.never_source.is_empty() {
            all.never_source.extend_from_slice(told);
        }
        all
    }

    /// The client as the rules know it.
    pub(super) fn client(&self, snapshot: &Snapshot) -> Client {
        let never_sources: Networks<()> = self.never_source.iter().copied().collect();
        let certified = snapshot.hosts.iter().filter(|section| {
            let wanted = section.spec.source_certificates.iter().map(|wanted| &wanted.dns_name);
            wanted.into_iter().any(|wanted| self.certificate.iter().any(|shown| shown.eq_ignore_ascii_case(wanted)))
        });
        Client {
            address: self.address,
            local: Ipv4Addr::UNSPECIFIED.into(),
            masked: never_sources.hold(self.address),
            tls: if self.tls || !self.certificate.is_empty() { Tls::Active } else { Tls::Unused },
            certified: certified.map(|section| Arc::from(section.name.as_str())).collect(),
        }
    }
}

/// Without the angle brackets that a person may have written.
fn inner(text: &str) -> &str {
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    Mailbox::from_str(text).map_err(|error| error.to_string())
}

fn sender(text: &str) -> Result<ReversePath, String> {
    match inner(text) {
        "" => Ok(ReversePath::Null),
        text => mailbox(text).map(ReversePath::Mailbox),
    }
}

fn recipient(text: &str) -> Result<ForwardPath, String> {
    match inner(text) {
        text if text.eq_ignore_ascii_case("postmaster") => Ok(ForwardPath::Postmaster),
        text => mailbox(text).map(ForwardPath::Mailbox),
    }
}

/// Of an address too: what stands in the header is an address.
fn domain(text: &str) -> Result<String, String> {
    let text = inner(text);
    let text = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    Domain::from_str(text).map(|domain| domain.as_str().to_owned()).map_err(|error| error.to_string())
}

fn octets(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let (digits, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let octets = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    octets.ok_or_else(|| "not a number of octets such as 5000, 64Ki or 20Mi".to_owned())
}
