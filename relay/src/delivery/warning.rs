//! When a sender of ours is told that mail waits: once for each message. Pure.
//!
//! Nothing is remembered for it. Before the time has come, no recipient is due later than it; so whoever is deferred after it
//! and was due before it, is deferred for the first time since, and that is on stable storage with the outcome. Of a message
//! with several recipients it is the first one that still waits who counts.

use std::time::Duration;

use jiff::Timestamp;

use super::outcome::later;
use crate::address::ReversePath;
use crate::envelope::{Envelope, Origin};

/// When it is owed. `None`: never, for the sender is not one of ours, or nobody is to be told.
pub(super) fn owed_at(envelope: &Envelope, warn_after: Option<Duration>) -> Option<Timestamp> {
    let (Origin::Source { domain, .. }, ReversePath::Mailbox(sender)) = (&envelope.origin, &envelope.sender) else {
        return None;
    };
    let own = sender.domain().as_str() == domain.as_str();
    warn_after.filter(|_| own).map(|after| later(envelope.arrived, after))
}

/// Whether a recipient that was due then, and is deferred now, is deferred for the first time since the warning is owed.
pub(super) fn is_first(owed_at: Option<Timestamp>, due: Timestamp, now: Timestamp) -> bool {
    owed_at.is_some_and(|at| due <= at && at <= now)
}

/// Shortens a wait so that it does not pass the time at which the warning is owed.
pub(super) fn until_owed(owed_at: Option<Timestamp>, wait: Duration, now: Timestamp) -> Duration {
    match owed_at.and_then(|at| Duration::try_from(at.duration_since(now)).ok()) {
        Some(left) if !left.is_zero() => wait.min(left),
        _ => wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn envelope(sender: &str, origin: Origin) -> Envelope {
        let sender = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(sender.parse().unwrap()),
        };
        Envelope {
            arrived: at(1000),
            sender,
            recipients: vec!["b@b.test".parse().unwrap()],
            origin,
            eight_bit: false,
            binary: false,
            utf8: false,
            dsn: None,
        }
    }

    #[test]
    fn only_senders_of_ours_are_told() {
        let client = [10, 0, 0, 1].into();
        let ours = Origin::Source { client, host: "web".into(), domain: "ours.test".into() };
        assert_eq!(owed_at(&envelope("a@ours.test", ours.clone()), Some(HOUR)), Some(at(4600)));
        assert_eq!(owed_at(&envelope("a@ours.test", ours.clone()), None), None);
        assert_eq!(owed_at(&envelope("a@else.test", ours.clone()), Some(HOUR)), None);
        assert_eq!(owed_at(&envelope("", ours), Some(HOUR)), None);
        assert_eq!(owed_at(&envelope("a@ours.test", Origin::Outsider { client }), Some(HOUR)), None);
    }

    #[test]
    fn it_is_owed_once_whatever_the_waits() {
        let owed = Some(at(4600));
        let (mut due, mut told) = (at(1000), Vec::new());
        for now in [1000, 1060, 1180, 4500, 4600, 4607, 9000] {
            let now = at(now);
            if is_first(owed, due, now) {
                told.push(now);
            }
            due = later(now, until_owed(owed, HOUR, now));
        }
        assert_eq!(told, [at(4600)]);
        // Nothing was tried for long, and then twice.
        assert!(is_first(owed, at(1000), at(50_000)) && !is_first(owed, at(50_001), at(60_000)));
        assert!(!is_first(None, at(0), at(9)));
    }
}
