//! The Internet, to which mail goes that leaves directly by the recipients' MX: every address but those that are somebody's
//! own. An MX record is what a stranger writes: it must lead neither into the cluster nor into the company behind the DMZ.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

use crate::resolve::Model;

/// Never on the Internet (RFC 6890 and the registries that it began).
const NEVER: [(&str, &[&str]); 2] = [
    (
        "0.0.0.0/0",
        &[
            "0.0.0.0/8",      // this network (RFC 791)
            "10.0.0.0/8",     // private (RFC 1918)
            "100.64.0.0/10",  // shared, behind carriers (RFC 6598)
            "127.0.0.0/8",    // loopback
            "169.254.0.0/16", // link-local (RFC 3927), the metadata service of clouds among them
            "172.16.0.0/12",  // private
            "192.168.0.0/16", // private
            "224.0.0.0/4",    // multicast
            "240.0.0.0/4",    // reserved, and broadcast
        ],
    ),
    (
        "::/0",
        &[
            // Not ::ffff:0:0/96: such packets travel as IPv4, and the API server takes that range for IPv4.
            "::/127",    // unspecified and loopback
            "fc00::/7",  // unique local (RFC 4193)
            "fe80::/10", // link-local
            "fec0::/10", // site-local, as it once was (RFC 3879)
            "ff00::/8",  // multicast
        ],
    ),
];

/// One block for each family: everything without what never is the Internet, without the cluster's ranges, and without
/// addresses that are never a target.
pub(super) fn internet(model: &Model) -> Vec<IPBlock> {
    let refused = model.refused_targets.iter().map(|address| IpNet::from(IpAddr::to_canonical(address)));
    let own: Vec<IpNet> = model.cluster_ranges.iter().copied().chain(refused).collect();
    let block = |(all, never): (&str, &[&str])| {
        let is_v4 = all.starts_with("0.");
        let never = never.iter().filter_map(|range| range.parse::<IpNet>().ok());
        let own = own.iter().copied().filter(|range| range.addr().is_ipv4() == is_v4 && range.prefix_len() > 0);
        let except: BTreeSet<IpNet> = never.chain(own).collect();
        let covered = |range: &IpNet| except.iter().any(|other| other != range && other.contains(range));
        let except = except.iter().filter(|range| !covered(range)).map(IpNet::to_string).collect();
        IPBlock { cidr: all.to_owned(), except: Some(except) }
    };
    NEVER.into_iter().map(block).collect()
}
