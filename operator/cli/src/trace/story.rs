//! From lines to what happened to each message, in one pass: what is known of a message by one line finds its others. A first
//! attempt may be told a moment before the acceptance that it follows, so the last lines are remembered.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::str::FromStr;

use postern_relay::queue_id::QueueId;
use serde::Serialize;

use super::line::Line;

/// Lines of messages that are not followed, which are remembered.
const REMEMBERED: usize = 4096;
/// The relay's word for the beginning.
const ACCEPTED: &str = "message accepted";

/// Which messages are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Id(String),
    /// In lower case; empty for `<>`.
    Address(String),
    /// Every address of this domain, in lower case.
    Domain(String),
}

/// An event, and in whose log it stands.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) relay: String,
    #[serde(flatten)]
    pub(super) line: Line,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    pub(super) messages: Vec<Message>,
    /// What was refused before it was a message.
    pub(super) refused: Vec<Event>,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) queue_id: String,
    pub(super) events: Vec<Event>,
}

/// What was heard so far.
#[derive(Debug)]
pub(super) struct Story {
    wanted: Wanted,
    /// Messages that are followed.
    ids: HashSet<String>,
    messages: BTreeMap<String, Vec<Event>>,
    refused: Vec<Event>,
    recent: VecDeque<Event>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        match (inner.strip_prefix('@'), inner.parse::<QueueId>()) {
            (Some(domain), _) if !domain.is_empty() => Ok(Self::Domain(domain.to_lowercase())),
            (None, Ok(id)) => Ok(Self::Id(id.to_string())),
            (None, Err(_)) if text == "<>" || inner.contains('@') => Ok(Self::Address(inner.to_lowercase())),
            _ => Err("neither a queue id of 16 characters nor an address; @DOMAIN means all of a domain".to_owned()),
        }
    }
}

impl Wanted {
    fn is_in(&self, line: &Line) -> bool {
        match self {
            Self::Id(id) => line.queue_id == *id || line.about == *id,
            Self::Address(wanted) => line.addresses().any(|address| address == *wanted),
            Self::Domain(wanted) => {
                line.addresses().any(|address| address.rsplit_once('@').is_some_and(|(_, domain)| domain == wanted))
            }
        }
    }
}

impl Story {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, ids: HashSet::new(), messages: BTreeMap::new(), refused: Vec::new(), recent: VecDeque::new() }
    }

    /// One line of a relay's log.
    pub(super) fn hear(&mut self, relay: &str, text: &str) {
        let Some(line) = Line::read(text) else { return };
        let is_followed = |id: &str| !id.is_empty() && self.ids.contains(id);
        let wanted = self.wanted.is_in(&line) || is_followed(&line.queue_id) || is_followed(&line.about);
        let event = Event { relay: relay.to_owned(), line };
        match (wanted, event.line.queue_id.is_empty()) {
            (true, true) => self.refused.push(event),
            (true, false) => self.take(event),
            (false, true) => {}
            (false, false) => {
                self.recent.push_back(event);
                if self.recent.len() > REMEMBERED {
                    self.recent.pop_front();
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        let Line { queue_id, about, .. } = event.line.clone();
        self.follow(&queue_id);
        // A notification stands with the message that it is about, too.
        if !about.is_empty() {
            self.follow(&about);
            self.messages.entry(about).or_default().push(event.clone());
        }
        self.messages.entry(queue_id).or_default().push(event);
    }

    fn follow(&mut self, id: &str) {
        if self.ids.insert(id.to_owned()) {
            let recent = std::mem::take(&mut self.recent);
            let (found, others): (VecDeque<_>, _) = recent.into_iter().partition(|event| event.line.queue_id == id);
            self.recent = others;
            self.messages.entry(id.to_owned()).or_default().extend(found);
        }
    }

    /// In the order of time.
    pub(super) fn end(self) -> Told {
        let Self { messages, mut refused, .. } = self;
        let time = |event: &Event| event.line.timestamp.clone();
        let mut messages: Vec<Message> = messages
            .into_iter()
            .map(|(queue_id, mut events)| {
                events.sort_by_key(|event| (event.line.message != ACCEPTED, time(event)));
                Message { queue_id, events }
            })
            .collect();
        messages.sort_by_key(|message| message.events.first().map(time));
        refused.sort_by_key(time);
        Told { messages, refused }
    }
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[&str] = &[
        r#"{"timestamp":"2026-01-01T10:00:00Z","message":"no connection","queue_id":"06H08JKHTMZKN8K8","host":"first","reply":"refused"}"#,
        r#"{"timestamp":"2026-01-01T10:00:00Z","message":"message accepted","queue_id":"06H08JKHTMZKN8K8","from":"<a@b.example>","to":"<bob@contoso.com>,<eve@contoso.com>"}"#,
        r#"{"timestamp":"2026-01-01T10:00:01Z","message":"no connection","queue_id":"06H08JKHTMZKN8K8","host":"mx","reply":"refused"}"#,
        r#"{"timestamp":"2026-01-01T10:00:01Z","message":"no connection","queue_id":"06H08JKHTMZKN8K9","host":"mx","reply":"refused"}"#,
        r#"{"timestamp":"2026-01-01T10:00:02Z","message":"delivery","queue_id":"06H08JKHTMZKN8K8","from":"<a@b.example>","to":"eve@contoso.com","decision":"failed"}"#,
        r#"{"timestamp":"2026-01-01T10:00:03Z","message":"notification","queue_id":"06H08JKHTMZKN8KA","about":"06H08JKHTMZKN8K8"}"#,
        r#"{"timestamp":"2026-01-01T10:00:04Z","message":"delivery","queue_id":"06H08JKHTMZKN8KA","from":"<>","to":"a@b.example","decision":"delivered"}"#,
        r#"{"timestamp":"2026-01-01T09:00:00Z","message":"refused","client":"192.0.2.7","from":"<a@b.example>","to":"<nobody@contoso.com>"}"#,
        "no line of ours",
    ];

    #[test]
    fn a_story_begins_with_the_acceptance() {
        let mut story = Story::new("@contoso.com".parse().unwrap());
        LOG.iter().for_each(|line| story.hear("relay-0", line));
        assert_eq!(story.end().messages[0].events[0].line.message, ACCEPTED);
    }

    fn told(wanted: &str) -> (Vec<(String, usize)>, usize) {
        let mut story = Story::new(wanted.parse().unwrap());
        LOG.iter().for_each(|line| story.hear("relay-0", line));
        let told = story.end();
        let messages = told.messages.into_iter().map(|message| (message.queue_id, message.events.len()));
        (messages.collect(), told.refused.len())
    }

    #[test]
    fn a_message_is_followed_to_the_notification_about_it() {
        let both = vec![("06H08JKHTMZKN8K8".to_owned(), 5), ("06H08JKHTMZKN8KA".to_owned(), 2)];
        assert_eq!(told("06h08jkhtmzkn8k8"), (both.clone(), 0));
        assert_eq!(told("BOB@contoso.com"), (both.clone(), 0));
        assert_eq!(told("<a@b.example>"), (both.clone(), 1));
        assert_eq!(told("@contoso.com"), (both, 1));
        assert_eq!(told("nobody@contoso.com"), (Vec::new(), 1));
        assert_eq!(told("<>"), (vec![("06H08JKHTMZKN8KA".to_owned(), 2)], 0));
        assert_eq!(told("ob@contoso.com"), (Vec::new(), 0));
        assert!("word".parse::<Wanted>().is_err() && "@".parse::<Wanted>().is_err());
    }
}
