//! What DNS has answered in the last 24 hours: kept in memory, and written down for the next operator. Pure.
//!
//! It is written as an annotation on the NetworkPolicy that it feeds ([`ANNOTATION`]): each address with the hour in which it
//! was heard. As long as the same addresses are heard, it is written anew at most every six hours (`REWRITTEN`), so that a
//! second look writes nothing. What is read back may therefore have been heard up to seven hours later than it says, and is
//! believed for so much longer: an address stays for at least 24 hours after its last answer, and for 31 at most.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use postern_wire::snapshot::HostName;

/// The annotation: a JSON object, `{"mail.corp.example": {"10.20.0.11": "2026-11-27T17:00:00Z"}, "mx:example.com": {…}}`.
pub const ANNOTATION: &str = "postern.io/dns-answers";

/// How long an answer is believed after it was last heard.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);
/// What is written down is written anew when it is so old.
const REWRITTEN: SignedDuration = SignedDuration::from_hours(6);
/// Written times are whole hours.
const GRAIN_SECONDS: i64 = 3600;
/// Addresses of one name, those heard last: a name that answers ever others would fill its policy.
const ADDRESSES_MAX: usize = 512;
/// Addresses in one annotation, of all its names: about 130 KiB of the 256 that an object's annotations may have.
const WRITTEN_MAX: usize = 2000;

/// Each name with each address and when it was heard.
pub type History = BTreeMap<HostName, Answers>;
/// Each address and when it was heard.
pub type Answers = BTreeMap<IpAddr, Timestamp>;

/// What one name has answered.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// When each address was heard last.
    heard: Answers,
    /// Those that only an operator before has heard: the times of these are guesses, and are never written down.
    recalled: BTreeSet<IpAddr>,
    /// What is, or is to be, written down of that.
    written: Answers,
}

impl Heard {
    /// Takes an answer; an empty one when there was none. Whether there is anything else to be done now than before.
    pub(crate) fn hear(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Timestamp) -> bool {
        let before: Vec<IpAddr> = self.heard.keys().copied().collect();
        for address in addresses {
            self.heard.insert(address, now);
            self.recalled.remove(&address);
        }
        self.heard.retain(|_, heard| now.duration_since(*heard) < BELIEVED);
        keep_latest(&mut self.heard, ADDRESSES_MAX);
        self.write_down() || !self.heard.keys().eq(&before)
    }

