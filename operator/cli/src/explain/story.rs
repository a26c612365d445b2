//! What the relay would do with a message, step by step, as its own rules and routes tell it. Pure: it asks them the
//! questions that the server asks, in the same order, and decides nothing itself.

use std::sync::Arc;

use postern_relay::address::{ForwardPath, Mailbox};
use postern_relay::config::Config;
use postern_relay::policy::evidence::{Entry, Known, Veil};
use postern_relay::policy::recipient::Found;
use postern_relay::policy::resolved::Resolved;
use postern_relay::policy::{Client, ContentFacts, Decision, Party, Transaction};
use postern_relay::smtp::Reply;
use postern_wire::Snapshot;
use postern_wire::snapshot::HostName;

use super::ask::Question;
use super::route;
use super::step::{Answer, Recipient, Stage, Step, Verdict};

/// The settings that are asked.
pub(super) struct Settings {
    pub(super) snapshot: Snapshot,
    pub(super) config: Config,
    pub(super) resolved: Resolved,
}

/// The question leaves open what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderFromNeeded;

/// Tells it all.
pub(super) fn tell(settings: &Settings, question: &Question) -> Result<Answer, HeaderFromNeeded> {
    let client = question.client(&settings.snapshot);
    let mut story = Story { settings, question, steps: Vec::new() };
    let recipients = story.all(&client)?;
    Ok(Answer::new(story.steps, recipients))
}

struct Story<'a> {
    settings: &'a Settings,
    question: &'a Question,
    steps: Vec<Step>,
}

