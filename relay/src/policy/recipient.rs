//! Whether a recipient exists.
//!
//! A list lies in one piece of memory, sorted, with the ends of its addresses beside it: a look-up is a binary search, a
//! million addresses cost their text and 4 MB, and dropping them is two calls of the allocator.

use crate::address::Mailbox;

/// Which recipients of a domain exist.
#[derive(Clone, Debug)]
pub struct Recipients {
    known: Known,
    /// After it a local part is detail (RFC 5233).
    delimiter: Option<char>,
}

/// How they are known.
#[derive(Clone, Debug)]
pub enum Known {
    /// Every local part is taken.
    All,
    /// Those in any of these.
    Listed(Vec<Addresses>),
}

/// By what a recipient is known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Every local part is taken.
    All,
    /// A list.
    Listed {
        /// Which of them, counted from 0.
        list: usize,
        /// The address that stands there: that of the recipient, perhaps without its detail, in lower case.
        address: String,
    },
}

impl Recipients {
    /// Known so; the whole address is looked up first, then without its detail.
    pub fn new(known: Known, delimiter: Option<char>) -> Self {
        Self { known, delimiter }
    }

    /// Whether it exists.
    pub fn exist(&self, recipient: &Mailbox) -> bool {
        self.find(recipient).is_some()
    }

    /// By what it is known to exist; `None`: it does not.
    pub fn find(&self, recipient: &Mailbox) -> Option<Found> {
        let lists = match &self.known {
            Known::All => return Some(Found::All),
            Known::Listed(lists) => lists,
        };
        let listed = |key: &str| lists.iter().position(|list| list.contains(key));
        let key = recipient.key();
        if let Some(list) = listed(&key) {
            return Some(Found::Listed { list, address: key });
        }
        let address = self.without_detail(&key)?;
        listed(&address).map(|list| Found::Listed { list, address })
    }

    /// `bob+news@example.com` → `bob@example.com`. Never of a quoted local part, which is not for us to take apart.
    fn without_detail(&self, key: &str) -> Option<String> {
        let (local_part, domain) = key.rsplit_once('@')?;
        let (user, _) = local_part.split_once(self.delimiter?)?;
        (!user.is_empty() && !local_part.starts_with('"')).then(|| format!("{user}@{domain}"))
    }
}

/// A set of addresses.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    text: Box<str>,
    /// Where each address ends; it begins where the one before it ends.
    ends: Box<[u32]>,
}

/// A list whose text is longer than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of recipients is longer than 4 GiB")]
pub struct TooLong;

impl Addresses {
    /// The set of these addresses, lower-case, in any order.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(addresses: &[String]) -> Result<Self, TooLong> {
        let mut sorted: Vec<&str> = addresses.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut text = String::with_capacity(sorted.iter().map(|address| address.len()).sum());
        let mut ends = Vec::with_capacity(sorted.len());
        for address in sorted {
            text.push_str(address);
            ends.push(u32::try_from(text.len()).map_err(|_| TooLong)?);
        }
        Ok(Self { text: text.into(), ends: ends.into() })
    }

    /// Whether this address is one of them.
    pub fn contains(&self, address: &str) -> bool {
        let address_at = |place: usize| {
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            &self.text[start..self.ends[place] as usize]
        };
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match address_at(middle).cmp(address) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(addresses: &[&str], delimiter: Option<char>) -> Recipients {
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        Recipients::new(Known::Listed(vec![Addresses::new(&addresses).unwrap()]), delimiter)
    }

    #[test]
    fn the_whole_address_first_then_without_its_detail() {
        let recipients = listed(&["bob@example.com", "c+d@example.com", "+x@example.com"], Some('+'));
        for (address, exists) in [
            ("bob@example.com", true),
            ("BOB@Example.COM", true),
            ("bob+news@example.com", true),
            ("bob+a+b@example.com", true),
            ("c+d@example.com", true),
            ("c@example.com", false),
            ("c+e@example.com", false),
            ("+x@example.com", true),
            ("+bob@example.com", false),
            ("bob-news@example.com", false),
            ("bob@example.org", false),
            ("bo@example.com", false),
            ("bobb@example.com", false),
        ] {
            assert_eq!(recipients.exist(&address.parse().unwrap()), exists, "{address}");
        }
        assert!(!listed(&["bob@example.com"], None).exist(&"bob+news@example.com".parse().unwrap()));
        assert!(Recipients::new(Known::All, None).exist(&"anyone@example.com".parse().unwrap()));
        assert!(!listed(&[], None).exist(&"bob@example.com".parse().unwrap()));
    }

    #[test]
    fn finds_each_of_many_and_nothing_between() {
        let addresses: Vec<String> = (0..10_000).map(|number| format!("user{}@example.com", number * 2)).collect();
        let set = Addresses::new(&addresses).unwrap();
        for number in 0..20_000 {
            assert_eq!(set.contains(&format!("user{number}@example.com")), number % 2 == 0);
        }
    }
}
