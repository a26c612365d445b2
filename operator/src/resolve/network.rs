//! Ranges of client addresses: `{cidr: {range, except}, allowWide}` → the Snapshot's networks, canonical and sorted.
//!
//! Fail closed: an entry with anything wrong in it, an exception too, is left out whole and named. A range wider than
//! /24 or /64 must say `allowWide`; everybody is never a range, neither as /0 nor as the sum of several.

use std::net::IpAddr;

use ipnet::IpNet;
use postern_wire::snapshot::Network;

/// One entry as it was written.
pub(crate) struct Written<'a> {
    pub(crate) range: &'a str,
    pub(crate) except: &'a [String],
    pub(crate) allow_wide: bool,
}

/// Why an entry is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotANetwork {
    #[error("`{0}` is not a range of addresses in CIDR notation, such as 10.20.0.0/28 or 2001:db8::/64")]
    Form(String),
    #[error("`{0}` has bits set behind its prefix: write {1}")]
    HostBits(String, IpNet),
    #[error("`{0}` is an IPv4 address written as IPv6: write it as IPv4")]
    Mapped(String),
    #[error("`{0}` is wider than /{1}: add `allowWide: true` if that is meant")]
    Wide(IpNet, u8),
    #[error("`{0}` is every address there is, which is never a source")]
    Everybody(IpNet),
    #[error("together with the other entries `{0}` covers every address there is, which is never a source")]
    EverybodyTogether(IpNet),
    #[error("the exception `{0}` does not lie within `{1}`")]
    Outside(IpNet, IpNet),
}

/// The entries that hold, sorted and without duplicates; and of the others why not.
pub(crate) fn networks<'a>(entries: impl Iterator<Item = Written<'a>>) -> (Vec<Network>, Vec<NotANetwork>) {
    let mut taken: Vec<(IpNet, Vec<IpNet>)> = Vec::new();
    let mut refused = Vec::new();
    for entry in entries {
        match network(&entry) {
            Ok(network) => taken.push(network),
            Err(why) => refused.push(why),
        }
    }
    refuse_everybody(&mut taken, &mut refused);
    taken.sort();
    taken.dedup();
    let networks = taken.into_iter().map(|(range, except)| Network {
        range: range.to_string(),
        except: except.iter().map(IpNet::to_string).collect(),
    });
    (networks.collect(), refused)
}

fn network(entry: &Written<'_>) -> Result<(IpNet, Vec<IpNet>), NotANetwork> {
    let range = cidr(entry.range)?;
    let narrow = narrow(&range);
    if range.prefix_len() == 0 {
        return Err(NotANetwork::Everybody(range));
    }
    if range.prefix_len() < narrow && !entry.allow_wide {
        return Err(NotANetwork::Wide(range, narrow));
    }
    let mut except = entry.except.iter().map(|text| cidr(text)).collect::<Result<Vec<_>, _>>()?;
    except.sort();
    except.dedup();
    match except.iter().find(|part| !range.contains(*part)) {
        Some(outside) => Err(NotANetwork::Outside(*outside, range)),
        None => Ok((range, except)),
    }
}

/// The widest prefix that needs no `allowWide`.
fn narrow(range: &IpNet) -> u8 {
    match range {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    }
}

fn cidr(text: &str) -> Result<IpNet, NotANetwork> {
    let range: IpNet = text.parse().map_err(|_| NotANetwork::Form(text.to_owned()))?;
    if let IpAddr::V6(address) = range.addr()
        && address.to_ipv4_mapped().is_some()
    {
        return Err(NotANetwork::Mapped(text.to_owned()));
    }
    if range.trunc() == range { Ok(range) } else { Err(NotANetwork::HostBits(text.to_owned(), range.trunc())) }
}

/// Two halves make a whole: 0.0.0.0/1 and 128.0.0.0/1 are as open as 0.0.0.0/0. Then every wide entry of that family goes.
fn refuse_everybody(taken: &mut Vec<(IpNet, Vec<IpNet>)>, refused: &mut Vec<NotANetwork>) {
    let ranges: Vec<IpNet> = taken.iter().map(|(range, _)| *range).collect();
    for all in IpNet::aggregate(&ranges).iter().filter(|range| range.prefix_len() == 0) {
        taken.retain(|(range, _)| {
            let guilty = range.addr().is_ipv4() == all.addr().is_ipv4() && range.prefix_len() < narrow(range);
            if guilty {
                refused.push(NotANetwork::EverybodyTogether(*range));
            }
            !guilty
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(range: &str, except: &[&str], allow_wide: bool) -> (Vec<Network>, Vec<NotANetwork>) {
        let except: Vec<String> = except.iter().map(|&text| text.to_owned()).collect();
        networks([Written { range, except: &except, allow_wide }].into_iter())
    }

    #[test]
    fn takes_ranges_with_exceptions_sorted_and_once() {
        let entry = |range| Written { range, except: &[], allow_wide: false };
        let (taken, refused) = networks(
            [entry("2001:DB8::/64"), entry("10.20.0.16/28"), entry("10.20.0.0/28"), entry("10.20.0.0/28")].into_iter(),
        );
        assert_eq!(
            taken.iter().map(|n| n.range.as_str()).collect::<Vec<_>>(),
            ["10.20.0.0/28", "10.20.0.16/28", "2001:db8::/64"]
        );
        assert_eq!(refused, []);
        let (taken, _) = one("10.20.0.0/28", &["10.20.0.9/32", "10.20.0.3/32", "10.20.0.9/32"], false);
        assert_eq!(taken[0].except, ["10.20.0.3/32", "10.20.0.9/32"]);
    }

    #[test]
    fn refuses_an_entry_whole_when_anything_in_it_is_wrong() {
        for (range, except, allow_wide, says) in [
            ("10.20.0.0", vec![], false, "not a range"),
            ("10.20.0.0/33", vec![], false, "not a range"),
            ("10.20.0.1/28", vec![], false, "write 10.20.0.0/28"),
            ("::ffff:10.20.0.0/120", vec![], false, "written as IPv6"),
            ("10.0.0.0/8", vec![], false, "allowWide"),
            ("2001:db8::/48", vec![], false, "wider than /64"),
            ("0.0.0.0/0", vec![], true, "every address"),
            ("::/0", vec![], true, "every address"),
            ("10.20.0.0/28", vec!["10.30.0.0/32"], false, "does not lie within"),
            ("10.20.0.0/28", vec!["10.20.0.0/24"], false, "does not lie within"),
            ("10.20.0.0/28", vec!["nonsense"], false, "not a range"),
            ("10.20.0.0/28", vec!["2001:db8::1/128"], false, "does not lie within"),
        ] {
            let (taken, refused) = one(range, &except, allow_wide);
            assert_eq!(taken, [], "{range}");
            assert!(refused[0].to_string().contains(says), "{range}: {}", refused[0]);
        }
    }

    #[test]
    fn takes_a_wide_range_that_says_so() {
        assert_eq!(one("10.0.0.0/8", &[], true).0[0].range, "10.0.0.0/8");
    }

    #[test]
    fn refuses_everybody_in_parts() {
        let entry = |range| Written { range, except: &[], allow_wide: true };
        let (taken, refused) = networks(
            [entry("0.0.0.0/1"), entry("128.0.0.0/1"), entry("10.20.0.0/28"), entry("2001:db8::/32")].into_iter(),
        );
        assert_eq!(taken.iter().map(|n| n.range.as_str()).collect::<Vec<_>>(), ["10.20.0.0/28", "2001:db8::/32"]);
        assert_eq!(refused.len(), 2, "{refused:?}");
    }
}
