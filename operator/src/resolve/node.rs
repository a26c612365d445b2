//! Sources that are nodes: by such an address nobody is one.

use std::collections::BTreeSet;

use ipnet::IpNet;
use postern_wire::Snapshot;
use postern_wire::snapshot::Network;

use crate::inputs::Inputs;

/// The ranges of the nodes; while they are not known those that the relays were told last.
pub(super) fn nodes(inputs: &Inputs) -> BTreeSet<IpNet> {
    match (&inputs.nodes, &inputs.published) {
        (Some(nodes), _) => nodes.clone(),
        (None, Some(published)) => told(&published.snapshot),
        (None, None) => BTreeSet::new(),
    }
}

fn told(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    snapshot.nodes.iter().filter_map(|range| range.parse().ok()).collect()
}

/// Whether all of these addresses are nodes'.
pub(super) fn all_of(network: &Network, nodes: &BTreeSet<IpNet>) -> bool {
    // None of them lies within, or beside, another that it would make one range with.
    network.range.parse::<IpNet>().is_ok_and(|range| nodes.iter().any(|node| node.contains(&range)))
}

/// Whether some of these addresses are nodes'.
pub(crate) fn some_of(network: &Network, nodes: &BTreeSet<IpNet>) -> bool {
    without(network, nodes).as_ref() != Some(network)
}

/// The same addresses without those of nodes; `None` when nothing is left.
pub(crate) fn without(network: &Network, nodes: &BTreeSet<IpNet>) -> Option<Network> {
    let Ok(range) = network.range.parse::<IpNet>() else { return Some(network.clone()) };
    if nodes.iter().any(|node| node.contains(&range)) {
        return None;
    }
    let mut except: BTreeSet<IpNet> = network.except.iter().filter_map(|range| range.parse().ok()).collect();
    let inside = |node: &&IpNet| range.contains(*node) && !except.iter().any(|out| out.contains(*node));
    let inside: Vec<IpNet> = nodes.iter().filter(inside).copied().collect();
    except.extend(inside);
    Some(Network { range: network.range.clone(), except: except.iter().map(IpNet::to_string).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(range: &str, except: &[&str]) -> Network {
        Network { range: range.to_owned(), except: except.iter().map(|&text| text.to_owned()).collect() }
    }

    #[test]
    fn nodes_are_taken_out_of_a_range_and_a_range_of_nodes_is_gone() {
        let nodes: BTreeSet<IpNet> =
            ["10.0.0.4/30", "10.0.1.9/32", "fd00::1/128"].iter().map(|text| text.parse().expect("a range")).collect();
        for (range, except, left) in [
            ("10.0.0.0/24", &[][..], Some(&["10.0.0.4/30"][..])),
            ("10.0.0.0/16", &["10.0.9.0/24"], Some(&["10.0.0.4/30", "10.0.1.9/32", "10.0.9.0/24"])),
            ("10.0.0.0/24", &["10.0.0.0/28"], Some(&["10.0.0.0/28"])),
            ("10.0.0.5/32", &[], None),
            ("10.0.2.0/24", &[], Some(&[])),
            ("fd00::/64", &[], Some(&["fd00::1/128"])),
        ] {
            let written = network(range, except);
            assert_eq!(without(&written, &nodes), left.map(|left| network(range, left)), "{range}");
            assert_eq!(all_of(&written, &nodes), left.is_none(), "{range}");
            assert_eq!(some_of(&written, &nodes), left != Some(except), "{range}");
        }
    }
}
