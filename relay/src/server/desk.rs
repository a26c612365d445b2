//! Answers the session's questions: asks the rules in force, opens and fills the spool's intake, commits. Keeps the one open
//! transaction, and logs each refusal and each accepted message.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::proof::Proof;
use super::{Port, Server};
use crate::address::{ForwardPath, Mailbox};
use crate::config::Config;
use crate::envelope::{Dsn, Envelope, RecipientDsn};
use crate::header::{self, Protection, Protocol, Trace};
use crate::metrics::Rule;
use crate::policy::{Client, ContentFacts, Decision, Tls, Transaction};
use crate::smtp::Reply;
use crate::smtp::command::{Body, Mail, Rcpt};
use crate::smtp::reply::Enhanced;
use crate::smtp::session::{Answer, BodyEnd, Hello, Offers, Question};
use crate::spool::{Draft, HEAD_MAX, Intake, Receipt, Refused};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Desk {
    server: Arc<Server>,
    port: Arc<Port>,
    client: Client,
    /// The trusted proxy in between, if there is one.
    proxy: Option<IpAddr>,
    /// What TLS has shown, once it stands.
    proof: Option<Box<Proof>>,
    open: Option<Box<Open>>,
}

/// A transaction, from MAIL to the end of its content.
#[derive(Debug)]
struct Open {
    /// Those of its MAIL, to its end.
    config: Arc<Config>,
    transaction: Transaction,
    /// What the client declared.
    body: Body,
    utf8: bool,
    dsn: Option<Box<Dsn>>,
    content: Content,
    size_max: u64,
    /// Who decided, for the line in the log.
    object: Option<Arc<str>>,
    ended: Option<Instant>,
}

#[derive(Debug)]
enum Content {
    Coming(Intake),
    Whole(Draft),
    Lost(BodyEnd),
    Taken,
}

impl Desk {
    pub(super) fn new(server: Arc<Server>, port: Arc<Port>, client: IpAddr, local: IpAddr) -> Self {
        Self { server, port, client: Client::plain(client, local), proxy: None, proof: None, open: None }
    }

    /// A trusted proxy has said who the client is.
    pub(super) fn introduced(&mut self, client: IpAddr, local: IpAddr, proxy: IpAddr) {
        (self.client.address, self.client.local, self.proxy) = (client, local, Some(proxy));
    }

    /// Its address may be somebody else's.
    pub(super) fn masked(&mut self) {
        self.client.masked = true;
    }

    /// TLS stands.
    pub(super) fn proven(&mut self, proof: Proof) {
        self.client.tls = Tls::Active;
        self.proof = Some(Box::new(proof));
    }

    fn protection(&self) -> Option<&Protection> {
        self.proof.as_ref().map(|proof| &proof.protection)
    }

    /// Forgets the transaction, and removes what was written of its content.
    pub(super) fn discard(&mut self) {
        self.open = None;
    }

