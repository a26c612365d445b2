//! From MX records to the servers to try (RFC 5321, section 5.1; RFC 7505). Pure: chance is an argument.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Exchange;

/// What the MX records of a domain mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// These hosts, by preference; equal ones in an order of chance. Never empty.
    Hosts(VecDeque<Tier>),
    /// The domain takes no mail at all (RFC 7505).
    Null,
}

/// Mail exchangers of one preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Lower ones are tried first.
    pub preference: u16,
    /// Their names, each once.
    pub hosts: Vec<Arc<str>>,
}

/// Reads the records. Of more than `hosts_max` the last are not looked at. `shuffle` is asked for a place below its argument.
///
/// A null MX beside others is an error of its zone, and is passed over (RFC 7505, section 3).
pub fn read(records: &[Exchange], hosts_max: usize, mut shuffle: impl FnMut(usize) -> usize) -> Meaning {
    let mut records: Vec<&Exchange> = records.iter().filter(|record| !record.host.is_empty()).collect();
    if records.is_empty() {
        return Meaning::Null;
    }
    for place in (1..records.len()).rev() {
        records.swap(place, shuffle(place + 1).min(place));
    }
    // Stable: what is equal stays shuffled.
    records.sort_by_key(|record| record.preference);
    let mut tiers: VecDeque<Tier> = VecDeque::new();
    let mut seen: Vec<&str> = Vec::new();
    for record in records {
        if seen.len() == hosts_max {
            break;
        }
        if seen.contains(&&*record.host) {
            continue;
        }
        seen.push(&record.host);
        match tiers.back_mut() {
            Some(tier) if tier.preference == record.preference => tier.hosts.push(record.host.clone()),
            _ => tiers.push_back(Tier { preference: record.preference, hosts: vec![record.host.clone()] }),
        }
    }
    Meaning::Hosts(tiers)
}

/// Whether a name can be that of a mail exchanger: labels of letters, digits, hyphens and (against the letter of the standard,
/// for they exist) underscores. Never what looks like an address: a literal is no MX.
pub fn is_host(name: &str) -> bool {
    const NAME_MAX: usize = 253;
    const LABEL_MAX: usize = 63;
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= NAME_MAX && name.split('.').all(label) && !last.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(records: &[(u16, &str)]) -> Vec<Exchange> {
        records.iter().map(|(preference, host)| Exchange { preference: *preference, host: (*host).into() }).collect()
    }

    fn hosts(meaning: Meaning) -> Vec<(u16, Vec<String>)> {
        let Meaning::Hosts(tiers) = meaning else { return Vec::new() };
        tiers.into_iter().map(|tier| (tier.preference, tier.hosts.iter().map(ToString::to_string).collect())).collect()
    }

    #[test]
    fn the_lowest_preference_comes_first_and_each_host_once() {
        let records = records(&[(20, "c.test"), (10, "a.test"), (10, "b.test"), (30, "a.test")]);
        let found = hosts(read(&records, 20, |places| places - 1));
        assert_eq!(found, [(10, vec!["a.test".to_owned(), "b.test".to_owned()]), (20, vec!["c.test".to_owned()])]);
    }

    #[test]
    fn equal_ones_share_by_chance() {
        let records = records(&[(10, "a.test"), (10, "b.test"), (10, "c.test")]);
        let mut first = [0; 3];
        let mut seed = 1u32;
        for _ in 0..600 {
            let found = hosts(read(&records, 20, |places| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as usize % places
            }));
            first[usize::from(found[0].1[0].as_bytes()[0] - b'a')] += 1;
        }
        assert!(first.iter().all(|count| (120..280).contains(count)), "{first:?}");
    }

    #[test]
    fn j3_of_a_thousand_only_the_best_are_looked_at() {
        let names: Vec<String> = (0..1000).map(|number| format!("mx{number}.test")).collect();
        let all: Vec<_> = names.iter().zip(0u16..).map(|(name, number)| (number / 10, name.as_str())).collect();
        let found = hosts(read(&records(&all), 20, |places| places / 2));
        assert_eq!(
            found.iter().map(|(preference, hosts)| (*preference, hosts.len())).collect::<Vec<_>>(),
            [(0, 10), (1, 10)]
        );
    }

    #[test]
    fn a_null_mx_takes_no_mail_and_is_passed_over_beside_others() {
        assert_eq!(read(&records(&[(0, "")]), 20, |_| 0), Meaning::Null);
        assert_eq!(hosts(read(&records(&[(0, ""), (10, "a.test")]), 20, |_| 0)), [(10, vec!["a.test".to_owned()])]);
    }

    #[test]
    fn a_literal_or_a_nonsense_is_no_host() {
        for name in ["mx.example.com", "mx_1.example.com", "localhost", "a", "1.2.3.4.example", "xn--bcher-kva.example"]
        {
            assert!(is_host(name), "{name}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for name in [
            "",
            "192.0.2.1",
            "[192.0.2.1]",
            "a..b",
            "a b.example",
            "a\\000b.example",
            "x (evil) by mx",
            "é.example",
            &long,
        ] {
            assert!(!is_host(name), "{name}");
        }
    }
}