impl Story<'_> {
    /// Stops where the client would be sent away.
    fn all(&mut self, client: &Client) -> Result<Vec<Recipient>, HeaderFromNeeded> {
        let rules = &self.settings.config.rules;
        let connected = rules.connect(client, &self.settings.resolved);
        self.connect(client, &connected);
        if let Some(reply) = &connected.refusal {
            return Ok(self.everyone(reply));
        }
        self.client(client);
        let Question { sender, size, .. } = self.question;
        let (decision, mut transaction) = rules.mail(client, &self.settings.resolved, sender.clone(), *size);
        self.mail(&decision, &transaction);
        if let Some(reply) = &decision.refusal {
            return Ok(self.everyone(reply));
        }
        let mut recipients: Vec<Recipient> =
            self.question.recipients.iter().map(|to| self.rcpt(&mut transaction, to)).collect();
        if recipients.iter().any(|recipient| recipient.verdict == Verdict::Accepted) {
            self.content(&mut transaction, &mut recipients)?;
        }
        Ok(recipients)
    }

    /// The same answer for every recipient.
    fn everyone(&self, reply: &Reply) -> Vec<Recipient> {
        let recipients = self.question.recipients.iter();
        recipients.map(|to| Recipient::new(to.to_string(), Verdict::of(Some(reply)), reply)).collect()
    }

    fn push(&mut self, stage: Stage, decision: &Decision, yes: Option<Reply>, says: String, by: Vec<String>) {
        let reply = decision.refusal.clone().or(yes).map(|reply| reply.to_string());
        let verdict = Verdict::of(decision.refusal.as_ref());
        self.steps.push(Step { stage, verdict, rule: decision.rule, reply, says, by, hosts: Vec::new() });
    }

    fn note(&mut self, stage: Stage, says: String, by: Vec<String>) {
        self.steps.push(Step {
            stage,
            verdict: Verdict::Accepted,
            rule: "accepted",
            reply: None,
            says,
            by,
            hosts: Vec::new(),
        });
    }

    fn connect(&mut self, client: &Client, decision: &Decision) {
        let rules = &self.settings.config.rules;
        let address = client.address.to_canonical();
        let entries: Vec<String> = rules.blocking(client.address, &self.settings.resolved).map(entry).collect();
        let says = match entries.is_empty() {
            true => format!("{address} is not blocked."),
            false => format!("{address} is blocked by {}.", entries.join(" and ")),
        };
        let policy = rules.policy_named("default").map(|_| "FilterPolicy/default spec.connections.blockedClients");
        self.push(Stage::Connect, decision, None, says, policy.map(str::to_owned).into_iter().collect());
    }

    /// By which entries it is a source; or, where it is none, what comes close to making it one.
    fn client(&mut self, client: &Client) {
        let rules = &self.settings.config.rules;
        let evidence: Vec<_> = rules.evidence(client, &self.settings.resolved).collect();
        if !evidence.is_empty() {
            let means = evidence.iter().map(|found| format!("RelayHost {}, by {}", found.host, entry(found.entry)));
            let says = format!("A source of {}.", means.collect::<Vec<_>>().join("; and of "));
            let mut by: Vec<String> =
                evidence.iter().map(|found| format!("RelayHost/{} spec.sources", found.host)).collect();
            by.dedup();
            return self.note(Stage::Client, says, by);
        }
        let address = client.address.to_canonical();
        let (mut says, mut by) = (format!("An outsider: no RelayHost has {address} among its sources."), Vec::new());
        if let Some(veil) = rules.veil(client) {
            let else_by = rules.by_address(client.address, &self.settings.resolved);
            let hosts: Vec<&str> = else_by.map(|found| &**found.host).collect();
            says = format!("An outsider: {address} {veil}.");
            if !hosts.is_empty() {
                says.push_str(&format!(" Else it were one of {}.", hosts.join(", ")));
            }
            by.push(match veil {
                Veil::Node => "the nodes of the cluster".to_owned(),
                Veil::Between => "postern-relay --never-source, --proxy-from".to_owned(),
            });
        }
        for close in rules.excepted(client.address) {
            let (host, range) = (close.value, close.range);
            let except = close.except.map(|net| net.to_string()).unwrap_or_default();
            says.push_str(&format!(" RelayHost {host} has {range}, without {except}."));
            by.push(format!("RelayHost/{host} spec.sources"));
        }
        self.note(Stage::Client, says, by);
    }

    fn mail(&mut self, decision: &Decision, transaction: &Transaction) {
        let sender = &transaction.sender;
        let says = match (&transaction.party, &decision.refusal) {
            (_, Some(_)) => String::new(),
            (Party::Outsider, None) => "Any sender may write to the domains served here.".to_owned(),
            (Party::Source { domain: None, .. }, None) => {
                "From <> of a source: header From will tell as which domain.".to_owned()
            }
            (Party::Source { domain: Some(domain), hosts }, None) => {
                let held = self.held(domain);
                format!("{sender} is one of {held}, which lets {} send as it.", hosts.join(", "))
            }
        };
        self.push(Stage::Mail, decision, Some(Reply::sender_ok()), says, object(decision));
    }

    fn rcpt(&mut self, transaction: &mut Transaction, to: &ForwardPath) -> Recipient {
        let rules = &self.settings.config.rules;
        let before = transaction.policy;
        let decision = rules.rcpt(transaction, to);
        let mut by = object(&decision);
        let Some(refusal) = &decision.refusal else {
            // What was accepted is the last one.
            let mailbox = transaction.recipients.last().cloned();
            let says = mailbox.as_ref().map(|mailbox| self.taken(transaction, mailbox, &mut by)).unwrap_or_default();
            let held = (before != transaction.policy).then(|| rules.policy(transaction)).flatten();
            let says = match held {
                Some(policy) => {
                    by.push(format!("FilterPolicy/{}", policy.name));
                    format!("{says} Held to FilterPolicy {}.", policy.name)
                }
                None => says,
            };
            let reply = Reply::recipient_ok();
            self.push(Stage::Rcpt, &decision, Some(reply.clone()), format!("{to}: {says}"), by);
            return Recipient { mailbox, ..Recipient::new(to.to_string(), Verdict::Accepted, &reply) };
        };
        let says = self.turned_away(transaction, to, &decision);
        self.push(Stage::Rcpt, &decision, None, says, by);
        Recipient::new(to.to_string(), Verdict::of(Some(refusal)), refusal)
    }

    /// By what a recipient was taken.
    fn taken(&self, transaction: &Transaction, mailbox: &Mailbox, by: &mut Vec<String>) -> String {
        let rules = &self.settings.config.rules;
        let domain = mailbox.domain().as_str();
        let Some(holder) = rules.holder(domain) else {
            return match &transaction.party {
                Party::Source { domain: Some(domain), .. } => {
                    format!("no domain served here; mail from {domain} may leave.")
                }
                _ => "no domain served here; it is decided when header From is seen.".to_owned(),
            };
        };
        let name = &holder.domain.name;
        let how = match rules.known(mailbox) {
            Some(Known::Role) => "every domain has this address".to_owned(),
            Some(Known::Found(Found::All)) => {
                *by = vec![format!("RelayDomain/{name} spec.recipients.mode")];
                "every recipient is accepted there".to_owned()
            }
            Some(Known::Found(Found::Listed { list, address })) => {
                *by = vec![format!("RelayDomain/{name} spec.recipients.verify[{list}].list")];
                format!("{address} is in its list")
            }
            None => String::new(),
        };
        format!("RelayDomain {name} has {}, and {how}.", holder.name)
    }

    /// What a refusal does not say itself.
    fn turned_away(&self, transaction: &Transaction, to: &ForwardPath, decision: &Decision) -> String {
        let ForwardPath::Mailbox(mailbox) = to else { return String::new() };
        let domain = mailbox.domain().as_str();
        let rules = &self.settings.config.rules;
        let sender = || transaction.sender.mailbox();
        let pattern = |policy: &str| Some(rules.policy_named(policy)?.senders.block(sender()?)?.to_owned());
        match (decision.rule, rules.holder(domain)) {
            ("relaying-denied", None) => {
                format!("No RelayDomain has {domain}, and an outsider may write to no other domain.")
            }
            ("unknown-recipient", Some(holder)) => {
                format!("RelayDomain {} has {}, and none of its lists has {mailbox}.", holder.domain.name, holder.name)
            }
            ("blocked-sender", Some(holder)) => {
                let policy = holder.domain.inbound.as_ref().map(|inbound| &*inbound.policy).unwrap_or_default();
                let pattern = pattern(policy).unwrap_or_default();
                format!("RelayDomain {} has {}; its policy blocks {pattern}.", holder.domain.name, holder.name)
            }
            (_, Some(holder)) => format!("RelayDomain {} has {}.", holder.domain.name, holder.name),
            (_, None) => String::new(),
        }
    }

    /// The last question before the message is stored; then where it goes.
    fn content(&mut self, transaction: &mut Transaction, recipients: &mut [Recipient]) -> Result<(), HeaderFromNeeded> {
        let rules = &self.settings.config.rules;
        let Question { size, header_from, .. } = self.question;
        let facts = ContentFacts { size: size.unwrap_or_default(), hops: 0, from_domains: header_from.clone() };
        let undecided = matches!(transaction.party, Party::Source { domain: None, .. });
        if undecided && header_from.is_empty() {
            return Err(HeaderFromNeeded);
        }
        let decision = rules.content(transaction, &facts);
        let mut says = match (&transaction.party, undecided) {
            (Party::Source { domain: Some(domain), .. }, true) => {
                format!("Header From makes it mail of {}. ", self.held(domain))
            }
            _ => String::new(),
        };
        let mut by = object(&decision);
        if let (Some(policy), None) = (rules.policy(transaction), &decision.refusal) {
            let limits = policy.limits;
            says.push_str(&format!(
                "It may have {}, {} recipients and {} hops.",
                super::text::octets(limits.message_size),
                limits.recipients,
                limits.hops
            ));
            by.push(format!("FilterPolicy/{} spec.limits", policy.name));
        }
        self.push(Stage::Content, &decision, None, says, by);
        let origin = rules.origin(transaction);
        for recipient in recipients.iter_mut().filter(|recipient| recipient.verdict == Verdict::Accepted) {
            if let Some(reply) = &decision.refusal {
                (recipient.verdict, recipient.reply) = (Verdict::of(Some(reply)), reply.to_string());
            } else if let Some(mailbox) = recipient.mailbox.clone() {
                let step = route::tell(self.settings, &origin, &mailbox);
                recipient.verdict = step.verdict;
                recipient.route = Some(step.says.clone());
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// `RelayDomain contoso (*.contoso.com)`
    fn held(&self, domain: &str) -> String {
        match self.settings.config.rules.holder(domain) {
            Some(holder) => format!("RelayDomain {} ({})", holder.domain.name, holder.name),
            None => domain.to_owned(),
        }
    }
}

fn object(decision: &Decision) -> Vec<String> {
    decision.object.iter().map(|object: &Arc<str>| object.to_string()).collect()
}

fn entry(entry: Entry<'_>) -> String {
    match entry {
        Entry::Range(range) => range.to_string(),
        Entry::Name(HostName::A(name)) => format!("the addresses of {name}"),
        Entry::Name(HostName::Mx(domain)) => format!("the MX of {domain}"),
        Entry::Certificate => "its certificate".to_owned(),
    }
}
