//! Which of our objects holds a domain name: an exact name beats a wildcard, a longer wildcard a shorter one.
//!
//! Two hash tables. A name is looked up once exactly, then once for each parent (at most 127 labels), so the cost does not
//! depend on how many domains there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Names and wildcards, each with the index of its holder.
#[derive(Clone, Debug, Default)]
pub struct Names {
    exact: HashMap<Box<str>, usize>,
    /// `example.com` for `*.example.com`.
    wildcard: HashMap<Box<str>, usize>,
}

/// A name that two holders claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// The name.
    pub name: String,
    /// Who claimed it first.
    pub first: usize,
    /// Who claimed it again.
    pub second: usize,
}

impl Names {
    /// Indexes `(name, holder)`: lower-case A-labels, `*.` before it for every subdomain but not the parent.
    ///
    /// # Errors
    /// A name with two holders: which of them has it is not decided here.
    pub fn new<'a>(claims: impl IntoIterator<Item = (&'a str, usize)>) -> Result<Self, Twice> {
        let mut names = Self::default();
        for (name, holder) in claims {
            let (table, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut names.wildcard, parent),
                None => (&mut names.exact, name),
            };
            match table.entry(key.into()) {
                Entry::Occupied(first) if *first.get() != holder => {
                    return Err(Twice { name: name.to_owned(), first: *first.get(), second: holder });
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(holder);
                }
            }
        }
        Ok(names)
    }

    /// The holder of this domain name, or of its longest wildcard.
    pub fn find(&self, domain: &str) -> Option<usize> {
        self.find_name(domain).map(|(holder, _)| holder)
    }

    /// The same, and the parent of the wildcard by which it was found; `None`: by the name itself.
    pub fn find_name<'a>(&self, domain: &'a str) -> Option<(usize, Option<&'a str>)> {
        if let Some(holder) = self.exact.get(domain) {
            return Some((*holder, None));
        }
        let mut rest = domain;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(holder) = self.wildcard.get(parent) {
                return Some((*holder, Some(parent)));
            }
            rest = parent;
        }
        None
    }

    /// Every exact name with its holder, in no order.
    pub fn exact(&self) -> impl Iterator<Item = (&str, usize)> {
        self.exact.iter().map(|(name, holder)| (&**name, *holder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_wins() {
        let names = Names::new([
            ("example.com", 0),
            ("*.example.com", 1),
            ("*.deep.example.com", 2),
            ("a.deep.example.com", 3),
            ("*.com", 4),
        ])
        .unwrap();
        for (domain, holder) in [
            ("example.com", Some(0)),
            ("www.example.com", Some(1)),
            ("a.b.example.com", Some(1)),
            ("deep.example.com", Some(1)),
            ("b.deep.example.com", Some(2)),
            ("a.deep.example.com", Some(3)),
            ("x.a.deep.example.com", Some(2)),
            ("other.com", Some(4)),
            ("com", None),
            ("notexample.net", None),
            ("[192.0.2.1]", None),
            ("", None),
        ] {
            assert_eq!(names.find(domain), holder, "{domain}");
        }
        assert_eq!(names.exact().min(), Some(("a.deep.example.com", 3)));
    }

    #[test]
    fn names_the_two_holders_of_one_name() {
        let twice = Names::new([("example.com", 0), ("example.com", 0), ("example.com", 2)]).unwrap_err();
        assert_eq!(twice, Twice { name: "example.com".to_owned(), first: 0, second: 2 });
    }
}
