//! The spool: every message that was acknowledged and is not yet settled, on stable storage.
//!
//! A [`Receipt`] can be made nowhere else, and only after the message is on stable storage. Nothing unreadable is
//! deleted: it is set aside and counted. A full disk says no at MAIL ([`Refused::Full`]), and never loses what was taken.

