//! From what the next hops said to what is settled. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::bounce;
use crate::client::{Said, Verdict};
use crate::envelope::{Outcome, Remote};

/// Octets of a reply or a sentence that are kept.
const REPLY_MAX: usize = 500;

/// What one recipient's attempt came to, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// `name[address]:port`; empty when none was asked.
    pub(super) server: String,
    pub(super) verdict: Verdict,
    /// Whether the server was told what the sender wants to hear: then it is the server's turn to tell of success.
    pub(super) passes_dsn: bool,
}

impl Heard {
    /// Whether another next hop may be asked.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.verdict, Verdict::NotNow { dot_sent: false, .. })
    }

    pub(super) fn remote(&self) -> Remote {
        match &self.verdict {
            Verdict::Taken(reply) => self.said(&Said::Reply(reply.clone()), false),
            Verdict::Refused(said) => self.said(said, false),
            Verdict::NotNow { said, .. } => self.said(said, true),
        }
    }

    fn said(&self, said: &Said, temporary: bool) -> Remote {
        remote(&self.server, &said.to_string(), &said.status(temporary))
    }
}

/// Made fit for a log, the spool and a notification.
pub(super) fn remote(server: &str, reply: &str, status: &str) -> Remote {
    let printable = |octet: char| if (' '..='~').contains(&octet) { octet } else { '?' };
    Remote {
        server: server.to_owned(),
        reply: reply.chars().map(printable).take(REPLY_MAX).collect(),
        status: status.to_owned(),
    }
}

/// When what was not taken is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    /// After this wait.
    After(Duration),
    /// Never: the lifetime, this one, is over.
    Expired(Duration),
}

/// What is settled for a recipient.
pub(super) fn settled(heard: &Heard, again: Again, now: Timestamp) -> Outcome {
    let remote = heard.remote();
    match (&heard.verdict, again) {
        (Verdict::Taken(_), _) => Outcome::Delivered(remote),
        (Verdict::Refused(_), _) => Outcome::Failed(remote),
        (Verdict::NotNow { .. }, Again::After(wait)) => Outcome::Deferred { remote, until: later(now, wait) },
        (Verdict::NotNow { .. }, Again::Expired(lifetime)) => Outcome::Failed(expired(&remote, lifetime)),
    }
}

/// What is told when a lifetime is over.
pub(super) fn expired(last: &Remote, lifetime: Duration) -> Remote {
    let told = match last.server.as_str() {
        "" => last.reply.clone(),
        server if last.reply.starts_with(|letter: char| letter.is_ascii_digit()) => {
            format!("{server} said: {}", last.reply)
        }
        server => format!("{server} {}", last.reply),
    };
    remote("", &format!("gave up after {}; the last try: {told}", time(lifetime)), bounce::EXPIRED)
}

/// `now` and then, without ever leaving the calendar.
pub(super) fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

fn time(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Fault, Reply};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const WAIT: Again = Again::After(Duration::from_secs(60));

    fn reply(line: &str) -> Reply {
        Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().unwrap().0
    }

    fn heard(verdict: Verdict) -> Heard {
        Heard { server: "mx[192.0.2.1]:25".into(), verdict, passes_dsn: false }
    }

    fn not_now(said: Said) -> Heard {
        heard(Verdict::NotNow { said, dot_sent: false })
    }

    #[test]
    fn every_verdict_has_its_outcome() {
        let taken = settled(&heard(Verdict::Taken(reply("250 2.0.0 queued"))), WAIT, NOW);
        assert_eq!(taken, Outcome::Delivered(remote("mx[192.0.2.1]:25", "250 2.0.0 queued", "2.0.0")));
        let refused = settled(&heard(Verdict::Refused(reply("550 no").into())), WAIT, NOW);
        assert_eq!(refused, Outcome::Failed(remote("mx[192.0.2.1]:25", "550 no", "5.0.0")));
        let deferred = settled(&not_now(reply("450 4.2.0 later").into()), WAIT, NOW);
        let Outcome::Deferred { remote, until } = deferred else { panic!("{deferred:?}") };
        assert_eq!((remote.status.as_str(), until.as_second()), ("4.2.0", 60));
    }

    #[test]
    fn a_552_that_means_too_many_recipients_is_told_as_temporary() {
        assert_eq!(not_now(reply("552 5.5.3 too many").into()).remote().status, "4.5.3");
    }

    #[test]
    fn an_expired_message_tells_its_last_try() {
        let expired = |heard: &Heard, seconds| {
            let outcome = settled(heard, Again::Expired(Duration::from_secs(seconds)), NOW);
            let Outcome::Failed(remote) = outcome else { panic!("{outcome:?}") };
            assert_eq!((remote.server.as_str(), remote.status.as_str()), ("", "4.4.7"));
            remote.reply
        };
        assert_eq!(
            expired(&not_now(reply("450 later").into()), 120 * 3600),
            "gave up after 120 h; the last try: mx[192.0.2.1]:25 said: 450 later"
        );
        let fault = Fault { status: "4.4.1", text: "cannot be reached: timed out".into() };
        assert_eq!(
            expired(&not_now(fault.into()), 90),
            "gave up after 90 s; the last try: mx[192.0.2.1]:25 cannot be reached: timed out"
        );
    }

    #[test]
    fn keeps_only_printable_ascii_and_not_too_much() {
        let kept = remote("", &format!("a\r\nb\u{e4}{}", "x".repeat(999)), "4.0.0").reply;
        assert!(kept.starts_with("a??b?x") && kept.len() == REPLY_MAX);
    }
}
