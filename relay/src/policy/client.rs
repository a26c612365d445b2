//! Which ranges hold a client's address.
//!
//! Ranges lie in a hash table by network, and the prefix lengths in use in a list: a look-up costs one probe for each
//! length in use (at most 32 or 128, in practice a handful), however many ranges there are. An IPv4-mapped IPv6 address
//! or range (`::ffff:192.0.2.1`) is IPv4 everywhere.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Ranges, each with a value. One address may lie in several.
#[derive(Clone, Debug)]
pub struct Networks<T> {
    ranges: HashMap<IpNet, Vec<Range<T>>>,
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

#[derive(Clone, Debug)]
struct Range<T> {
    except: Box<[IpNet]>,
    value: T,
}

/// A range that holds an address, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding<'a, T> {
    /// The range.
    pub range: IpNet,
    /// The part of it that the address lies in and that does not count.
    pub except: Option<IpNet>,
    /// Its value.
    pub value: &'a T,
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARange {
    /// Not an address with a prefix length.
    #[error("{0:?} is not a range in CIDR notation, such as 192.0.2.0/24")]
    Form(String),
    /// Bits beyond the prefix length.
    #[error("{0:?} has bits set beyond its prefix length: write {1}")]
    HostBits(String, IpNet),
    /// Everyone.
    #[error("{0:?} is everyone: a range that wide is never taken")]
    Everyone(String),
}

/// Reads a range as a Snapshot writes it.
///
/// # Errors
/// [`NotARange`], naming the text.
pub fn range(text: &str) -> Result<IpNet, NotARange> {
    let net: IpNet = text.parse().map_err(|_| NotARange::Form(text.to_owned()))?;
    let net = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
            None => net,
        },
        _ => net,
    };
    if net != net.trunc() {
        return Err(NotARange::HostBits(text.to_owned(), net.trunc()));
    }
    if net.prefix_len() == 0 {
        return Err(NotARange::Everyone(text.to_owned()));
    }
    Ok(net)
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { ranges: HashMap::new(), lengths_v4: BTreeSet::new(), lengths_v6: BTreeSet::new() }
    }
}

impl FromIterator<IpNet> for Networks<()> {
    fn from_iter<I: IntoIterator<Item = IpNet>>(ranges: I) -> Self {
        let mut networks = Self::default();
        ranges.into_iter().for_each(|range| networks.insert(range, &[], ()));
        networks
    }
}

impl<T> Networks<T> {
    /// Adds `range` without the parts in `except`.
    pub fn insert(&mut self, range: IpNet, except: &[IpNet], value: T) {
        match range {
            IpNet::V4(net) => self.lengths_v4.insert(net.prefix_len()),
            IpNet::V6(net) => self.lengths_v6.insert(net.prefix_len()),
        };
        self.ranges.entry(range).or_default().push(Range { except: except.into(), value });
    }

    /// All ranges that hold the address, the widest first: also those whose exceptions hold it too.
    pub fn holding(&self, address: IpAddr) -> impl Iterator<Item = Holding<'_, T>> {
        let address = address.to_canonical();
        let lengths = if address.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        let nets = lengths.iter().filter_map(move |length| Some(IpNet::new(address, *length).ok()?.trunc()));
        let found = nets.filter_map(|net| Some((net, self.ranges.get(&net)?)));
        found.flat_map(move |(range, all)| {
            all.iter().map(move |Range { except, value }| {
                let except = except.iter().find(|net| net.contains(&address)).copied();
                Holding { range, except, value }
            })
        })
    }

    /// The values of all ranges that hold the address, the widest range first.
    pub fn find(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        self.holding(address).filter(|range| range.except.is_none()).map(|range| range.value)
    }

    /// Whether any range holds the address.
    pub fn hold(&self, address: IpAddr) -> bool {
        self.find(address).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(ranges: &[(&str, &[&str], u32)]) -> Networks<u32> {
        let mut networks = Networks::default();
        for (net, except, value) in ranges {
            let except: Vec<_> = except.iter().map(|text| range(text).unwrap()).collect();
            networks.insert(range(net).unwrap(), &except, *value);
        }
        networks
    }

    #[test]
    fn finds_every_range_that_holds_an_address() {
        let networks = networks(&[
            ("10.20.0.0/16", &["10.20.3.0/24", "10.20.4.4/32"], 1),
            ("10.20.0.0/28", &[], 2),
            ("10.20.4.4/32", &[], 3),
            ("2001:db8::/64", &["2001:db8::1/128"], 4),
            ("::ffff:192.0.2.0/120", &[], 5),
        ]);
        for (address, values) in [
            ("10.20.0.15", vec![1, 2]),
            ("10.20.0.16", vec![1]),
            ("10.20.3.9", vec![]),
            ("10.20.4.4", vec![3]),
            ("10.21.0.0", vec![]),
            ("::ffff:10.20.0.15", vec![1, 2]),
            ("2001:db8::1", vec![]),
            ("2001:db8::2", vec![4]),
            ("2001:db8:0:1::2", vec![]),
            ("192.0.2.7", vec![5]),
            ("::", vec![]),
        ] {
            let found: Vec<u32> = networks.find(address.parse().unwrap()).copied().collect();
            assert_eq!(found, values, "{address}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_range() {
        for (text, said) in [
            ("10.0.0.1", "\"10.0.0.1\" is not a range in CIDR notation, such as 192.0.2.0/24"),
            ("10.0.0.1/8", "\"10.0.0.1/8\" has bits set beyond its prefix length: write 10.0.0.0/8"),
            ("0.0.0.0/0", "\"0.0.0.0/0\" is everyone: a range that wide is never taken"),
            ("::/0", "\"::/0\" is everyone: a range that wide is never taken"),
            ("::ffff:0:0/96", "\"::ffff:0:0/96\" is everyone: a range that wide is never taken"),
            ("mail.example.com/24", "\"mail.example.com/24\" is not a range in CIDR notation, such as 192.0.2.0/24"),
        ] {
            assert_eq!(range(text).unwrap_err().to_string(), said);
        }
    }
}
