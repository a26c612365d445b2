//! One line of a relay's log, as far as it tells of mail.

use serde::{Deserialize, Serialize};

/// The fields that the relay writes; those that are not there are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) timestamp: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) level: String,
    pub(super) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) queue_id: String,
    /// The message that a notification is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) about: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) proxy: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) tls: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) to: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reply: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) decision: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u64>,
    /// Seconds since it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) until: String,
}

impl Line {
    /// What stands before the JSON (a pod's name, a time) is passed over; what is no JSON is no line.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text.get(text.find('{')?..)?.trim_end()).ok()
    }

    /// The senders and recipients that it names, without their angle brackets, in lower case.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        let all = [self.from.as_str(), self.to.as_str()].into_iter().flat_map(split);
        all.map(str::to_lowercase).collect::<Vec<_>>().into_iter()
    }
}

/// `<a@example.com>,<b@example.com>`, or one address without brackets. A quoted local part may hold a comma.
fn split(text: &str) -> Vec<&str> {
    match text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
        Some(inner) => inner.split(">,<").collect(),
        None if text.is_empty() => Vec::new(),
        None => vec![text],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_however_they_are_written() {
        let line = |from: &str, to: &str| Line { from: from.to_owned(), to: to.to_owned(), ..Line::default() };
        let found = |line: Line| line.addresses().collect::<Vec<_>>();
        assert_eq!(
            found(line("<A@b.example>", "<c@d.example>,<\"x,y\"@z.example>")),
            ["a@b.example", "c@d.example", "\"x,y\"@z.example"]
        );
        assert_eq!(found(line("<>", "c@d.example")), ["", "c@d.example"]);
        assert_eq!(found(line("", "")), Vec::<String>::new());
    }

    #[test]
    fn what_stands_before_the_json_is_passed_over() {
        let line =
            Line::read("[pod/relay-0] 2026-01-01T00:00:00Z {\"message\":\"delivery\",\"queue_id\":\"X\",\"more\":1}\n")
                .unwrap();
        assert_eq!((&*line.message, &*line.queue_id), ("delivery", "X"));
        assert_eq!(Line::read("INFO delivery"), None);
        assert_eq!(Line::read("{not json"), None);
    }
}
