//! An explanation as data: what `-o json` prints and what the text is made of.

use std::collections::BTreeSet;

use postern_relay::address::Mailbox;
use postern_relay::smtp::Reply;
use serde::Serialize;

/// Where in a session a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    Connect,
    Client,
    Mail,
    Rcpt,
    Content,
    Route,
}

/// What comes of it. The strictest comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// It goes on.
    Accepted,
    /// It is stored, and waits until somebody changes the settings.
    Held,
    /// 4xx: the client comes again.
    Deferred,
    /// 5xx.
    Refused,
}

/// One step of a session.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) stage: Stage,
    pub(super) verdict: Verdict,
    /// The word for it in the relay's log and metrics.
    pub(super) rule: &'static str,
    /// What the client sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) says: String,
    /// The objects and fields that made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) by: Vec<String>,
    /// The RelayHosts that the mail goes to, `RelayHost/exchange`.
    #[serde(skip)]
    pub(super) hosts: Vec<String>,
}

/// What becomes of one recipient.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recipient {
    pub(super) recipient: String,
    pub(super) verdict: Verdict,
    pub(super) reply: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    /// As it would stand in the envelope, when it is accepted.
    #[serde(skip)]
    pub(super) mailbox: Option<Mailbox>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) recipients: Vec<Recipient>,
    pub(super) steps: Vec<Step>,
}

impl Verdict {
    pub(super) fn of(refusal: Option<&Reply>) -> Self {
        match refusal.map(|reply| reply.code) {
            None => Self::Accepted,
            Some(400..500) => Self::Deferred,
            Some(_) => Self::Refused,
        }
    }
}

impl Recipient {
    pub(super) fn new(recipient: String, verdict: Verdict, reply: &Reply) -> Self {
        Self { recipient, verdict, reply: reply.to_string(), route: None, mailbox: None }
    }
}

impl Answer {
    /// The strictest verdict of all recipients is that of the whole.
    pub(super) fn new(steps: Vec<Step>, recipients: Vec<Recipient>) -> Self {
        let verdict = recipients.iter().map(|recipient| recipient.verdict).max().unwrap_or(Verdict::Accepted);
        Self { verdict, recipients, steps }
    }

    /// Every object on the message's way, `KIND/NAME`: those that decide, and those that it goes to.
    pub(super) fn objects(&self) -> BTreeSet<&str> {
        let fields = self.steps.iter().flat_map(|step| step.by.iter().chain(&step.hosts));
        fields.filter_map(|field| field.split(' ').next()).filter(|object| object.contains('/')).collect()
    }
}