    /// Takes what another operator wrote down.
    pub(crate) fn recall(&mut self, written: &Answers, now: Timestamp) {
        for (address, hour) in written {
            let hour = *hour.min(&now);
            let heard = (hour + REWRITTEN + SignedDuration::from_secs(GRAIN_SECONDS)).min(now);
            if now.duration_since(heard) < BELIEVED && !self.heard.contains_key(address) {
                self.heard.insert(*address, heard);
                self.recalled.insert(*address);
                self.written.insert(*address, hour);
            }
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.heard.keys().copied()
    }

    pub(crate) fn written(&self) -> &Answers {
        &self.written
    }

    /// Whether something else is to be written than before.
    fn write_down(&mut self) -> bool {
        let known = self.written.len();
        self.written.retain(|address, _| self.heard.contains_key(address));
        let own: Vec<_> = self.heard.iter().filter(|(address, _)| !self.recalled.contains(*address)).collect();
        let stale = |(address, heard): &(&IpAddr, &Timestamp)| {
            self.written.get(*address).is_none_or(|written| heard.duration_since(*written) >= REWRITTEN)
        };
        let is_stale = own.iter().any(stale);
        if is_stale {
            self.written.extend(own.into_iter().map(|(address, heard)| (*address, hour(*heard))));
        }
        is_stale || self.written.len() != known
    }
}

fn hour(time: Timestamp) -> Timestamp {
    let second = time.as_second();
    Timestamp::from_second(second - second.rem_euclid(GRAIN_SECONDS)).unwrap_or(time)
}

fn keep_latest(answers: &mut Answers, most: usize) {
    if answers.len() > most {
        let mut by_time: Vec<_> = answers.iter().map(|(address, heard)| (*heard, *address)).collect();
        by_time.sort();
        let (older, _) = by_time.split_at(by_time.len() - most);
        for (_, address) in older {
            answers.remove(address);
        }
    }
}

/// The annotation's value for a policy that these names feed; `None`: there is nothing to write down.
pub fn to_annotation(history: &History, names: impl Iterator<Item = HostName>) -> Option<String> {
    let mut all: BTreeMap<String, Answers> = BTreeMap::new();
    let mut room = WRITTEN_MAX;
    for name in names {
        let Some(answers) = history.get(&name).filter(|answers| !answers.is_empty()) else { continue };
        let mut answers = answers.clone();
        keep_latest(&mut answers, room);
        room -= answers.len();
        all.insert(key(&name), answers);
    }
    (!all.is_empty()).then(|| serde_json::to_string(&all).unwrap_or_default())
}

/// What an annotation says. Whatever is not of its form was not written by an operator of this version, and says nothing.
pub fn from_annotation(text: &str) -> History {
    let all: BTreeMap<String, Answers> = serde_json::from_str(text).unwrap_or_default();
    all.into_iter().map(|(key, answers)| (name(&key), answers)).collect()
}

/// A colon stands in no name.
const MX: &str = "mx:";

fn key(name: &HostName) -> String {
    match name {
        HostName::A(name) => name.clone(),
        HostName::Mx(domain) => format!("{MX}{domain}"),
    }
}

fn name(key: &str) -> HostName {
    match key.strip_prefix(MX) {
        Some(domain) => HostName::Mx(domain.to_owned()),
        None => HostName::A(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        let begin: Timestamp = "2026-11-27T17:10:00Z".parse().expect("a time");
        begin + SignedDuration::from_mins(minutes)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn addresses(heard: &Heard) -> Vec<IpAddr> {
        heard.addresses().collect()
    }

    const DAY: i64 = 24 * 60;

    #[test]
    fn an_answer_is_believed_for_a_day_after_it_was_last_heard() {
        let mut heard = Heard::default();
        assert!(heard.hear([address(1)], at(0)));
        assert!(heard.hear([address(2)], at(60)));
        assert!(!heard.hear([], at(DAY - 1)), "a failure changes nothing");
        assert_eq!(addresses(&heard), [address(1), address(2)]);
        assert!(heard.hear([address(2)], at(DAY)));
        assert_eq!(addresses(&heard), [address(2)]);
        assert!(heard.hear([], at(2 * DAY)));
        assert_eq!(addresses(&heard), [] as [IpAddr; 0]);
    }

    #[test]
    fn the_same_answer_again_is_written_down_every_six_hours_and_no_sooner() {
        let mut heard = Heard::default();
        heard.hear([address(1)], at(0));
        let first = heard.written().clone();
        assert_eq!(first[&address(1)].to_string(), "2026-11-27T17:00:00Z");
        let mut written = 0;
        for minute in 1..=DAY {
            written += i64::from(heard.hear([address(1)], at(minute)));
        }
        assert_eq!(written, 4);
        assert_ne!(*heard.written(), first);
    }

    #[test]
    fn the_next_operator_believes_all_for_a_day_after_it_was_heard_and_not_for_ever() {
        let mut one = Heard::default();
        one.hear([address(1)], at(0));
        for minute in (0..350).step_by(5) {
            one.hear([address(1)], at(minute));
        }
        one.hear([address(2)], at(355));
        // Heard last in minute 345; the next operator begins a moment later, and hears only of the other one.
        let mut two = Heard::default();
        two.recall(one.written(), at(360));
        assert_eq!(addresses(&two), [address(1), address(2)]);
        assert!(!two.hear([address(2)], at(360)), "nothing is to be written");
        two.hear([address(2)], at(345 + DAY - 1));
        assert_eq!(addresses(&two), [address(1), address(2)]);
        two.hear([address(2)], at(345 + DAY + 7 * 60));
        assert_eq!(addresses(&two), [address(2)]);

        // However often operators follow one another.
        let mut last = one;
        for hours in 6..40 {
            let mut next = Heard::default();
            next.recall(last.written(), at(hours * 60));
            next.hear([address(2)], at(hours * 60));
            last = next;
        }
        assert_eq!(addresses(&last), [address(2)]);
    }

    #[test]
    fn what_was_written_by_a_clock_that_goes_before_ours_is_believed_for_a_day_too() {
        let mut heard = Heard::default();
        heard.recall(&Answers::from([(address(1), at(100 * DAY))]), at(0));
        heard.hear([], at(DAY - 1));
        assert_eq!(addresses(&heard), [address(1)]);
        heard.hear([], at(DAY));
        assert_eq!(addresses(&heard), [] as [IpAddr; 0]);
    }

    #[test]
    fn a_name_that_answers_ever_others_keeps_the_latest() {
        let mut heard = Heard::default();
        for number in 0..1000_u32 {
            heard.hear([IpAddr::from((0x0a00_0000 + number).to_be_bytes())], at(i64::from(number)));
        }
        assert_eq!(addresses(&heard).len(), ADDRESSES_MAX);
        assert!(addresses(&heard).contains(&IpAddr::from([10, 0, 3, 231])));
        assert_eq!(heard.written().len(), ADDRESSES_MAX);
    }

    #[test]
    fn the_annotation_is_read_back_as_it_was_written_is_bounded_and_holds_only_what_feeds_the_policy() {
        let names = [HostName::A("mail.example".to_owned()), HostName::Mx("example.com".to_owned())];
        let mut history: History =
            names.iter().map(|name| (name.clone(), Answers::from([(address(1), hour(at(0)))]))).collect();
        history.insert(HostName::A("other.example".to_owned()), Answers::from([(address(3), at(0))]));
        let text = to_annotation(&history, names.iter().cloned()).expect("an annotation");
        assert_eq!(
            text,
            r#"{"mail.example":{"192.0.2.1":"2026-11-27T17:00:00Z"},"mx:example.com":{"192.0.2.1":"2026-11-27T17:00:00Z"}}"#
        );
        let read = from_annotation(&text);
        assert_eq!(read.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        assert_eq!(to_annotation(&read, names.iter().cloned()), Some(text));
        assert_eq!(to_annotation(&history, std::iter::empty()), None);
        for nonsense in
            ["", "{}", "[]", r#"{"a":{"nonsense":"2026-11-27T17:00:00Z"}}"#, r#"{"a":{"192.0.2.1":"soon"}}"#]
        {
            assert!(from_annotation(nonsense).is_empty(), "{nonsense}");
        }

        let many = |host: u16| {
            let answer = |number: u16| (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, host, number]), hour(at(0)));
            (HostName::A(format!("{host}.example")), (0..512).map(answer).collect())
        };
        let history: History = (0..16).map(many).collect();
        let text = to_annotation(&history, history.keys().cloned()).expect("an annotation");
        assert!(text.len() < 200 << 10, "{}", text.len());
        assert_eq!(from_annotation(&text).values().map(BTreeMap::len).sum::<usize>(), WRITTEN_MAX);
    }
}
