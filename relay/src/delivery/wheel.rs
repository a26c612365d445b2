//! What is due later: about 20 octets a message. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::queue_id::QueueId;

/// When (48 bits of Unix milliseconds, which sort as they count), and what. A set: what is put in twice is still looked up
/// once.
#[derive(Debug, Default)]
pub(super) struct Wheel(BTreeSet<([u8; 6], QueueId)>);

impl Wheel {
    pub(super) fn insert(&mut self, due: Timestamp, id: QueueId) {
        // Never before it is due.
        let millis = u64::try_from(due.as_millisecond().saturating_add(1)).unwrap_or(0).min((1 << 48) - 1);
        let [_, _, octets @ ..] = millis.to_be_bytes();
        self.0.insert((octets, id));
    }

    /// What is due, from either end: at the far one stands what a clock has put there that has gone back since.
    pub(super) fn take(&mut self, is_due: impl Fn(Timestamp) -> bool) -> Option<QueueId> {
        let ends = [self.0.first(), self.0.last()];
        let found = ends.into_iter().flatten().find(|(due, _)| is_due(time(*due))).copied()?;
        self.0.remove(&found);
        Some(found.1)
    }
}

fn time(octets: [u8; 6]) -> Timestamp {
    let millis = octets.into_iter().fold(0, |millis, octet| millis << 8 | i64::from(octet));
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_is_due_in_its_order_and_each_once() {
        let (mut wheel, at) = (Wheel::default(), |seconds| Timestamp::from_second(seconds).unwrap());
        let id = |number| QueueId::new(1, number);
        for (due, number) in [(30, 3), (10, 1), (20, 2), (10, 1), (40, 4)] {
            wheel.insert(at(due), id(number));
        }
        wheel.insert(Timestamp::MAX, id(9));
        wheel.insert(Timestamp::UNIX_EPOCH - jiff::Span::new().hours(1), id(0));
        let mut take = |now: i64| std::iter::from_fn(|| wheel.take(|due| due <= at(now))).collect::<Vec<_>>();
        assert_eq!(take(9), [id(0)]);
        assert_eq!(take(31), [id(1), id(2), id(3)]);
        assert_eq!(take(31), []);
        // A clock that went back put it there.
        assert_eq!(wheel.take(|due| due > at(1_000_000)), Some(id(9)));
        assert_eq!(wheel.take(|due| due > at(35)), Some(id(4)));
    }
}
