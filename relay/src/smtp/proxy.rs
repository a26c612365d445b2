//! The header by which a trusted proxy says for whom it connects: the PROXY protocol, versions 1 and 2, for TCP.
//!
//! Read from the first octets of a connection, whole or in pieces. A proxy that speaks for itself (LOCAL), or does not know
//! for whom (UNKNOWN, UNSPEC), names nobody. What else a header carries (TLVs) is passed over. Anything in it that is not
//! exactly as the specification writes it makes it broken: there is no safe way to guess who the client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// How every header of version 1 begins.
const TEXT: &[u8] = b"PROXY ";
/// The longest header of version 1, with its CRLF.
const TEXT_MAX: usize = 107;
/// How every header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of version 2 that is always there: the signature, version and command, family, length.
const FIXED: usize = 16;
/// The longest header of version 2 that is read. The specification asks for 536; a proxy's certificate is longer.
const BINARY_MAX: usize = 4096;

/// What the first octets of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begins {
    /// It may become a header.
    Undecided,
    /// No header.
    Otherwise,
    /// A header, and it cannot be read: why.
    Broken(&'static str),
    /// A header of so many octets, and for whom.
    Header(usize, Option<Ends>),
}

/// The two ends of the connection that the proxy took. IPv4 where it came as IPv4-mapped IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who connected to the proxy.
    pub client: IpAddr,
    /// To which of our addresses.
    pub local: IpAddr,
}

impl Ends {
    fn new(client: impl Into<IpAddr>, local: impl Into<IpAddr>) -> Self {
        Self { client: client.into().to_canonical(), local: local.into().to_canonical() }
    }
}

/// Reads the first octets of a connection.
pub fn begins(octets: &[u8]) -> Begins {
    let could_be = |signature: &[u8]| octets.iter().zip(signature).all(|(one, other)| one == other);
    match (could_be(TEXT), could_be(BINARY)) {
        (true, false) if octets.len() >= TEXT.len() => text(octets),
        (false, true) if octets.len() >= BINARY.len() => binary(octets),
        (false, false) => Begins::Otherwise,
        _ => Begins::Undecided,
    }
}

fn text(octets: &[u8]) -> Begins {
    let Some(end) = octets.iter().take(TEXT_MAX).position(|octet| *octet == b'\n') else {
        let whole = octets.len() >= TEXT_MAX;
        return if whole { Begins::Broken("version 1, and longer than 107 octets") } else { Begins::Undecided };
    };
    let line = octets[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Begins::Broken("version 1, and not a line of text") };
    let words: Vec<_> = line.split(' ').skip(1).collect();
    let ends = match words.as_slice() {
        ["UNKNOWN", ..] => return Begins::Header(end + 1, None),
        ["TCP4", client, local, ports @ ..] => both::<Ipv4Addr>(client, local).filter(|_| are_ports(ports)),
        ["TCP6", client, local, ports @ ..] => both::<Ipv6Addr>(client, local).filter(|_| are_ports(ports)),
        _ => return Begins::Broken("version 1, and neither TCP4, TCP6 nor UNKNOWN"),
    };
    match ends {
        Some(ends) => Begins::Header(end + 1, Some(ends)),
        None => Begins::Broken("version 1, and not two addresses and two ports"),
    }
}

fn both<A: FromStr + Into<IpAddr>>(client: &str, local: &str) -> Option<Ends> {
    let read = |text: &str| text.parse::<A>().ok();
    Some(Ends::new(read(client)?, read(local)?))
}

/// Two numbers in their only form.
fn are_ports(words: &[&str]) -> bool {
    let is_port = |word: &&str| word.parse::<u16>().is_ok_and(|port| port.to_string() == **word);
    words.len() == 2 && words.iter().all(is_port)
}

