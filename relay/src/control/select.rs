//! Which messages a filter means. Pure: what the index knows is asked first, the envelope only of what is left.

use std::collections::HashSet;

use jiff::Timestamp;

use super::answer::Message;
use super::ask::{Filter, Sort, State};
use crate::address::{Domain, Mailbox, ReversePath};
use crate::queue_id::QueueId;
use crate::spool::Queued;

/// A filter that was understood.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    ids: HashSet<QueueId>,
    state: Option<State>,
    /// Accepted after this.
    after: Option<Timestamp>,
    /// Accepted before this.
    before: Option<Timestamp>,
    sender: Option<Pattern>,
    recipients: Vec<Pattern>,
    host: Option<String>,
}

/// What an address is held against.
#[derive(Clone, Debug)]
enum Pattern {
    Empty,
    /// In lower case.
    Address(String),
    Domain(Domain),
}

impl Pattern {
    fn parse(field: &str, text: &str) -> Result<Self, String> {
        let domain = |text: &str| {
            let name = text.parse::<Domain>();
            name.map(Self::Domain).map_err(|error| format!("{field} {text:?}: {error}"))
        };
        match text.strip_prefix('@') {
            _ if text.is_empty() || text == "<>" => Ok(Self::Empty),
            Some(name) => domain(name),
            None if field == "domain" => domain(text),
            None => {
                let address = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
                let mailbox = address.parse::<Mailbox>();
                let mailbox = mailbox.map_err(|error| format!("{field} {text:?}: {error}"))?;
                Ok(Self::Address(mailbox.to_string().to_lowercase()))
            }
        }
    }

    fn matches(&self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Empty => false,
            Self::Address(address) => mailbox.to_string().to_lowercase() == *address,
            Self::Domain(domain) => mailbox.domain() == domain,
        }
    }
}

impl Selection {
    /// Understands a filter, or says which part of it is no such thing.
    pub(super) fn new(filter: &Filter, now: Timestamp) -> Result<Self, String> {
        let Filter { ids, sender, recipient, domain, host, state, older_than, younger_than } = filter;
        let pattern = |field: &'static str, text: &Option<String>| {
            text.as_deref().map(|text| Pattern::parse(field, text)).transpose()
        };
        let ago = |seconds: &Option<u64>| {
            let ago = |seconds: u64| now.saturating_sub(std::time::Duration::from_secs(seconds));
            seconds.map(|seconds| ago(seconds).unwrap_or(Timestamp::MIN))
        };
        let recipients = [pattern("recipient", recipient)?, pattern("domain", domain)?];
        Ok(Self {
            ids: ids.iter().copied().collect(),
            state: *state,
            before: ago(older_than),
            after: ago(younger_than),
            sender: pattern("sender", sender)?,
            recipients: recipients.into_iter().flatten().collect(),
            host: host.as_ref().map(|host| host.to_lowercase()),
        })
    }

    /// Whether the index cannot say.
    pub(super) fn needs_envelope(&self) -> bool {
        self.sender.is_some() || !self.recipients.is_empty() || self.host.is_some()
    }

    /// Whether a message may be meant, as far as the index knows.
    pub(super) fn may_mean(&self, queued: &Queued) -> bool {
        (self.ids.is_empty() || self.ids.contains(&queued.id))
            && self.state.is_none_or(|wanted| state(queued) == wanted)
            && self.before.is_none_or(|before| queued.arrived < before)
            && self.after.is_none_or(|after| queued.arrived > after)
    }

    /// Whether a message that may be meant is.
    pub(super) fn means(&self, message: &Message) -> bool {
        let sender = match (&self.sender, &message.sender) {
            (None, _) | (Some(Pattern::Empty), ReversePath::Null) => true,
            (Some(pattern), sender) => sender.mailbox().is_some_and(|mailbox| pattern.matches(mailbox)),
        };
        let mut recipients = self.recipients.iter();
        sender
            && recipients.all(|wanted| message.pending.iter().any(|pending| wanted.matches(&pending.recipient)))
            && self.host.as_ref().is_none_or(|host| goes_to(message, host))
    }
}

fn goes_to(message: &Message, host: &str) -> bool {
    let server = |server: &str| server.split('[').next().unwrap_or_default().to_lowercase();
    message.pending.iter().any(|pending| {
        pending.destination.hosts.iter().any(|name| name.to_lowercase() == host)
            || pending.last.as_ref().is_some_and(|remote| server(&remote.server) == host)
    })
}

/// How a message stands.
pub(super) fn state(queued: &Queued) -> State {
    match queued {
        Queued { claimed: true, .. } => State::Trying,
        Queued { held: true, .. } => State::Held,
        Queued { .. } => State::Waiting,
    }
}

/// What puts messages into an order.
pub(super) fn key(sort: Sort, queued: &Queued) -> i64 {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match sort {
        Sort::Age => queued.arrived.as_second(),
        Sort::Size => -number(queued.size),
        Sort::Next => queued.due.as_millisecond(),
        Sort::Attempts => -number(queued.attempts.into()),
    }
}