    pub(super) async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Client => {
                let decision = self.server.live.load().rules.connect(&self.client, &self.server.names.load());
                self.decided(&decision, None)
            }
            Question::Hello => {
                let size_max = self.server.live.load().rules.message_size_max(None);
                Answer::Offers(Offers { size_max, starttls: self.port.can_secure(), dsn: true })
            }
            Question::StartTls if self.port.can_secure() => Answer::Yes,
            Question::StartTls => Answer::No(Reply::new(502, Enhanced(5, 5, 1), "command not implemented")),
            Question::Sender(mail) => self.sender(mail),
            Question::Recipient(rcpt) => self.recipient(rcpt),
            Question::Content => Box::pin(self.content()).await,
        }
    }

    fn sender(&mut self, mail: Mail) -> Answer {
        let config = self.server.live.load_full();
        self.identify(&config);
        let Mail { sender, size, body, utf8, ret, envid } = mail;
        let (decision, transaction) = config.rules.mail(&self.client, &self.server.names.load(), sender, size);
        if !decision.is_accepted() {
            return self.refuse(&decision, Some(&transaction), None);
        }
        let intake = match self.server.spool.admit(size) {
            Ok(intake) => intake,
            Err(refused) => return self.refuse(&not_stored(refused), Some(&transaction), None),
        };
        let (size_max, content) = (config.rules.message_size_max(Some(&transaction)), Content::Coming(intake));
        let asked = ret.is_some() || envid.is_some();
        let dsn = asked.then(|| Box::new(Dsn { envid, ret, ..Dsn::default() }));
        let object = decision.object;
        self.open =
            Some(Box::new(Open { config, transaction, body, utf8, dsn, content, size_max, object, ended: None }));
        Answer::Yes
    }

    /// Who the client is by these settings.
    fn identify(&mut self, config: &Config) {
        match &mut self.proof {
            Some(proof) => self.client.certified = proof.hosts(&config.authorities),
            None if self.port.can_secure() => self.client.tls = Tls::Unused,
            None => self.client.tls = Tls::Unavailable,
        }
    }

    fn recipient(&mut self, rcpt: Rcpt) -> Answer {
        let Some(mut open) = self.open.take() else { return no_transaction() };
        let Rcpt { to, dsn } = rcpt;
        let decision = open.config.rules.rcpt(&mut open.transaction, &to);
        let answer = self.decided(&decision, Some((&open.transaction, Some(&to))));
        if decision.is_accepted() {
            open.wishes(dsn);
            open.size_max = open.config.rules.message_size_max(Some(&open.transaction));
            open.object = decision.object.or(open.object);
        }
        self.open = Some(open);
        answer
    }

    /// Keeps a piece of content, unless it is lost already: then it is only read to its end.
    pub(super) async fn write(&mut self, clean: &[u8]) {
        let Some(open) = &mut self.open else { return };
        let Content::Coming(intake) = &mut open.content else { return };
        if intake.size() + clean.len() as u64 > open.size_max {
            open.content = Content::Lost(BodyEnd::TooLarge);
        } else if let Err(refused) = intake.write(clean).await {
            open.content = Content::Lost(BodyEnd::Failed(not_stored(refused).refusal.unwrap_or_else(local_error)));
        }
    }

    /// Whether the content was declared BINARYMIME.
    pub(super) fn is_binary(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.body == Body::Binary)
    }

    /// So many octets will come in one piece. When they cannot all be kept none of them is.
    pub(super) fn announce(&mut self, octets: u64) {
        let too_large = |open: &&mut Box<Open>| match &open.content {
            Content::Coming(intake) => intake.size().saturating_add(octets) > open.size_max,
            _ => false,
        };
        if let Some(open) = self.open.as_mut().filter(too_large) {
            open.content = Content::Lost(BodyEnd::TooLarge);
        }
    }

    /// The content cannot be taken, and this is why, unless there was a reason before.
    pub(super) fn spoil(&mut self, why: BodyEnd) {
        if let Some(open) = &mut self.open
            && matches!(open.content, Content::Coming(_))
        {
            open.content = Content::Lost(why);
        }
    }

    /// What became of a chunk that is not the last.
    pub(super) fn chunk_end(&mut self) -> BodyEnd {
        match &self.open {
            Some(open) if matches!(open.content, Content::Coming(_)) => BodyEnd::Complete,
            _ => self.body_end(false),
        }
    }

    /// What became of the content, now that its end is here.
    pub(super) fn body_end(&mut self, overlong: bool) -> BodyEnd {
        let Some(open) = &mut self.open else { return BodyEnd::Failed(local_error()) };
        open.ended = Some(Instant::now());
        let end = match &open.content {
            Content::Lost(end) => end.clone(),
            _ if overlong => BodyEnd::OverlongLine,
            _ => return BodyEnd::Complete,
        };
        let rule = match &end {
            BodyEnd::TooLarge => "too-large",
            BodyEnd::OverlongLine => "overlong-line",
            BodyEnd::Broken(_) => "broken-lines",
            _ => "not-stored",
        };
        self.server.metrics.server().decisions.get_or_create(&Rule { rule }).inc();
        let (from, to) = (&open.transaction.sender, addresses(&open.transaction));
        let tls = self.proof.as_ref().map(|proof| tracing::field::display(&proof.protection));
        let proxy = self.proxy.map(tracing::field::display);
        tracing::info!(client = %self.client.address, proxy, tls, %from, to, decision = rule, "message refused");
        end
    }

    async fn content(&mut self) -> Answer {
        let Some(mut open) = self.open.take() else { return no_transaction() };
        let Content::Coming(intake) = std::mem::replace(&mut open.content, Content::Taken) else {
            return no_transaction();
        };
        let draft = match intake.end().await {
            Ok(draft) => draft,
            Err(refused) => return self.refuse(&not_stored(refused), Some(&open.transaction), None),
        };
        let decision = if draft.header().len() >= HEAD_MAX {
            relay_rule("header-too-large", Reply::new(552, Enhanced(5, 3, 4), "the header section is too large"))
        } else {
            let header::Facts { hops, from_domains } = header::scan(draft.header());
            let facts = ContentFacts { size: draft.size(), hops, from_domains };
            open.config.rules.content(&mut open.transaction, &facts)
        };
        let answer = self.decided(&decision, Some((&open.transaction, None)));
        open.content = Content::Whole(draft);
        open.object = decision.object.or(open.object);
        self.open = Some(open);
        answer
    }

    /// Makes the message safe.
    pub(super) async fn commit(&mut self, hello: Option<&Hello>) -> Result<Receipt, Reply> {
        let Some(mut open) = self.open.take() else { return Err(local_error()) };
        let Content::Whole(mut draft) = std::mem::replace(&mut open.content, Content::Taken) else {
            return Err(local_error());
        };
        let (id, now) = (draft.id(), Timestamp::now());
        let mut fields = header::received(&Trace {
            hello: hello.map_or("", |hello| hello.name.as_str()),
            client: self.client.address,
            by: &self.server.hostname,
            protocol: match hello {
                Some(Hello { extended: true, .. }) if open.utf8 => Protocol::Utf8Smtp,
                Some(Hello { extended: true, .. }) => Protocol::Esmtp,
                _ => Protocol::Smtp,
            },
            tls: self.protection(),
            id,
            recipient: match open.transaction.recipients.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            now,
        });
        fields.extend_from_slice(header::separator(draft.header()));
        let envelope = open.envelope(&draft, now);
        draft.prepend(&fields);
        let size = draft.size();
        match self.server.spool.commit(draft, envelope).await {
            Ok(receipt) => {
                self.accepted(&receipt, &open, size);
                Ok(receipt)
            }
            Err(refused) => {
                let decision = not_stored(refused);
                self.refuse(&decision, Some(&open.transaction), None);
                Err(decision.refusal.unwrap_or_else(local_error))
            }
        }
    }

    fn accepted(&self, receipt: &Receipt, open: &Open, size: u64) {
        let metrics = self.server.metrics.server();
        metrics.messages.inc();
        metrics.octets.inc_by(size);
        metrics.recipients.inc_by(open.transaction.recipients.len() as u64);
        if let Some(ended) = open.ended {
            metrics.commit_seconds.observe(ended.elapsed().as_secs_f64());
        }
        let (from, to) = (&open.transaction.sender, addresses(&open.transaction));
        let object = open.object.as_deref().unwrap_or_default();
        let tls = self.protection().map(tracing::field::display);
        let proxy = self.proxy.map(tracing::field::display);
        tracing::info!(queue_id = %receipt.id(), client = %self.client.address, proxy, tls, %from, to, reply = "250 2.0.0", decision = "accepted",
            object, size, "message accepted");
    }

    /// Counts a decision, logs it when it is a refusal, and turns it into an answer.
    fn decided(&self, decision: &Decision, about: Option<(&Transaction, Option<&ForwardPath>)>) -> Answer {
        self.server.metrics.server().decisions.get_or_create(&Rule { rule: decision.rule }).inc();
        let Some(reply) = &decision.refusal else { return Answer::Yes };
        let from = about.map(|(transaction, _)| transaction.sender.to_string()).unwrap_or_default();
        let to = match about {
            Some((_, Some(to))) => to.to_string(),
            Some((transaction, None)) => addresses(transaction),
            None => String::new(),
        };
        let object = decision.object.as_deref().unwrap_or_default();
        let tls = self.protection().map(tracing::field::display);
        let proxy = self.proxy.map(tracing::field::display);
        tracing::info!(client = %self.client.address, proxy, tls, from, to, %reply, decision = decision.rule, object, "refused");
        Answer::No(reply.clone())
    }

    fn refuse(&self, decision: &Decision, transaction: Option<&Transaction>, to: Option<&ForwardPath>) -> Answer {
        self.decided(decision, transaction.map(|transaction| (transaction, to)))
    }
}

