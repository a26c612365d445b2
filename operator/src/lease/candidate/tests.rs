use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall(now: Duration) -> Timestamp {
    Timestamp::from_microsecond(1_800_000_000_000_000 + i64::try_from(now.as_micros()).expect("a time"))
        .expect("a time")
}

fn candidate(identity: &str) -> Candidate {
    Candidate::new(identity, LeaseTimes::default())
}

fn lease(holder: &str, renewed: u64, transitions: i32) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(transitions),
        renew_time: Some(MicroTime(wall(seconds(renewed)))),
        ..LeaseSpec::default()
    };
    Lease { spec: Some(spec), ..Lease::default() }
}

#[test]
fn a_lease_that_does_not_exist_or_was_given_back_is_taken() {
    let mut one = candidate("one");
    one.saw(None, seconds(0));
    assert_eq!(one.step(seconds(0)), Action::Write(Claim::Take(0)));
    one.saw(Some(lease("", 0, 4)), seconds(1));
    assert_eq!(one.step(seconds(1)), Action::Write(Claim::Take(5)));
}

#[test]
fn a_lease_is_free_when_it_says_the_same_for_its_whole_duration_whatever_time_stands_in_it() {
    let mut one = candidate("one");
    // Renewed in another century, or yet to come: only whether it changes counts.
    for (began, renewed) in [(0, 0), (100, 4_000_000_000)] {
        one.saw(Some(lease("two", renewed, 4)), seconds(began));
        assert_eq!(one.step(seconds(began + 14)), Action::Wait);
        one.saw(Some(lease("two", renewed, 4)), seconds(began + 14));
        assert_eq!(one.step(seconds(began + 15)), Action::Write(Claim::Take(5)));
    }
}

#[test]
fn each_renewal_that_is_seen_begins_the_wait_anew_and_a_label_does_not() {
    let mut one = candidate("one");
    one.saw(Some(lease("two", 0, 0)), seconds(0));
    one.saw(Some(lease("two", 2, 0)), seconds(14));
    assert_eq!(one.step(seconds(28)), Action::Wait);
    let mut labelled = lease("two", 2, 0);
    labelled.metadata.resource_version = Some("77".to_owned());
    one.saw(Some(labelled), seconds(20));
    assert_eq!(one.step(seconds(29)), Action::Write(Claim::Take(1)));
}

#[test]
fn the_holders_own_duration_holds_within_what_a_flag_can_say() {
    for (written, holds) in [(Some(60), 60), (Some(0), 3), (Some(-1), 15), (None, 15), (Some(i32::MAX), 300)] {
        let mut one = candidate("one");
        let mut other = lease("two", 0, 0);
        other.spec.as_mut().expect("a spec").lease_duration_seconds = written;
        one.saw(Some(other), seconds(0));
        assert_eq!(one.step(seconds(holds) - Duration::from_millis(1)), Action::Wait, "{written:?}");
        assert_eq!(one.step(seconds(holds)), Action::Write(Claim::Take(1)), "{written:?}");
        assert_eq!(one.look_again(seconds(holds) - Duration::from_millis(1)), seconds(holds), "{written:?}");
    }
}

#[test]
fn a_leader_leads_for_its_deadline_from_before_it_asked_and_not_when_another_holds_the_lease() {
    let mut one = candidate("one");
    one.saw(None, seconds(1));
    one.wrote(one.write("lease", &Claim::Take(0), wall(seconds(1))), seconds(1), seconds(4));
    assert_eq!(one.leads_until(seconds(10)), Some(seconds(11)));
    assert_eq!(one.leads_until(seconds(11)), None);
    assert_eq!(one.step(seconds(9)), Action::Write(Claim::Renew));
    one.saw(Some(lease("two", 5, 1)), seconds(5));
    assert_eq!(one.leads_until(seconds(5)), None);
    assert!(one.held().is_none());
}

