//! What the index keeps of one message: 48 octets. Times are kept in milliseconds, and of the arrival only its second.

use jiff::Timestamp;

use crate::queue_id::QueueId;
use crate::spool::PendingRecipient;

/// A message with one recipient, or the first recipient of one with several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: QueueId,
    pub(super) traits: Traits,
    pub(super) first: Recipient,
    /// The segment that the record is in, by the number that `Segments` gave it.
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// Octets of the content. Of an entry that is not used: the next such one.
    pub(super) size: u32,
    pub(super) arrived: u32,
}

const _: () = assert!(size_of::<Entry>() == 48, "a million of them must stay small");

/// What else there is to know of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits(u16);

impl Traits {
    /// Lines of the content begin with dots.
    pub(super) const DOTS: Self = Self(1);
    /// It has several recipients.
    pub(super) const SEVERAL: Self = Self(2);
    /// Its body is in a file of its own.
    pub(super) const FILE: Self = Self(4);
    /// Its content is in memory.
    pub(super) const WARM: Self = Self(8);
    /// A person keeps it.
    pub(super) const HELD: Self = Self(16);

    pub(super) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    pub(super) fn set(&mut self, one: Self, to: bool) {
        self.0 = if to { self.0 | one.0 } else { self.0 & !one.0 };
    }
}

/// How a recipient stands: 16 octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipient {
    /// What the last attempt heard, in `Replies`; zero is nothing.
    pub(super) reply: u32,
    pub(super) attempts: u16,
    pub(super) state: State,
    pub(super) due: Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Claimed,
    Done,
}

/// A time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Due([u8; 6]);

impl From<Timestamp> for Due {
    /// Rounds down: nothing waits longer than it was told to.
    fn from(at: Timestamp) -> Self {
        let millis = at.as_millisecond().clamp(0, (1 << 48) - 1);
        let [_, _, bytes @ ..] = millis.to_be_bytes();
        Self(bytes)
    }
}

impl From<Due> for Timestamp {
    fn from(Due([a, b, c, d, e, f]): Due) -> Self {
        let millis = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Self::from_millisecond(millis).unwrap_or(Self::MAX)
    }
}

impl Recipient {
    pub(super) fn fresh(due: Timestamp) -> Self {
        Self { reply: 0, attempts: 0, state: State::Pending, due: due.into() }
    }

    pub(super) fn waits(&self) -> bool {
        self.state != State::Done
    }

    /// What is told of it, but for the reply.
    pub(super) fn seen(&self, index: usize) -> PendingRecipient {
        // A message has at most 1000 recipients.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        PendingRecipient { index, attempts: self.attempts.into(), due: self.due.into(), last: None }
    }
}

/// Attempts are counted up to 65,535: at one a minute that is six weeks.
pub(super) fn counted(attempts: u32) -> u16 {
    u16::try_from(attempts).unwrap_or(u16::MAX)
}

impl Entry {
    pub(super) const UNUSED: Self = Self {
        id: QueueId::from_bytes([0; 10]),
        traits: Traits(0),
        first: Recipient { reply: 0, attempts: 0, state: State::Done, due: Due([0; 6]) },
        segment: u32::MAX,
        offset: 0,
        length: 0,
        size: 0,
        arrived: 0,
    };

    pub(super) fn new(id: QueueId, arrived: Timestamp) -> Self {
        let arrived = u32::try_from(arrived.as_second().max(0)).unwrap_or(u32::MAX);
        Self { id, arrived, segment: 0, ..Self::UNUSED }
    }

    pub(super) fn is_used(&self) -> bool {
        self.segment != u32::MAX
    }

    /// To the second.
    pub(super) fn arrived(&self) -> Timestamp {
        Timestamp::from_second(self.arrived.into()).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_the_millisecond_and_never_later() {
        for (nanos, kept) in [(0, 0), (1_790_000_000_123_999_999, 1_790_000_000_123), (-5, 0)] {
            let at = Timestamp::from_nanosecond(nanos).unwrap();
            assert_eq!(Timestamp::from(Due::from(at)).as_millisecond(), kept);
        }
        assert!(Due::from(Timestamp::MAX) > Due::from(Timestamp::UNIX_EPOCH));
        assert_eq!(Timestamp::from(Due::from(Timestamp::MAX)).as_second(), Timestamp::MAX.as_second());
    }
}
