//! Which kubelets are woken once more: those whose relays have not followed the settings for which they were woken.
//!
//! A kubelet may have missed the mark on its pod, or have put some ConfigMaps of the settings into the volume old and others
//! new, which a relay refuses; by itself it looks again only within about a minute. The first time comes soon and each
//! further one later, for a relay may have reasons of its own never to follow. No client, no clock: `now` is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_wire::Digest;
use tokio::time::Instant;

use crate::inputs::{Relay, Report};

/// Until a relay's kubelet is woken again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The relays of one namespace that have not followed yet. In memory only: the next operator begins anew.
#[derive(Debug, Default)]
pub(crate) struct Reminders {
    /// The settings that were published last.
    settings: Option<Digest>,
    /// By pod.
    lagging: BTreeMap<String, Reminder>,
}

#[derive(Debug)]
struct Reminder {
    due: Instant,
    pause: Duration,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The pods whose kubelets are to be woken now.
    pub(crate) pods: Vec<String>,
    /// When to ask again, if nothing changes before. `None`: every relay that answers has followed.
    pub(crate) again: Option<Duration>,
}

impl Reminders {
    /// Who is to be woken for these settings now. `None`: none were published, so there is nothing to follow.
    ///
    /// A relay that does not answer, or is not ready, keeps its turn: one that comes and goes is not woken the more often.
    pub(crate) fn due(&mut self, settings: Option<&Digest>, relays: &[Relay], now: Instant) -> Due {
        if self.settings.as_ref() != settings {
            *self = Self { settings: settings.cloned(), lagging: BTreeMap::new() };
        }
        self.lagging.retain(|pod, _| relays.iter().any(|relay| relay.pod == *pod));
        let mut due = Due::default();
        let Some(settings) = settings else { return due };
        for Relay { pod, report } in relays {
            match report {
                Report::NotReady(_) | Report::Unreachable(_) => {}
                Report::Answered(status) if status.settings.as_ref() == Some(settings) => {
                    self.lagging.remove(pod);
                }
                Report::Answered(_) => {
                    let first = || Reminder { due: now + PAUSE.0, pause: PAUSE.0 };
                    let reminder = self.lagging.entry(pod.clone()).or_insert_with(first);
                    if reminder.due <= now {
                        reminder.pause = (reminder.pause * 2).min(PAUSE.1);
                        reminder.due = now + reminder.pause;
                        due.pods.push(pod.clone());
                    }
                    let wait = reminder.due - now;
                    due.again = Some(due.again.map_or(wait, |again| again.min(wait)));
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn settings(name: &str) -> Digest {
        Digest::of(&name)
    }

    /// A relay that enforces these settings.
    fn enforces(pod: &str, name: &str) -> Relay {
        let said = json!({"version": "0.1.0", "schema": 1, "settings": settings(name), "objects": []});
        let status = serde_json::from_value(said).expect("a status");
        Relay { pod: pod.to_owned(), report: Report::Answered(Arc::new(status)) }
    }

    fn silent(pod: &str) -> Relay {
        Relay { pod: pod.to_owned(), report: Report::Unreachable("no answer".to_owned()) }
    }

    /// Asks whenever it is told to, and answers the seconds at which each pod is woken.
    fn woken(reminders: &mut Reminders, relays: &[Relay], began: Instant, seconds: u64) -> Vec<(u64, String)> {
        let (mut now, mut woken) = (began, Vec::new());
        while now <= began + Duration::from_secs(seconds) {
            let due = reminders.due(Some(&settings("new")), relays, now);
            woken.extend(due.pods.into_iter().map(|pod| ((now - began).as_secs(), pod)));
            let Some(again) = due.again else { break };
            assert!(again > Duration::ZERO, "it would be asked without end");
            now += again;
        }
        woken
    }

    fn seconds(woken: &[(u64, String)]) -> Vec<u64> {
        woken.iter().map(|(second, _)| *second).collect()
    }

    #[test]
    fn a_relay_that_never_follows_is_woken_ever_more_slowly_and_at_most_once_a_minute() {
        let mut reminders = Reminders::default();
        let woken = woken(&mut reminders, &[enforces("a", "old"), enforces("b", "new")], Instant::now(), 310);
        assert_eq!(seconds(&woken), [2, 6, 14, 30, 62, 122, 182, 242, 302]);
        assert!(woken.iter().all(|(_, pod)| pod == "a"), "{woken:?}");
    }

    #[test]
    fn one_that_follows_is_left_alone_and_the_next_settings_begin_anew() {
        let (mut reminders, now) = (Reminders::default(), Instant::now());
        assert_eq!(seconds(&woken(&mut reminders, &[enforces("a", "old")], now, 20)), [2, 6, 14]);
        let later = now + Duration::from_secs(100);
        assert_eq!(reminders.due(Some(&settings("new")), &[enforces("a", "new")], later), Due::default());
        assert!(reminders.lagging.is_empty(), "who falls behind again is woken soon again");
        assert_eq!(reminders.due(None, &[enforces("a", "old")], later), Due::default());
        let due = reminders.due(Some(&settings("newer")), &[enforces("a", "new")], later);
        assert_eq!(due, Due { pods: Vec::new(), again: Some(PAUSE.0) });
    }

    #[test]
    fn one_that_is_asked_more_often_or_falls_silent_in_between_is_woken_no_sooner() {
        let (mut reminders, began) = (Reminders::default(), Instant::now());
        let mut woken = Vec::new();
        for tenth in 0..200 {
            let relay = if tenth % 3 == 0 { silent("a") } else { enforces("a", "old") };
            let due = reminders.due(Some(&settings("new")), &[relay], began + Duration::from_millis(100) * tenth);
            woken.extend(due.pods.iter().map(|_| tenth));
            assert!(due.again != Some(Duration::ZERO) && (tenth % 3 != 0 || due.again.is_none()), "{due:?}");
        }
        assert_eq!(woken, [22, 62, 142]);
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let (mut reminders, now) = (Reminders::default(), Instant::now());
        assert_eq!(seconds(&woken(&mut reminders, &[enforces("a", "old")], now, 20)), [2, 6, 14]);
        assert_eq!(reminders.due(Some(&settings("new")), &[], now), Due::default());
        assert!(reminders.lagging.is_empty());
    }
}
