//! The addresses of a node: what clients may seem to have when something on the way puts a node's address in place of theirs.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

/// The types of `status.addresses` that hold an address, and not a name.
const ADDRESS_TYPES: [&str; 2] = ["InternalIP", "ExternalIP"];

/// All ranges of a node.
///
/// Those that the API names; the first two addresses of each range of its pods, which bridges and tunnels on the node have
/// (flannel, kube-router and others) and put in place of a client's; and every annotation that is an address, for in these
/// network plugins say which one their tunnel or their host side has (Calico, Cilium).
pub fn node_ranges(node: &Node) -> Vec<IpNet> {
    let status = node.status.as_ref();
    let addresses = status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.filter(|address| ADDRESS_TYPES.contains(&address.type_.as_str()));
    let addresses = addresses.filter_map(|address| address.address.parse().ok()).map(alone);
    let spec = node.spec.as_ref();
    let pods = spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    let pods = pods.filter_map(|range| range.parse().ok()).map(first_two);
    let annotations = node.metadata.annotations.iter().flatten();
    let annotated = annotations.filter_map(|(_, value)| annotated(value)).map(alone);
    addresses.chain(pods).chain(annotated).collect()
}

/// The address that an annotation is, with the length of its network or without. The unspecified one is nobody's.
pub(crate) fn annotated(value: &str) -> Option<IpAddr> {
    let address = value.parse::<IpAddr>().or_else(|_| value.parse::<IpNet>().map(|net| net.addr()));
    address.ok().filter(|address| !address.is_unspecified())
}

fn alone(address: IpAddr) -> IpNet {
    address.to_canonical().into()
}

/// The first two addresses of a range, which begins at an even one unless it is a single address.
fn first_two(range: IpNet) -> IpNet {
    let range = range.trunc();
    let length = range.prefix_len().max(range.max_prefix_len().saturating_sub(1));
    IpNet::new(range.addr(), length).unwrap_or(range)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_has_its_addresses_those_of_its_bridge_and_those_of_its_tunnels() {
        let node = json!({
            "metadata": {"annotations": {
                "projectcalico.org/IPv4Address": "10.0.0.5/24",
                "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.7.64",
                "example.com/unset": "0.0.0.0",
                "example.com/text": "10.0.0.9,10.0.0.10",
                "example.com/number": "10",
            }},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64", "10.9.0.1/32"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "10.0.0.5"},
                {"type": "ExternalIP", "address": "::ffff:192.0.2.5"},
                {"type": "ExternalIP", "address": "2001:db8::5"},
                {"type": "Hostname", "address": "10.0.0.77"},
                {"type": "InternalDNS", "address": "a.example"},
            ]},
        });
        let ranges = node_ranges(&serde_json::from_value(node).expect("a node"));
        let mut ranges: Vec<_> = ranges.iter().map(IpNet::to_string).collect();
        ranges.sort();
        ranges.dedup();
        let expected = [
            "10.0.0.5/32",
            "10.244.1.0/31",
            "10.244.7.64/32",
            "10.9.0.1/32",
            "192.0.2.5/32",
            "2001:db8::5/128",
            "fd00:1::/127",
        ];
        assert_eq!(ranges, expected);
    }
}