#[test]
fn a_renewal_keeps_when_and_how_often_it_was_taken_and_whatever_else_stands_there() {
    let mut one = candidate("one");
    let mut found = lease("", 0, 4);
    found.metadata.resource_version = Some("7".to_owned());
    found.metadata.labels = Some([("theirs".to_owned(), "1".to_owned())].into());
    one.saw(Some(found), seconds(1));
    let taken = one.write("lease", &Claim::Take(5), wall(seconds(1)));
    one.wrote(taken.clone(), seconds(1), seconds(1));
    let renewed = one.write("lease", &Claim::Renew, wall(seconds(3)));
    assert_eq!(renewed.metadata, taken.metadata);
    let (taken, renewed) = (taken.spec.expect("a spec"), renewed.spec.expect("a spec"));
    assert_eq!((taken.acquire_time.clone(), taken.lease_transitions), (taken.renew_time.clone(), Some(5)));
    assert_eq!((renewed.acquire_time, renewed.lease_transitions), (taken.acquire_time, Some(5)));
    assert_eq!(renewed.renew_time, Some(MicroTime(wall(seconds(3)))));
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What a simulated operator is doing.
#[expect(clippy::large_enum_variant, reason = "there are three of them")]
enum Doing {
    Sleeping(Duration),
    /// The question arrives at the first time; its answer, if it is not lost, is back at the second.
    Reading(Duration, Duration, Option<Option<Lease>>),
    Writing(Duration, Duration, Lease, Option<Result<Lease, ()>>),
}

struct Operator {
    candidate: Candidate,
    asked: Duration,
    doing: Doing,
    /// Its clock: begins somewhere, and runs at so many thousandths of the true time.
    offset: Duration,
    rate: u32,
    cut_off: bool,
}

impl Operator {
    fn clock(&self, now: Duration) -> Duration {
        self.offset + now * self.rate / 1000
    }
}

#[derive(Default)]
struct Store {
    lease: Option<Lease>,
    version: u64,
    changes: i32,
}

impl Store {
    fn take(&mut self, mut wanted: Lease) -> Result<Lease, ()> {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        if self.lease.as_ref().and_then(version) != version(&wanted) {
            return Err(());
        }
        let holder = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        self.changes += i32::from(self.lease.as_ref().is_some_and(|lease| holder(lease) != holder(&wanted)));
        self.version += 1;
        wanted.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(wanted.clone());
        Ok(wanted)
    }
}

/// One step of one operator; messages take up to so many milliseconds each way, and are lost on whoever is cut off.
fn act(operator: &mut Operator, store: &mut Store, dice: &mut Dice, slow: u64, now: Duration) {
    let local = operator.clock(now);
    let there = now + Duration::from_millis(dice.below(slow));
    let home = there + Duration::from_millis(dice.below(slow));
    let pause = |operator: &Operator| Doing::Sleeping(now + operator.candidate.times.retry_period);
    let cut_off = operator.cut_off;
    operator.doing = match std::mem::replace(&mut operator.doing, Doing::Sleeping(now)) {
        Doing::Sleeping(until) if now < until => Doing::Sleeping(until),
        Doing::Sleeping(_) => {
            operator.asked = local;
            Doing::Reading(there, home, None)
        }
        Doing::Reading(arrives, back, None) if now >= arrives && !cut_off => {
            Doing::Reading(arrives, back, Some(store.lease.clone()))
        }
        Doing::Reading(_, back, Some(found)) if now >= back && !cut_off => {
            operator.candidate.saw(found, local);
            match operator.candidate.step(local) {
                Action::Wait => pause(operator),
                Action::Write(claim) => {
                    let lease = operator.candidate.write("lease", &claim, wall(now));
                    Doing::Writing(there, home, lease, None)
                }
            }
        }
        Doing::Writing(arrives, back, lease, None) if now >= arrives && !cut_off => {
            let answer = store.take(lease.clone());
            Doing::Writing(arrives, back, lease, Some(answer))
        }
        Doing::Writing(_, back, _, Some(answer)) if now >= back && !cut_off => {
            if let Ok(lease) = answer {
                operator.candidate.wrote(lease, operator.asked, local);
            }
            pause(operator)
        }
        // Given up: what is under way may still arrive, which is the worst of it.
        Doing::Writing(arrives, back, lease, None) if now >= back + seconds(5) => {
            if now >= arrives {
                let _ = store.take(lease);
            }
            pause(operator)
        }
        Doing::Reading(_, back, _) | Doing::Writing(_, back, _, Some(_)) if now >= back + seconds(5) => pause(operator),
        other => other,
    };
}

#[test]
fn whatever_is_slow_lost_or_cut_off_never_do_two_lead_and_in_the_end_one_does() {
    let (mut led_by_each, mut changes) = ([0_u32; 3], 0);
    for seed in 1..=100_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut store = Store::default();
        let mut operators: Vec<_> = ["one", "two", "three"]
            .into_iter()
            .map(|identity| Operator {
                candidate: candidate(identity),
                asked: seconds(0),
                doing: Doing::Sleeping(Duration::from_millis(dice.below(3000))),
                offset: seconds(dice.below(1000)),
                rate: 950 + u32::try_from(dice.below(100)).expect("small"),
                cut_off: false,
            })
            .collect();
        for tick in 0..6000_u64 {
            let now = Duration::from_millis(tick * 50);
            for (index, operator) in operators.iter_mut().enumerate() {
                // For the last minute everything works.
                let (calm, cut) = (tick > 4800, dice.below(400));
                operator.cut_off = match cut {
                    _ if calm => false,
                    0 => !operator.cut_off,
                    _ => operator.cut_off,
                };
                act(operator, &mut store, &mut dice, if calm { 100 } else { 3000 }, now);
                led_by_each[index] += u32::from(operator.candidate.leads(operator.clock(now)));
            }
            let leading = operators.iter().filter(|operator| operator.candidate.leads(operator.clock(now)));
            let leading: Vec<_> = leading.map(|operator| operator.candidate.identity.as_str()).collect();
            assert!(leading.len() <= 1, "seed {seed}, {now:?}: {leading:?} lead at once");
            assert!(tick < 5999 || leading.len() == 1, "seed {seed}: nobody leads in the end");
        }
        let transitions = store.lease.and_then(|lease| lease.spec).and_then(|spec| spec.lease_transitions);
        assert_eq!(transitions, Some(store.changes), "seed {seed}: every change of holders is counted");
        changes += store.changes;
    }
    assert!(led_by_each.iter().all(|ticks| *ticks > 10_000) && changes > 100, "{led_by_each:?}, {changes} changes");
}
