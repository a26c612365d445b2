//! Who holds a domain name that several RelayDomains claim.
//!
//! A wildcard and a name below it are two names, held side by side: the relay looks for the most specific one (exact before
//! wildcard, longer wildcard before shorter). For one and the same name the older object wins, by `creationTimestamp` and
//! then by name, so that neither the order of reading nor a restart changes the answer.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One object's claim to its names.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) object: &'a str,
    pub(super) created: Timestamp,
    /// In the form of [`super::name::domain_name`], sorted, without duplicates.
    pub(super) names: Vec<String>,
}

/// What became of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The names that the object holds, sorted.
    pub(super) names: Vec<String>,
    /// The names that it lost, each with the winner.
    pub(super) lost: Vec<(String, String)>,
}

/// The outcome of each claim, by object.
pub(super) fn settle(claims: &[Claim<'_>]) -> BTreeMap<String, Held> {
    let mut winners: BTreeMap<&str, &Claim<'_>> = BTreeMap::new();
    for claim in claims {
        for name in &claim.names {
            let holder = winners.entry(name).or_insert(claim);
            if (claim.created, claim.object) < (holder.created, holder.object) {
                *holder = claim;
            }
        }
    }
    let mut outcome: BTreeMap<String, Held> = BTreeMap::new();
    for claim in claims {
        let held = outcome.entry(claim.object.to_owned()).or_default();
        for name in &claim.names {
            match winners.get(name.as_str()) {
                Some(winner) if winner.object != claim.object => {
                    held.lost.push((name.clone(), winner.object.to_owned()));
                }
                _ => held.names.push(name.clone()),
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim<'a>(object: &'a str, created: i64, names: &[&str]) -> Claim<'a> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Claim { object, created: Timestamp::from_second(created).expect("a time"), names }
    }

    #[test]
    fn the_older_object_has_the_name_and_the_younger_keeps_the_rest() {
        let claims = [claim("young", 2, &["a.example", "b.example"]), claim("old", 1, &["a.example"])];
        let outcome = settle(&claims);
        assert_eq!(outcome["old"].names, ["a.example"]);
        assert_eq!(outcome["young"].names, ["b.example"]);
        assert_eq!(outcome["young"].lost, [("a.example".to_owned(), "old".to_owned())]);
    }

    #[test]
    fn of_two_of_one_age_the_first_by_name_has_it_in_any_order_of_reading() {
        let mut claims =
            vec![claim("b", 1, &["a.example"]), claim("a", 1, &["a.example"]), claim("c", 1, &["a.example"])];
        let first = settle(&claims);
        claims.reverse();
        assert_eq!(first, settle(&claims));
        assert_eq!(first["a"].names, ["a.example"]);
        assert_eq!(first["c"].lost, [("a.example".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn a_wildcard_and_a_name_below_it_are_no_conflict() {
        let claims = [
            claim("wide", 1, &["*.example"]),
            claim("narrow", 2, &["*.a.example"]),
            claim("exact", 3, &["b.a.example"]),
        ];
        assert!(settle(&claims).values().all(|held| held.lost.is_empty() && held.names.len() == 1));
    }
}
