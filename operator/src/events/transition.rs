//! What is news about an object: its conditions before and after a write. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use postern_crds::condition::{ConditionType, Reason};

/// One event, before it has an object and a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// One for each condition whose status or reason is another one than before.
///
/// Not for `Ready` while it does not hold: the condition that is its reason says the same sentence. And not, of an object
/// that had no conditions yet, for those that hold as they should: `Ready` will say so.
pub(crate) fn transitions(before: &[Condition], after: &[Condition]) -> Vec<News> {
    let find = |among: &'_ [Condition], of: ConditionType| {
        among.iter().find(|condition| condition.type_ == of.as_str()).cloned()
    };
    let mut news = Vec::new();
    for of in ConditionType::ALL {
        let (was, is) = (find(before, *of), find(after, *of));
        let same = |was: &Condition, is: &Condition| was.status == is.status && was.reason == is.reason;
        match (was, is) {
            (Some(was), Some(is)) if same(&was, &is) => {}
            (was, Some(is)) => news.extend(told(*of, was.is_none(), is)),
            (Some(_), None) => news.extend(over(*of)),
            (None, None) => {}
        }
    }
    // The summary last: it is what the others come to.
    news.sort_by_key(|news| news.reason == Reason::Ready.as_str());
    news
}

/// What the end of a condition says that stands only while something is wrong.
fn over(of: ConditionType) -> Option<News> {
    let (reason, message) = match of {
        ConditionType::PartiallyInvalid => (Reason::Accepted, "all of it is in force"),
        ConditionType::MailKept => (Reason::NothingKept, "no volume without a relay holds mail"),
        _ => return None,
    };
    Some(News { warning: false, reason: reason.to_string(), message: message.to_owned() })
}

fn told(of: ConditionType, first: bool, is: Condition) -> Option<News> {
    let wanted = match of {
        ConditionType::PartiallyInvalid | ConditionType::MailKept => "False",
        _ => "True",
    };
    let holds = is.status == wanted;
    let said_by_another = match of {
        ConditionType::Ready => !holds,
        _ => holds && first,
    };
    let news =
        News { warning: !holds && is.reason != Reason::Pending.as_str(), reason: is.reason, message: is.message };
    (!said_by_another).then_some(news)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn conditions(all: &[(&str, &str, &str)]) -> Vec<Condition> {
        let condition = |(of, status, reason): &(&str, &str, &str)| Condition {
            type_: (*of).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: format!("{of} is {status}"),
            observed_generation: Some(1),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        all.iter().map(condition).collect()
    }

    fn news(before: &[(&str, &str, &str)], after: &[(&str, &str, &str)]) -> Vec<String> {
        let told = transitions(&conditions(before), &conditions(after));
        told.iter()
            .map(|news| {
                format!("{} {}: {}", if news.warning { "Warning" } else { "Normal" }, news.reason, news.message)
            })
            .collect()
    }

    const WAITS: [(&str, &str, &str); 4] = [
        ("Ready", "False", "NotProgrammed"),
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "True", "ResolvedRefs"),
        ("Programmed", "False", "Pending"),
    ];
    const READY: [(&str, &str, &str); 4] = [
        ("Ready", "True", "Ready"),
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "True", "ResolvedRefs"),
        ("Programmed", "True", "Programmed"),
    ];
    const DANGLES: [(&str, &str, &str); 4] = [
        ("Ready", "False", "UnresolvedRefs"),
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "False", "HostNotFound"),
        ("Programmed", "True", "Programmed"),
    ];

    #[test]
    fn what_stays_is_no_news() {
        assert_eq!(news(&READY, &READY), [""; 0]);
        let mut later = conditions(&READY);
        later[3].message = "3/3 relays".to_owned();
        later[3].observed_generation = Some(2);
        assert_eq!(transitions(&conditions(&READY), &later), []);
    }

    #[test]
    fn a_new_object_tells_what_it_waits_for_and_then_that_it_is_ready() {
        assert_eq!(news(&[], &WAITS), ["Normal Pending: Programmed is False"]);
        assert_eq!(news(&WAITS, &READY), ["Normal Programmed: Programmed is True", "Normal Ready: Ready is True"]);
        assert_eq!(news(&[], &READY), ["Normal Ready: Ready is True"]);
    }

    #[test]
    fn what_goes_wrong_is_a_warning_told_once_and_its_end_is_told_too() {
        assert_eq!(news(&READY, &DANGLES), ["Warning HostNotFound: ResolvedRefs is False"]);
        assert_eq!(
            news(&DANGLES, &READY),
            ["Normal ResolvedRefs: ResolvedRefs is True", "Normal Ready: Ready is True"]
        );
        let unreachable = [("Programmed", "Unknown", "RelayUnreachable")];
        assert_eq!(news(&READY, &unreachable), ["Warning RelayUnreachable: Programmed is Unknown"]);
    }

    #[test]
    fn another_reason_of_the_same_status_is_news() {
        let none = [("Programmed", "False", "NoRelay")];
        assert_eq!(news(&WAITS, &none), ["Warning NoRelay: Programmed is False"]);
    }

    #[test]
    fn a_part_that_is_not_in_force_is_a_warning_until_it_is() {
        let partial = [("PartiallyInvalid", "True", "Conflicted")];
        assert_eq!(news(&[], &partial), ["Warning Conflicted: PartiallyInvalid is True"]);
        assert_eq!(news(&partial, &[]), ["Normal Accepted: all of it is in force"]);
    }

    #[test]
    fn mail_that_was_left_is_a_warning_until_it_is_gone() {
        let kept = [("MailKept", "True", "ScaledIn")];
        assert_eq!(news(&[], &kept), ["Warning ScaledIn: MailKept is True"]);
        assert_eq!(news(&kept, &[]), ["Normal NothingKept: no volume without a relay holds mail"]);
        let unknown = [("MailKept", "Unknown", "Forbidden")];
        assert_eq!(news(&kept, &unknown), ["Warning Forbidden: MailKept is Unknown"]);
    }

    #[test]
    fn conditions_of_others_are_none_of_our_news() {
        assert_eq!(news(&[], &[("Theirs", "False", "Whatever")]), [""; 0]);
    }
}
