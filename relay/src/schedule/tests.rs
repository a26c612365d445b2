use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(60), max: Duration::from_secs(3600) };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(number: u32) -> QueueId {
    QueueId::new(1_000 + u64::from(number), number)
}

const TERMS: Terms = Terms {
    suspended: false,
    connections: 100,
    lifetime: Duration::from_secs(1_000_000),
    null_sender_lifetime: Duration::from_secs(1_000_000),
    warn_after: None,
};

/// A schedule, and how many connections each destination may have.
struct Scene {
    schedule: Schedule<&'static str>,
    terms: Terms,
}

fn scene(total: usize, connections: usize) -> Scene {
    let backoff = Backoff { first: seconds(5), max: seconds(300) };
    Scene { schedule: Schedule::new(Slots { total }, backoff), terms: Terms { connections, ..TERMS } }
}

impl std::ops::Deref for Scene {
    type Target = Schedule<&'static str>;

    fn deref(&self) -> &Self::Target {
        &self.schedule
    }
}

impl std::ops::DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.schedule
    }
}

impl Scene {
    fn push(&mut self, key: &'static str, message: QueueId, fresh: bool) -> bool {
        let waiting = Waiting { fresh, ..Waiting::default() };
        self.schedule.push(&key, message, waiting, self.terms)
    }

    fn next(&mut self, now: Duration) -> Option<Work<&'static str>> {
        match self.schedule.next(now)? {
            Turn::Send(work) => Some(work),
            Turn::Retire(worker) => panic!("worker {worker} is to end"),
        }
    }

    /// Its first worker, number 0, has reached the destination and waits.
    fn open(&mut self, key: &'static str) -> Place {
        self.push(key, id(9999), true);
        let place = self.next(Duration::ZERO).unwrap().place;
        self.reached(place);
        self.idle(place, 0);
        place
    }
}

#[test]
fn waits_double_up_to_the_longest() {
    let waits: Vec<u64> = (1..9).map(|failures| BACKOFF.wait(failures, 0.0).as_secs()).collect();
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(BACKOFF.wait(0, 0.0), seconds(60));
    assert_eq!(BACKOFF.wait(u32::MAX, 1.0), seconds(4050));
    assert_eq!(BACKOFF.wait(1, 1.0), Duration::from_millis(67_500));
}

#[test]
fn the_last_attempt_falls_on_the_end_of_the_lifetime() {
    let lifetime = seconds(1000);
    assert_eq!(BACKOFF.retry(1, seconds(1), lifetime, 0.0), Some(seconds(60)));
    assert_eq!(BACKOFF.retry(5, seconds(900), lifetime, 0.0), Some(seconds(100)));
    assert_eq!(BACKOFF.retry(6, seconds(1000), lifetime, 0.0), None);
    assert_eq!(BACKOFF.retry(6, seconds(9999), lifetime, 0.0), None);
}

#[test]
fn a_new_destination_gets_one_connection_until_it_answers() {
    let mut schedule = scene(10, 10);
    for number in 0..5 {
        schedule.push("a", id(number), true);
    }
    let first = schedule.next(SECOND).unwrap();
    assert_eq!((first.message, first.worker), (id(0), None));
    assert_eq!(schedule.next(SECOND), None);
    schedule.reached(first.place);
    assert_eq!(std::iter::from_fn(|| schedule.next(SECOND)).count(), 4);
    assert_eq!(schedule.workers(), 5);
}