fn binary(octets: &[u8]) -> Begins {
    let Some((fixed, rest)) = octets.split_first_chunk::<FIXED>() else { return Begins::Undecided };
    let [.., kind, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > BINARY_MAX {
        return Begins::Broken("version 2, and longer than 4096 octets");
    }
    let for_whom = match (kind, family) {
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) => Some(12),
        (0x21, 0x21) => Some(36),
        (0x21, _) => return Begins::Broken("version 2, and not TCP"),
        _ => return Begins::Broken("neither version 1 nor version 2, LOCAL or PROXY"),
    };
    if for_whom.is_some_and(|least| length < least) {
        return Begins::Broken("version 2, and too short for its addresses");
    }
    let Some(content) = rest.get(..length) else { return Begins::Undecided };
    let ends = match for_whom {
        None => None,
        Some(12) => v4(content),
        Some(_) => v6(content),
    };
    Begins::Header(FIXED + length, ends)
}

fn v4(content: &[u8]) -> Option<Ends> {
    let (client, rest) = content.split_first_chunk::<4>()?;
    Some(Ends::new(Ipv4Addr::from(*client), Ipv4Addr::from(*rest.first_chunk::<4>()?)))
}

fn v6(content: &[u8]) -> Option<Ends> {
    let (client, rest) = content.split_first_chunk::<16>()?;
    Some(Ends::new(Ipv6Addr::from(*client), Ipv6Addr::from(*rest.first_chunk::<16>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, local: &str) -> Option<Ends> {
        Some(Ends { client: client.parse().unwrap(), local: local.parse().unwrap() })
    }

    fn v2(kind: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [BINARY, &[kind, family], &length, content].concat()
    }

    /// Every header here, and for whom it is.
    fn headers() -> Vec<(Vec<u8>, Option<Ends>)> {
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7]].concat();
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7]].concat();
        let tlv = [3, 0, 4, 1, 2, 3, 4];
        vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65535 0\r\n".into(), ends("192.0.2.7", "198.51.100.1")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 25\r\n".into(), ends("2001:db8::7", "2001:db8::1")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n".into(), ends("192.0.2.7", "::1")),
            (b"PROXY UNKNOWN\r\n".into(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".into(), None),
            (v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 0, 25]), ends("192.0.2.7", "198.51.100.1")),
            (
                v2(0x21, 0x11, &[&[192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 0, 25][..], &tlv].concat()),
                ends("192.0.2.7", "198.51.100.1"),
            ),
            (v2(0x21, 0x21, &[&six[..], &six, &[1, 2, 0, 25]].concat()), ends("2001:db8::7", "2001:db8::7")),
            (v2(0x21, 0x21, &[&mapped[..], &six, &[1, 2, 0, 25]].concat()), ends("192.0.2.7", "2001:db8::7")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 0, 25]), None),
            (v2(0x21, 0x00, &tlv), None),
        ]
    }

    #[test]
    fn a_header_is_read_whole_and_what_follows_is_left() {
        for (header, ends) in headers() {
            for behind in [&b""[..], b"EHLO a\r\n", b"\n"] {
                let octets = [&header[..], behind].concat();
                assert_eq!(begins(&octets), Begins::Header(header.len(), ends), "{octets:?}");
            }
        }
    }

    #[test]
    fn a_header_in_pieces_is_waited_for_to_its_last_octet() {
        for (header, _) in headers() {
            for length in 0..header.len() {
                assert_eq!(begins(&header[..length]), Begins::Undecided, "{length} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_known_at_the_first_octet_that_differs() {
        for octets in [
            &b"E"[..],
            b"EHLO a\r\n",
            b"P\r\n",
            b"PROXX",
            b"proxy TCP4",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\r\nE",
            b"\x16\x03",
        ] {
            assert_eq!(begins(octets), Begins::Otherwise, "{octets:?}");
        }
    }

    #[test]
    fn a_header_that_is_not_exactly_right_is_broken() {
        for line in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 25\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 25\r\n",
            "PROXY TCP4 192.0.2.007 198.51.100.1 1 25\r\n",
            "PROXY TCP4 ::1 ::1 1 25\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 25\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 25\n",
        ] {
            assert!(matches!(begins(line.as_bytes()), Begins::Broken(_)), "{line:?}");
        }
        assert!(matches!(begins(&[TEXT, &[b'x'; 200]].concat()), Begins::Broken(_)));
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 0, 25];
        for octets in [
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x21, 0x12, &four),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x20, 0x00, &[0; 5000]),
        ] {
            assert!(matches!(begins(&octets), Begins::Broken(_)), "{octets:?}");
        }
    }
}
