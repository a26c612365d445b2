//! Patterns of sender addresses: `*` is any run of characters, also an empty one; case does not matter.
//!
//! Our own matcher, because a pattern is written by a person and an address by a stranger: the time is linear in both, as
//! each part between two stars is searched once, from where the last one ended (leftmost is always enough for `*`).

use std::collections::HashSet;

use memchr::memmem::Finder;

use crate::address::Mailbox;

/// The senders that a policy refuses.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// Refused.
    pub blocked: Patterns,
    /// Taken all the same.
    pub allowed: Patterns,
}

impl Senders {
    /// The pattern by which mail from this address is refused, if it is.
    pub fn block(&self, sender: &Mailbox) -> Option<&str> {
        if self.blocked.is_empty() {
            return None;
        }
        let key = sender.key();
        self.blocked.find(&key).filter(|_| self.allowed.find(&key).is_none())
    }
}

/// Any number of patterns. Those without a star are one hash look-up together.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    addresses: HashSet<Box<str>>,
    globs: Vec<Glob>,
}

#[derive(Clone, Debug)]
struct Glob {
    pattern: Box<str>,
    first: Box<[u8]>,
    middle: Vec<Finder<'static>>,
    last: Box<[u8]>,
}

impl Patterns {
    /// Compiles `local@domain` patterns.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut compiled = Self::default();
        for pattern in patterns {
            let pattern = pattern.to_lowercase();
            match pattern.split_once('*') {
                None => {
                    compiled.addresses.insert(pattern.into());
                }
                Some((first, rest)) => compiled.globs.push(Glob::new(&pattern, first, rest)),
            }
        }
        compiled
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.globs.is_empty()
    }

    /// One of them, in lower case, that matches a whole address, given in lower case.
    pub fn find(&self, key: &str) -> Option<&str> {
        let address = self.addresses.get(key).map(|address| &**address);
        address.or_else(|| self.globs.iter().find(|glob| glob.matches(key.as_bytes())).map(|glob| &*glob.pattern))
    }
}

impl Glob {
    fn new(pattern: &str, first: &str, rest: &str) -> Self {
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty());
        Self {
            pattern: pattern.into(),
            first: first.as_bytes().into(),
            middle: middle.map(|part| Finder::new(part.as_bytes()).into_owned()).collect(),
            last: last.as_bytes().into(),
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let rest = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&*self.last));
        let Some(mut rest) = rest else { return false };
        for part in &self.middle {
            match part.find(rest) {
                Some(place) => rest = &rest[place + part.needle().len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The textbook matcher: exponential, and right.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| oracle(rest, &text[skip..])),
            Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && oracle(rest, text)),
        }
    }

    #[test]
    fn matches_like_the_textbook() {
        let words = |letters: &[u8], length: u32| -> Vec<String> {
            (0..(letters.len() as u32).pow(length))
                .map(|mut number| {
                    let pick = |_| {
                        let letter = letters[(number as usize) % letters.len()];
                        number /= letters.len() as u32;
                        char::from(letter)
                    };
                    (0..length).map(pick).collect()
                })
                .collect()
        };
        for pattern in (0..5).flat_map(|length| words(b"ab*", length)) {
            let patterns = Patterns::new([pattern.as_str()]);
            for text in (0..5).flat_map(|length| words(b"ab", length)) {
                let right = oracle(pattern.as_bytes(), text.as_bytes());
                assert_eq!(patterns.find(&text).is_some(), right, "{pattern} on {text}");
            }
        }
    }

    #[test]
    fn blocks_by_pattern_unless_allowed() {
        let senders = Senders {
            blocked: Patterns::new(["*@spam.example", "bounce-*@*", "Eve@Example.com"]),
            allowed: Patterns::new(["good@spam.example"]),
        };
        for (sender, blocked) in [
            ("anyone@spam.example", true),
            ("ANYONE@SPAM.EXAMPLE", true),
            ("good@spam.example", false),
            ("Good@Spam.Example", false),
            ("a@x.spam.example", false),
            ("a@notspam.example", false),
            ("bounce-1@anywhere.example", true),
            ("bounce-@anywhere.example", true),
            ("bounce@anywhere.example", false),
            ("eve@example.com", true),
            ("eve@example.community", false),
        ] {
            assert_eq!(senders.block(&sender.parse().unwrap()).is_some(), blocked, "{sender}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test of time")]
    fn a_backtracking_bomb_costs_nothing() {
        let bomb = format!("{}b@*", "*a".repeat(30));
        let patterns = Patterns::new([bomb.as_str()]);
        let text = format!("{}@example.com", "a".repeat(100_000));
        let start = Instant::now();
        assert!(patterns.find(&text).is_none());
        assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    }
}