#[test]
fn a_dead_next_hop_costs_one_probe_for_all_its_messages() {
    let mut schedule = scene(10, 10);
    for number in 0..100 {
        schedule.push("a", id(number), true);
    }
    let (mut now, mut waits) = (seconds(0), Vec::new());
    for worker in 0..8 {
        let probe = schedule.next(now).unwrap();
        assert_eq!(schedule.next(now), None);
        let until = schedule.unreachable(probe.place, now, 0.0).unwrap();
        schedule.gone(probe.place, worker);
        assert_eq!(schedule.next(until - SECOND), None);
        assert_eq!(schedule.wake(), Some(until));
        waits.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(schedule.down(), 1);
    let probe = schedule.next(now).unwrap();
    schedule.reached(probe.place);
    assert_eq!(schedule.down(), 0);
    assert!(schedule.next(now).is_some());
}

#[test]
fn a_refused_further_connection_lowers_the_ceiling_and_closes_nothing() {
    let mut schedule = scene(100, 100);
    let place = schedule.open("a");
    for number in 0..10 {
        schedule.push("a", id(number), true);
    }
    for _ in 0..3 {
        schedule.next(SECOND).unwrap();
    }
    assert_eq!(schedule.unreachable(place, SECOND, 0.0), None);
    schedule.gone(place, 7);
    assert_eq!(schedule.next(seconds(2)), None, "two connections are the ceiling");
    schedule.idle(place, 0);
    assert_eq!(schedule.next(seconds(2)).unwrap().worker, Some(0));
    assert_eq!((schedule.next(seconds(2)), schedule.wake()), (None, Some(seconds(61))));
    assert_eq!(schedule.next(seconds(61)).unwrap().worker, None);
}

#[test]
fn an_idle_worker_is_used_before_a_new_one_is_made() {
    let mut schedule = scene(10, 10);
    let place = schedule.open("a");
    schedule.push("a", id(1), true);
    schedule.push("a", id(2), true);
    assert_eq!(schedule.next(SECOND).unwrap().worker, Some(0));
    assert_eq!(schedule.next(SECOND).unwrap().worker, None);
    schedule.idle(place, 0);
    schedule.gone(place, 0);
    schedule.push("a", id(3), true);
    assert_eq!(schedule.next(SECOND).unwrap().worker, None, "a worker that is gone is not idle");
}

#[test]
fn destinations_take_turns_and_none_has_more_than_half() {
    let mut schedule = scene(8, 100);
    schedule.open("a");
    schedule.open("b");
    for number in 0..20 {
        schedule.push("a", id(number), true);
    }
    for number in 20..23 {
        schedule.push("b", id(number), true);
    }
    let order: Vec<&str> = std::iter::from_fn(|| schedule.next(SECOND)).map(|work| work.key).collect();
    assert_eq!(order, ["b", "a", "b", "a", "b", "a", "a"]);
}

#[test]
fn a_retry_has_its_turn_among_fresh_mail() {
    let mut schedule = scene(100, 100);
    schedule.open("a");
    for number in 0..8 {
        schedule.push("a", id(number), number < 6);
    }
    let order: Vec<QueueId> = std::iter::from_fn(|| schedule.next(SECOND)).map(|work| work.message).collect();
    // One fresh one went before.
    assert_eq!(order, [0, 1, 6, 2, 3, 4, 7, 5].map(id));
}

#[test]
fn a_message_waits_once_for_a_destination_and_may_wait_for_several() {
    let mut schedule = scene(100, 100);
    schedule.open("a");
    schedule.open("b");
    for key in ["a", "a", "b", "a"] {
        schedule.push(key, id(1), true);
    }
    assert_eq!(std::iter::from_fn(|| schedule.next(SECOND)).count(), 2);
    schedule.push("a", id(1), true);
    assert!(schedule.next(SECOND).is_some());
}

#[test]
fn a_suspended_destination_only_collects_until_it_is_woken() {
    let mut schedule = scene(10, 10);
    schedule.terms.suspended = true;
    schedule.push("a", id(1), true);
    assert_eq!((schedule.next(SECOND), schedule.wake()), (None, None));
    assert_eq!(schedule.take_stuck(), [id(1)]);
    schedule.push("a", id(1), true);
    schedule.set_terms(&"a", TERMS);
    assert_eq!(schedule.next(SECOND).unwrap().message, id(1));
}

#[test]
fn new_settings_take_out_what_is_stuck_and_leave_what_flows() {
    let mut schedule = scene(2, 1);
    let flowing = schedule.open("flows");
    schedule.push("flows", id(1), true);
    schedule.push("dead", id(2), true);
    schedule.push("dead", id(3), false);
    let probe = std::iter::from_fn(|| schedule.next(SECOND)).find(|work| work.key == "dead").unwrap();
    schedule.unreachable(probe.place, SECOND, 0.0);
    schedule.gone(probe.place, 1);
    schedule.idle(flowing, 0);
    schedule.push("flows", id(4), true);
    assert_eq!(schedule.take_stuck(), [id(3)]);
    schedule.push("dead", id(3), false);
    let mut keys: Vec<_> = std::iter::from_fn(|| schedule.next(SECOND)).map(|work| work.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["dead", "flows"], "the dead one may be probed at once");
}

#[test]
fn takes_out_what_is_too_old_and_whose_sender_is_to_be_told() {
    let mut schedule = scene(2, 1);
    let millis = Duration::from_millis;
    schedule.terms.lifetime = millis(1000);
    schedule.terms.null_sender_lifetime = millis(500);
    schedule.terms.warn_after = Some(millis(100));
    let terms = schedule.terms;
    // They came at 1,001, 1,002 … milliseconds.
    for number in 1..=900 {
        let waiting = Waiting { fresh: number % 2 == 0, null_sender: number % 10 == 0, unwarned: number % 10 == 5 };
        schedule.schedule.push(&"a", id(number), waiting, terms);
    }
    let place = Place(0);
    let aged = |schedule: &mut Scene, now| {
        let aged: BTreeSet<QueueId> = schedule.take_aged(place, now).into_iter().collect();
        (1..=900).filter(|number| aged.contains(&id(*number))).collect::<Vec<_>>()
    };
    assert!(aged(&mut schedule, 1_100).is_empty());
    assert_eq!(aged(&mut schedule, 1_116), [5, 15]);
    assert_eq!(
        aged(&mut schedule, 1_521),
        (25..421).step_by(10).chain([10, 20]).collect::<BTreeSet<u32>>().into_iter().collect::<Vec<_>>()
    );
    assert_eq!(
        aged(&mut schedule, 2_004),
        (1..=3)
            .chain((30..=503).step_by(10))
            .chain((425..=895).step_by(10))
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(schedule.waiting(), 900 - 2 - 42 - 3 - 48 - 48);
}

#[test]
fn forgets_a_destination_with_nothing_to_do() {
    let mut schedule = scene(2, 1);
    let place = schedule.open("a");
    schedule.gone(place, 0);
    assert_eq!(schedule.next(SECOND), None);
    schedule.sweep(SECOND);
    assert_eq!(schedule.keys().count(), 0);
    schedule.push("b", id(1), true);
    schedule.next(SECOND).unwrap();
    schedule.unreachable(place, SECOND, 0.0);
    schedule.gone(place, 0);
    schedule.next(SECOND);
    schedule.sweep(seconds(100));
    assert_eq!(schedule.keys().count(), 1, "that it failed is remembered");
    schedule.sweep(seconds(7200));
    assert_eq!(schedule.keys().count(), 0);
}

#[test]
fn a_destination_without_a_worker_gets_the_slot_of_one_that_is_done() {
    let mut schedule = scene(4, 2);
    let (a, b) = (schedule.open("a"), schedule.open("b"));
    for number in 0..20 {
        schedule.push(if number % 2 == 0 { "a" } else { "b" }, id(number), true);
    }
    let first: Vec<_> = std::iter::from_fn(|| schedule.next(SECOND)).collect();
    assert_eq!((first.len(), schedule.workers()), (4, 4));
    schedule.push("c", id(100), true);
    assert_eq!(schedule.next(SECOND), None, "nobody is done");
    schedule.idle(a, 0);
    assert_eq!(schedule.schedule.next(SECOND), Some(Turn::Retire(0)), "though there is more for a");
    schedule.idle(b, 1);
    assert_eq!(schedule.next(SECOND).unwrap().key, "b", "one is enough");
    schedule.gone(a, 0);
    let work = schedule.next(SECOND).unwrap();
    assert_eq!((work.key, work.worker), ("c", None));
    // An only worker is not taken away from a destination with mail.
    let mut schedule = scene(2, 2);
    let (a, b) = (schedule.open("a"), schedule.open("b"));
    for (key, number) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("c", 5)] {
        schedule.push(key, id(number), true);
    }
    assert_eq!(std::iter::from_fn(|| schedule.next(SECOND)).count(), 2);
    schedule.idle(a, 0);
    assert_eq!(schedule.next(SECOND).unwrap().key, "a");
    schedule.idle(b, 1);
    assert_eq!(schedule.next(SECOND).unwrap().key, "b");
    schedule.idle(a, 0);
    assert_eq!(schedule.schedule.next(SECOND), Some(Turn::Retire(0)), "it has no more");
}

#[test]
fn unproven_destinations_have_at_most_half_of_all_slots() {
    const DEAD: [&str; 6] = ["d0", "d1", "d2", "d3", "d4", "d5"];
    let mut schedule = scene(4, 2);
    let good = schedule.open("good");
    schedule.gone(good, 0);
    for (number, key) in DEAD.into_iter().enumerate() {
        schedule.push(key, id(u32::try_from(number).unwrap()), true);
    }
    let probes: Vec<_> = std::iter::from_fn(|| schedule.next(SECOND)).collect();
    assert_eq!(probes.len(), 2);
    for number in 10..20 {
        schedule.push("good", id(number), true);
    }
    let work: Vec<_> = std::iter::from_fn(|| schedule.next(SECOND)).map(|work| work.key).collect();
    assert_eq!(work, ["good", "good"]);
    schedule.unreachable(probes[0].place, SECOND, 0.0);
    schedule.gone(probes[0].place, 7);
    let next = schedule.next(SECOND).unwrap();
    assert!(DEAD.contains(&next.key) && next.worker.is_none(), "{next:?}");
}

#[test]
fn a_paced_destination_gets_one_message_in_so_long() {
    let mut schedule = scene(20, 10);
    let place = schedule.open("a");
    for number in 0..5 {
        schedule.push("a", id(number), true);
    }
    schedule.pace(place, seconds(10), seconds(2));
    let mut given = Vec::new();
    for second in 0..20 {
        given.extend(std::iter::from_fn(|| schedule.next(seconds(second))).map(|_| second));
    }
    assert_eq!(given, [10, 12, 14, 16, 18]);
    assert_eq!(schedule.next(seconds(20)), None);
    schedule.push("a", id(8), true);
    schedule.push("a", id(9), true);
    assert_eq!(std::iter::from_fn(|| schedule.next(seconds(20))).count(), 2, "nothing waited: the pace is over");
}

proptest! {
    #[test]
    fn slots_are_never_exceeded_and_nothing_that_waits_is_forgotten(
        steps in proptest::collection::vec((0u8..7, 0usize..3, 0u32..40), 1..300), total in 1usize..6, each in 1usize..6,
    ) {
        const KEYS: [&str; 3] = ["a", "b", "c"];
        let mut schedule = scene(total, each);
        let mut working: Vec<(Place, Worker, QueueId)> = Vec::new();
        let mut idle: Vec<(Place, Worker)> = Vec::new();
        let mut pushed = HashSet::new();
        let (mut now, mut next_worker) = (Duration::ZERO, 0);
        for (step, pick, number) in steps {
            let chosen = working.len().checked_sub(1).map(|last| pick.min(last));
            match (step, chosen) {
                (0 | 1, _) => {
                    schedule.push(KEYS[pick], id(number), number % 2 == 0);
                    pushed.insert((KEYS[pick], id(number)));
                }
                (2, Some(chosen)) => {
                    let (place, worker, _) = working.remove(chosen);
                    schedule.reached(place);
                    schedule.idle(place, worker);
                    idle.push((place, worker));
                }
                (3, Some(chosen)) => {
                    let (place, worker, _) = working.remove(chosen);
                    schedule.unreachable(place, now, 0.5);
                    schedule.gone(place, worker);
                }
                (4, _) if !idle.is_empty() => {
                    let (place, worker) = idle.remove(pick % idle.len());
                    schedule.gone(place, worker);
                }
                (5, _) => schedule.sweep(now),
                _ => now += seconds(u64::from(number)),
            }
            while let Some(turn) = schedule.schedule.next(now) {
                let work = match turn {
                    Turn::Send(work) => work,
                    Turn::Retire(worker) => {
                        let place = idle.iter().position(|(_, waiting)| *waiting == worker);
                        prop_assert!(place.is_some(), "it does not wait");
                        let (place, worker) = idle.remove(place.unwrap());
                        schedule.gone(place, worker);
                        continue;
                    }
                };
                prop_assert!(pushed.remove(&(work.key, work.message)), "handed out twice, or never pushed");
                let worker = work.worker.unwrap_or_else(|| { next_worker += 1; next_worker });
                idle.retain(|(_, waiting)| *waiting != worker);
                working.push((work.place, worker, work.message));
            }
            prop_assert!(working.len() + idle.len() <= total);
            prop_assert_eq!(schedule.workers(), working.len() + idle.len());
            prop_assert_eq!(schedule.idle_workers(), idle.len());
        }
        // Everything left is handed out once all answer and time goes on.
        for _ in 0..400 {
            for (place, worker, _) in working.drain(..) {
                schedule.reached(place);
                schedule.gone(place, worker);
            }
            for (place, worker) in idle.drain(..) {
                schedule.gone(place, worker);
            }
            now += seconds(400);
            while let Some(work) = schedule.next(now) {
                prop_assert!(pushed.remove(&(work.key, work.message)));
                working.push((work.place, 0, work.message));
            }
        }
        prop_assert!(pushed.is_empty(), "left behind: {:?}", pushed);
    }
}
