//! What next hops said, each only once: when one is down, a million messages hold the same reply.
//!
//! So many different ones are kept at most. Beyond that only the reply's code is kept, and beyond twice as many nothing: a
//! next hop that says something else for each message must not fill the memory. The relay's log has every word.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::envelope::Remote;

/// Different replies that are kept whole: with 500 octets each, 4 MiB.
const WHOLE_MAX: usize = 8192;

/// The replies, by number from 1 on.
#[derive(Debug, Default)]
pub(super) struct Replies {
    kept: Vec<Option<Kept>>,
    numbers: HashTable<u32>,
    hasher: RandomState,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Kept {
    remote: Arc<Remote>,
    holders: u32,
}

impl Replies {
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Remote>> {
        Some(&self.kept.get((number as usize).checked_sub(1)?)?.as_ref()?.remote)
    }

    /// One more holds this reply. Answers its number; zero: it is not kept.
    pub(super) fn hold(&mut self, remote: &Remote) -> u32 {
        if let Some(number) = self.find(remote) {
            return self.again(number);
        }
        if self.numbers.len() < WHOLE_MAX {
            return self.keep(remote.clone());
        }
        let code = remote.reply.split(' ').next().unwrap_or_default();
        let reply = format!("{code} (too many different replies are held: the relay's log has this one)");
        let short = Remote { server: remote.server.clone(), reply, status: remote.status.clone() };
        match self.find(&short) {
            Some(number) => self.again(number),
            None if self.numbers.len() < 2 * WHOLE_MAX => self.keep(short),
            None => 0,
        }
    }

    /// One fewer does.
    pub(super) fn release(&mut self, number: u32) {
        let Some(place) = (number as usize).checked_sub(1) else { return };
        let Some(Some(kept)) = self.kept.get_mut(place) else { return };
        kept.holders -= 1;
        if kept.holders == 0 {
            let hash = hash(&self.hasher, &kept.remote);
            if let Ok(entry) = self.numbers.find_entry(hash, |it| *it == number) {
                entry.remove();
            }
            self.kept[place] = None;
            self.free.push(number);
        }
    }

    fn find(&self, remote: &Remote) -> Option<u32> {
        let is_it = |number: &u32| self.get(*number).is_some_and(|known| **known == *remote);
        self.numbers.find(hash(&self.hasher, remote), is_it).copied()
    }

    fn again(&mut self, number: u32) -> u32 {
        if let Some(Some(kept)) = self.kept.get_mut(number as usize - 1) {
            kept.holders += 1;
        }
        number
    }

    fn keep(&mut self, remote: Remote) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.kept.push(None);
            self.kept.len() as u32
        });
        let hash_of = hash(&self.hasher, &remote);
        self.kept[number as usize - 1] = Some(Kept { remote: Arc::new(remote), holders: 1 });
        let (kept, hasher) = (&self.kept, &self.hasher);
        let again = |number: &u32| kept[*number as usize - 1].as_ref().map_or(0, |kept| hash(hasher, &kept.remote));
        self.numbers.insert_unique(hash_of, number, again);
        number
    }
}

fn hash(hasher: &RandomState, Remote { server, reply, status }: &Remote) -> u64 {
    hasher.hash_one((server, reply, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(reply: &str) -> Remote {
        Remote { server: "mx".into(), reply: reply.into(), status: "4.0.0".into() }
    }

    #[test]
    fn the_same_reply_is_kept_once_until_nobody_holds_it() {
        let mut replies = Replies::default();
        let (first, again) = (replies.hold(&remote("450 a")), replies.hold(&remote("450 a")));
        let other = replies.hold(&remote("450 b"));
        assert!(first == again && first != other && first != 0);
        replies.release(first);
        assert_eq!(replies.get(first).unwrap().reply, "450 a");
        replies.release(first);
        assert!(replies.get(first).is_none() && replies.get(0).is_none());
        assert_eq!(replies.hold(&remote("450 c")), first, "its number is used again");
    }

    #[test]
    fn a_next_hop_that_always_says_something_else_fills_no_memory() {
        let mut replies = Replies::default();
        let numbers: Vec<_> = (0..3 * WHOLE_MAX).map(|id| replies.hold(&remote(&format!("450 id={id}")))).collect();
        assert_eq!(replies.numbers.len(), WHOLE_MAX + 1);
        let last = replies.get(numbers[3 * WHOLE_MAX - 1]).unwrap();
        assert_eq!(last.reply, "450 (too many different replies are held: the relay's log has this one)");
        for code in 0..2 * WHOLE_MAX {
            replies.hold(&remote(&format!("{code}")));
        }
        assert_eq!(replies.numbers.len(), 2 * WHOLE_MAX);
        numbers.into_iter().for_each(|number| replies.release(number));
        assert_eq!(replies.numbers.len(), WHOLE_MAX, "one of them was held twice");
    }
}
