//! Everything that the objects say, or as much of it as there is room for. A total function.
//!
//! Who is in force already keeps what it has: nobody loses it to an object that grows. What is new then has its turn, hosts
//! and policies before the domains that name them, the oldest object first, and what finds no room is passed over: that object keeps its last good part, or has none yet, and is
//! told so; all others are published. So one that takes too much stops itself, and at most those that are younger.

use postern_crds::condition::Reason;
use postern_wire::settings::PACKED_SINCE;
use postern_wire::{Section, Snapshot};
use serde::Serialize;

use crate::inputs::{Inputs, Kind, Meta, Object, ObjectRef, Published};
use crate::problem::{Effect, Problem};
use crate::render::{Rendered, Room, render_within};
use crate::resolve::{Hold, Withheld, instead, last_good, resolve_without};

/// Each try compiles the whole DMZ. What is still undecided after so many waits for a change.
const TRIES_MAX: u32 = 40;

/// What is to be written, in this schema, and the problems of resolving it; those of rendering are in it.
pub fn fit(inputs: &Inputs, schema: u32, room: &Room) -> (Vec<Problem>, Rendered) {
    let all = attempt(inputs, schema, room, &Withheld::new());
    if fits(&all) || all.1.settings.schema < PACKED_SINCE {
        return all;
    }
    let candidates = candidates(inputs, &all.1.settings.snapshot);
    let mut withheld: Withheld = candidates.iter().map(|candidate| candidate.object.clone()).collect();
    let mut best = attempt(inputs, schema, room, &withheld);
    if !fits(&best) {
        return all;
    }
    let (mut begin, mut step, mut tries) = (0, 1, 0);
    let mut refused = i64::MAX;
    while begin < candidates.len() && tries < TRIES_MAX {
        let end = candidates.len().min(begin + step);
        // Who needs as much as one that found no room finds none either.
        let batch: Vec<_> = candidates[begin..end].iter().filter(|candidate| candidate.growth < refused).collect();
        if batch.is_empty() {
            begin = end;
            continue;
        }
        let mut without = withheld.clone();
        for candidate in &batch {
            without.remove(&candidate.object);
        }
        tries += 1;
        let tried = attempt(inputs, schema, room, &without);
        if fits(&tried) {
            (best, withheld, begin, step) = (tried, without, end, step * 2);
        } else if step > 1 {
            step /= 2;
        } else {
            refused = refused.min(batch[0].growth);
            begin = end;
        }
    }
    let left = candidates.iter().filter(|candidate| withheld.contains(&candidate.object));
    best.0.extend(left.map(|candidate| problem(candidate, room)));
    best
}

fn attempt(inputs: &Inputs, schema: u32, room: &Room, withheld: &Withheld) -> (Vec<Problem>, Rendered) {
    let (model, problems) = resolve_without(inputs, withheld);
    let rendered = render_within(room, &model, schema);
    (problems, rendered)
}

fn fits((_, rendered): &(Vec<Problem>, Rendered)) -> bool {
    rendered.hold != Some(Hold::Full)
}

/// An object that says something else than was published last.
struct Candidate<'a> {
    object: ObjectRef,
    meta: &'a Meta,
    /// Octets of what it says.
    bytes: usize,
    /// Octets more than what was published last.
    growth: i64,
    instead: String,
}

/// Hosts and policies first, for what a domain takes is known only with those that it names; of either the oldest first.
fn candidates<'a>(inputs: &'a Inputs, now: &Snapshot) -> Vec<Candidate<'a>> {
    let before: Option<&Snapshot> = inputs.published.as_deref().map(|Published { snapshot, secrets: _ }| snapshot);
    let mut all = Vec::new();
    all.extend(of_kind(Kind::RelayDomain, &inputs.domains, &now.domains, before.map(|it| &*it.domains)));
    all.extend(of_kind(Kind::RelayHost, &inputs.hosts, &now.hosts, before.map(|it| &*it.hosts)));
    all.extend(of_kind(Kind::FilterPolicy, &inputs.policies, &now.policies, before.map(|it| &*it.policies)));
    let place = |it: &Candidate<'_>| (it.object.kind == Kind::RelayDomain, it.meta.created);
    all.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.object.cmp(&b.object)));
    all
}

fn of_kind<'a, S, T: Serialize>(
    kind: Kind,
    objects: &'a [Object<S>],
    now: &[Section<T>],
    before: Option<&[Section<T>]>,
) -> impl Iterator<Item = Candidate<'a>> {
    objects.iter().filter_map(move |Object { meta, .. }| {
        let (said, kept) = (last_good(Some(now), meta)?, last_good(before, meta));
        if kept.is_some_and(|kept| (&kept.digest, kept.generation) == (&said.digest, said.generation)) {
            return None;
        }
        let (bytes, kept_bytes) = (bytes(said), kept.map_or(0, bytes));
        let growth = i64::try_from(bytes).unwrap_or(i64::MAX) - i64::try_from(kept_bytes).unwrap_or(i64::MAX);
        Some(Candidate { object: ObjectRef::new(kind, &meta.name), meta, bytes, growth, instead: instead(kept) })
    })
}

fn bytes<T: Serialize>(section: &Section<T>) -> usize {
    serde_json::to_vec(section).map_or(usize::MAX, |json| json.len())
}