impl Open {
    /// What was asked about the recipient that was accepted last.
    fn wishes(&mut self, wishes: RecipientDsn) {
        let place = self.transaction.recipients.len().checked_sub(1).and_then(|place| u32::try_from(place).ok());
        if let Some(place) = place.filter(|_| wishes != RecipientDsn::default()) {
            self.dsn.get_or_insert_default().recipients.insert(place, wishes);
        }
    }

    /// Octets above 127 in a header are taken without SMTPUTF8, as the mail servers of the field do; only a client that has
    /// said it has said what they are.
    fn envelope(&mut self, draft: &Draft, now: Timestamp) -> Envelope {
        let needs_utf8 =
            || !self.transaction.sender.mailbox().is_none_or(Mailbox::is_ascii) || !draft.header().is_ascii();
        Envelope {
            arrived: now,
            sender: self.transaction.sender.clone(),
            recipients: self.transaction.recipients.clone(),
            origin: self.config.rules.origin(&self.transaction),
            eight_bit: self.body != Body::SevenBit || draft.eight_bit(),
            binary: self.body == Body::Binary,
            utf8: self.utf8 && needs_utf8(),
            dsn: self.dsn.take(),
        }
    }
}

fn addresses(transaction: &Transaction) -> String {
    transaction.recipients.iter().map(|recipient| format!("<{recipient}>")).collect::<Vec<_>>().join(",")
}

/// A rule of the relay itself, which no object can change.
fn relay_rule(rule: &'static str, reply: Reply) -> Decision {
    Decision { refusal: Some(reply), rule, object: None }
}

fn not_stored(refused: Refused) -> Decision {
    match refused {
        Refused::Full => {
            relay_rule("spool-full", Reply::new(452, Enhanced(4, 3, 1), "the queue is full, come back later"))
        }
        Refused::Failing(reason) => {
            tracing::error!(reason, "the spool does not take a message");
            relay_rule("not-stored", local_error())
        }
    }
}

fn local_error() -> Reply {
    Reply::new(451, Enhanced(4, 3, 0), "local error, come back later")
}

/// The session asks in order; if it did not, nothing would be accepted.
fn no_transaction() -> Answer {
    Answer::No(local_error())
}
