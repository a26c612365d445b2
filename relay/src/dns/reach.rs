//! Which addresses mail may be sent to when a stranger has named them. Pure.
//!
//! Whoever owns a domain may point its MX at anything: at the relay itself, at a metadata service, at a server behind the DMZ.
//! So an address that the DNS gave is checked before it is dialled, and that very address is dialled: no second look-up comes
//! between (a short TTL would let it answer otherwise).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

/// Ranges that are no part of the public Internet, and what they are (RFC 6890 and the registries that it began). The first
/// that holds an address names it.
const RESERVED: &[(&str, &str)] = &[
    ("0.0.0.0/8", "an address of this machine"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "an address shared by a provider's customers"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "an address for protocols"),
    ("192.0.2.0/24", "an address for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", "an address for documentation"),
    ("203.0.113.0/24", "an address for documentation"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an address of this machine"),
    ("::1/128", "a loopback address"),
    ("64:ff9b:1::/48", "a private address"),
    ("100::/64", "an address that leads nowhere"),
    ("2001:2::/48", "an address for benchmarks"),
    ("2001:10::/28", "an address for protocols"),
    ("2001:db8::/32", "an address for documentation"),
    ("3fff::/20", "an address for documentation"),
    ("5f00::/16", "an address for protocols"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
];
/// What no name of a RelayHost means either: nobody's mail server has such an address, and the metadata service of a cloud has.
const NEVER: &[&str] =
    &["0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8"];

/// Who named the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Whoever owns a recipient's domain.
    Stranger,
    /// The settings: a RelayHost's name, whose addresses the DNS gave.
    Host,
}

/// Which addresses may be dialled. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reach {
    ranges: Arc<Ranges>,
}

#[derive(Debug)]
struct Ranges {
    allowed: Vec<IpNet>,
    reserved: Vec<(IpNet, &'static str)>,
    never: Vec<IpNet>,
}

impl Reach {
    /// The public Internet, and these ranges.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        // Each constant is a range: a test reads all of them.
        let net = |text: &str| text.parse::<IpNet>().ok();
        let reserved = RESERVED.iter().filter_map(|(text, what)| Some((net(text)?, *what))).collect();
        let never = NEVER.iter().filter_map(|text| net(text)).collect();
        Self { ranges: Arc::new(Ranges { allowed, reserved, never }) }
    }

    /// What an address is that may not be dialled; `None`: it may. An IPv6 address that only wraps an IPv4 one (RFC 4291,
    /// section 2.5.5; NAT64, RFC 6052; 6to4, RFC 3056; Teredo, RFC 4380) is as good as what is inside.
    pub fn refuses(&self, address: IpAddr, named_by: NamedBy) -> Option<&'static str> {
        let ranges = &*self.ranges;
        let address = address.to_canonical();
        let inside = match address {
            IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        if ranges.allowed.iter().any(|net| net.contains(&address)) {
            return None;
        }
        [Some(address), inside].into_iter().flatten().find_map(|address| {
            let (_, what) = ranges.reserved.iter().find(|(net, _)| net.contains(&address))?;
            let refused = match named_by {
                NamedBy::Stranger => !ranges.allowed.iter().any(|net| net.contains(&address)),
                NamedBy::Host => ranges.never.iter().any(|net| net.contains(&address)),
            };
            refused.then_some(*what)
        })
    }
}

/// The IPv4 address inside an IPv6 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // IPv4-compatible, without the two that are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(v4(high, low)),
        // IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(reach: &Reach, address: &str, named_by: NamedBy) -> Option<&'static str> {
        reach.refuses(address.parse().unwrap(), named_by)
    }

    #[test]
    fn every_constant_is_a_range() {
        let reach = Reach::new(Vec::new());
        assert_eq!((reach.ranges.reserved.len(), reach.ranges.never.len()), (RESERVED.len(), NEVER.len()));
    }

    #[test]
    fn j1_a_stranger_names_only_the_public_internet() {
        let reach = Reach::new(Vec::new());
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "10.0.0.1",
            "10.96.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "100.64.0.1",
            "100.127.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "::127.0.0.1",
            "::ffff:0:7f00:1",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "2001:db8::25",
            "3fff::1",
            "198.18.0.1",
            "192.0.0.8",
            "192.88.99.1",
            "100::1",
            "5f00::1",
            "2001:2::1",
            "2001:10::1",
        ] {
            assert!(refuses(&reach, address, NamedBy::Stranger).is_some(), "{address}");
        }
        for address in [
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.1.1.1",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "192.0.1.1",
            "223.255.255.1",
            "2a00:1450::1a",
            "2606:4700::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(refuses(&reach, address, NamedBy::Stranger), None, "{address}");
        }
    }

    #[test]
    fn an_allowed_range_is_taken_however_it_is_wrapped() {
        let reach = Reach::new(vec!["10.20.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
        for address in ["10.20.3.4", "::ffff:10.20.3.4", "64:ff9b::a14:304", "fd00:1::25"] {
            assert_eq!(refuses(&reach, address, NamedBy::Stranger), None, "{address}");
        }
        for address in ["10.21.0.1", "64:ff9b::a15:1", "fd00:2::1"] {
            assert_eq!(refuses(&reach, address, NamedBy::Stranger), Some("a private address"), "{address}");
        }
    }

    #[test]
    fn a_name_of_a_host_may_be_private_but_not_link_local() {
        let reach = Reach::new(Vec::new());
        for address in ["10.0.0.1", "192.168.1.1", "fd00::1", "127.0.0.1", "::1", "203.0.113.9", "8.8.8.8"] {
            assert_eq!(refuses(&reach, address, NamedBy::Host), None, "{address}");
        }
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "0.0.0.0",
            "::",
            "fe80::1",
            "ff02::1",
            "224.0.0.1",
        ] {
            assert!(refuses(&reach, address, NamedBy::Host).is_some(), "{address}");
        }
    }
}