fn problem(candidate: &Candidate<'_>, room: &Room) -> Problem {
    let Candidate { object, bytes, instead, .. } = candidate;
    let Room { object_bytes, shards, plain_bytes: _ } = room;
    let message = format!(
        "its {bytes} octets no longer fit into the settings of this DMZ, which {shards} objects of {object_bytes} octets hold \
         when compressed, and one of them its secrets; {instead}: shorten its lists, or give domains a namespace of their own"
    );
    Problem { object: object.clone(), effect: Effect::NotProgrammed, reason: Reason::SettingsFull, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{dmz, object};
    use crate::resolve::resolve;

    /// A domain of this age with so many recipients, which no compression makes much smaller.
    fn add(inputs: &mut Inputs, name: &str, age: i64, recipients: usize) {
        let address = |number| format!("{}@{name}.test", postern_wire::Digest::of(&(name, number)));
        let addresses: Vec<_> = (0..recipients).map(address).collect();
        let mut domain = object(
            name,
            json!({
                "domains": [format!("{name}.test")], "deliverTo": [{"name": "exchange"}],
                "recipients": {"mode": "Verify", "verify": [{"list": {"addresses": addresses}}]},
            }),
        );
        domain.meta.created = jiff::Timestamp::from_second(1_000_000_000 - age).expect("a time");
        inputs.domains.retain(|domain| domain.meta.name != name);
        inputs.domains.push(domain);
    }

    fn publish(inputs: &mut Inputs, room: &Room) {
        let (_, rendered) = fit(inputs, postern_wire::SCHEMA, room);
        let secrets = std::collections::BTreeMap::new();
        inputs.published = Some(std::sync::Arc::new(Published { snapshot: rendered.settings.snapshot, secrets }));
    }

    /// How many recipients of each domain are in force, and who is told that there is no room.
    fn outcome(inputs: &Inputs, room: &Room) -> (Vec<(String, usize)>, Vec<String>) {
        let (problems, rendered) = fit(inputs, postern_wire::SCHEMA, room);
        assert_eq!(rendered.hold, None);
        let count = |section: &Section<postern_wire::snapshot::Domain>| {
            (section.name.clone(), serde_json::to_string(section).expect("JSON").matches('@').count())
        };
        let full = problems
            .iter()
            .filter(|problem| (problem.effect, problem.reason) == (Effect::NotProgrammed, Reason::SettingsFull));
        let domains = rendered.settings.snapshot.domains.iter().map(count).collect();
        (domains, full.map(|problem| problem.object.name.clone()).collect())
    }

    fn counts(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// Room for about 100 recipients: 32 octets of each are chance.
    const ROOM: Room = Room { object_bytes: 5000, shards: 0, plain_bytes: 1 << 20 };

    fn empty() -> Inputs {
        let mut inputs = dmz();
        inputs.domains.clear();
        inputs
    }

    #[test]
    fn what_fits_is_taken_whole() {
        let mut inputs = empty();
        add(&mut inputs, "a", 1, 50);
        let (model, _) = resolve(&inputs);
        assert_eq!(fit(&inputs, postern_wire::SCHEMA, &ROOM).1.settings.snapshot.domains, model.domains);
    }

    #[test]
    fn of_new_objects_the_youngest_stay_out() {
        let mut inputs = empty();
        for (name, age) in [("c", 3), ("a", 1), ("d", 4), ("b", 2)] {
            add(&mut inputs, name, age, 30);
        }
        let (domains, full) = outcome(&inputs, &ROOM);
        assert_eq!((domains, full), (counts(&[("b", 30), ("c", 30), ("d", 30)]), vec!["a".to_owned()]));
    }

    #[test]
    fn who_grows_too_much_keeps_what_it_had_and_all_others_are_published() {
        let mut inputs = empty();
        add(&mut inputs, "old", 3, 20);
        add(&mut inputs, "middle", 2, 20);
        publish(&mut inputs, &ROOM);
        add(&mut inputs, "old", 3, 500);
        add(&mut inputs, "middle", 2, 25);
        add(&mut inputs, "young", 1, 10);
        let expected = counts(&[("middle", 25), ("old", 20), ("young", 10)]);
        assert_eq!(outcome(&inputs, &ROOM), (expected.clone(), vec!["old".to_owned()]));
        publish(&mut inputs, &ROOM);
        assert_eq!(outcome(&inputs, &ROOM), (expected, vec!["old".to_owned()]), "and again the same");
        add(&mut inputs, "old", 3, 21);
        assert_eq!(outcome(&inputs, &ROOM), (counts(&[("middle", 25), ("old", 21), ("young", 10)]), vec![]));
    }

    #[test]
    fn a_new_object_takes_nothing_from_one_in_force_however_old_it_claims_to_be() {
        let mut inputs = empty();
        add(&mut inputs, "young", 1, 60);
        publish(&mut inputs, &ROOM);
        add(&mut inputs, "old", 9, 80);
        assert_eq!(outcome(&inputs, &ROOM), (counts(&[("young", 60)]), vec!["old".to_owned()]));
    }

    #[test]
    fn of_many_that_are_alike_as_many_as_fit_are_taken_with_few_tries() {
        let mut inputs = empty();
        for number in 0..200 {
            add(&mut inputs, &format!("d{number:03}"), 1000 - number, 1);
        }
        let (domains, full) = outcome(&inputs, &ROOM);
        assert!(domains.len() > 20 && domains.len() + full.len() == 200, "{} of 200", domains.len());
        assert!(domains.iter().enumerate().all(|(index, (name, _))| *name == format!("d{index:03}")), "{domains:?}");
    }
}
