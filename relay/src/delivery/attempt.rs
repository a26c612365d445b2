//! One attempt for the claimed recipients of one message: on the connection that is there, then from address to address
//! until each of them is decided or nobody is left to ask.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::health::Health;
use super::lookup::{Found, NoWay, Walk};
use super::next_hop::{Goal, NextHop, NextHops, came_from};
use super::outcome::Heard;
use super::worker::Reporter;
use super::{Shared, chance, monotonic};
use crate::client::{self, Connection, Content, Fault, Recipient, Said, Target, TlsUse, Transaction, Verdict};
use crate::envelope::Envelope;
use crate::metrics::Metrics;
use crate::spool::Claim;

/// A connection is not kept for longer, so that the first choice gets its mail back after it was away.
const KEPT_MAX: Duration = Duration::from_secs(300);

/// A connection that a worker keeps from message to message.
pub(super) struct Kept {
    connection: Connection,
    since: Duration,
    messages: u64,
    _counted: Counted,
}

/// Counts a connection for as long as it lives, whatever ends it.
struct Counted(Metrics);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.delivery().open_connections.dec();
    }
}

impl Kept {
    fn new(connection: Connection, metrics: &Metrics) -> Self {
        metrics.delivery().connections.inc();
        metrics.delivery().open_connections.inc();
        Self { connection, since: monotonic(), messages: 0, _counted: Counted(metrics.clone()) }
    }

    /// Whether it may carry another message.
    pub(super) fn is_good(&self, messages_max: u64) -> bool {
        self.connection.is_usable() && self.messages < messages_max && monotonic() < self.since + KEPT_MAX
    }

    pub(super) async fn quit(self) {
        let Self { connection, _counted, .. } = self;
        connection.quit().await;
    }
}

/// Whether the next hops answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// One of them answered MAIL, or there is nothing left to ask for.
    Answered,
    /// There was none to ask: the settings say why.
    Nobody,
    /// None of those asked did.
    Unreachable,
}

pub(super) struct Attempt<'a> {
    shared: &'a Shared,
    claim: &'a Claim,
    reporter: &'a Reporter,
    /// In the order of the claim's recipients.
    heard: Vec<Option<Heard>>,
    tried: Vec<SocketAddr>,
    /// The last connection that came to nothing.
    problem: Option<Heard>,
    answered: bool,
    /// An address was left out because the message came from there.
    looped: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(shared: &'a Shared, claim: &'a Claim, reporter: &'a Reporter) -> Self {
        let heard = vec![None; claim.recipients().len()];
        Self { shared, claim, reporter, heard, tried: Vec::new(), problem: None, answered: false, looped: false }
    }

    /// Tries, and answers what each recipient came to. `kept` is used, and replaced by a better one.
    pub(super) async fn run(mut self, kept: &mut Option<Kept>, hops: &NextHops) -> (Vec<Heard>, Reach) {
        self.reuse(kept).await;
        self.dial_all(kept, hops).await;
        self.finish(hops)
    }

    /// The connection that is there. When it turns out to be dead, that says nothing about anything.
    async fn reuse(&mut self, kept: &mut Option<Kept>) {
        let Some(mut connection) = kept.take() else { return };
        let address = connection.connection.address();
        if came_from(&self.claim.envelope().origin, address.ip()) {
            connection.quit().await;
        } else if !connection.connection.is_stale().await {
            if self.session(&mut connection).await {
                self.answered = true;
                self.tried.push(address);
            } else {
                self.problem = None;
            }
            keep(kept, connection).await;
        }
    }

    async fn dial_all(&mut self, kept: &mut Option<Kept>, hops: &NextHops) {
        let mut passed_over = Vec::new();
        for hop in &hops.list {
            self.walk(hop, kept, &mut passed_over).await;
        }
        for (hop, found) in passed_over {
            if !self.answered && !self.tried.contains(&found.address) {
                self.dial(hop, &found, kept).await;
            }
        }
    }

    /// Tries the addresses of one goal, but those that were dead lately.
    async fn walk<'b>(
        &mut self,
        hop: &'b NextHop,
        kept: &mut Option<Kept>,
        passed_over: &mut Vec<(&'b NextHop, Found)>,
    ) {
        let mut walk = Walk::new(self.shared, &hop.goal);
        let mut sessions = match hop.goal {
            Goal::Endpoint(_) => u64::MAX,
            Goal::Exchanges(_) | Goal::Direct(_) => self.shared.limits.mx_sessions,
        };
        while !self.is_decided() {
            let Some(group) = walk.next().await else {
                if let Some(no_way) = walk.no_way() {
                    self.no_way(hop, no_way);
                }
                return;
            };
            for found in group {
                if came_from(&self.claim.envelope().origin, found.address.ip()) {
                    self.looped = true;
                } else if self.tried.contains(&found.address) || self.is_decided() {
                    continue;
                } else if !self.health().may_try(found.address, monotonic()) {
                    passed_over.push((hop, found));
                } else if self.dial(hop, &found, kept).await {
                    sessions -= 1;
                    if sessions == 0 {
                        return;
                    }
                }
            }
        }
    }

    /// The settings can be mended and mail waits for that; what the DNS says of a stranger's domain is final.
    fn no_way(&mut self, hop: &NextHop, no_way: NoWay) {
        let NoWay { server, fault, never } = no_way;
        if !(never && matches!(hop.goal, Goal::Direct(_))) {
            return self.failed(server, fault.into());
        }
        let heard = Heard { server, verdict: Verdict::Refused(fault.into()) };
        for place in 0..self.heard.len() {
            if self.is_open(place) {
                self.heard[place] = Some(heard.clone());
            }
        }
    }

    /// Whether the server greeted us.
    async fn dial(&mut self, hop: &NextHop, found: &Found, kept: &mut Option<Kept>) -> bool {
        let Found { name, address } = found;
        let address = *address;
        self.tried.push(address);
        let target = Target { name, address, tls: &hop.tls, login: hop.login.as_deref() };
        match Connection::open(target, &self.shared.hostname, &self.shared.timeouts).await {
            Err(said) => {
                self.health().failed(address, monotonic(), chance());
                self.failed(client::server(name, address), said);
                false
            }
            Ok(connection) => {
                self.reporter.reached();
                if let TlsUse::FellBack(why) = connection.tls() {
                    self.shared.metrics.delivery().tls_fallbacks.inc();
                    tracing::warn!(
                        host = connection.server(),
                        reply = why,
                        "without TLS: it is not required for this host"
                    );
                }
                let mut connection = Kept::new(connection, &self.shared.metrics);
                if self.session(&mut connection).await {
                    self.answered = true;
                    self.health().answered(address);
                } else {
                    self.shared.metrics.delivery().failed_connections.inc();
                    self.health().failed(address, monotonic(), chance());
                }
                keep(kept, connection).await;
                true
            }
        }
    }

    /// The transactions of this message on one connection: a second one for those that the server wants in another. Whether
    /// the server answered MAIL.
    async fn session(&mut self, kept: &mut Kept) -> bool {
        let mut wanted: Vec<usize> = (0..self.heard.len()).filter(|place| self.is_open(*place)).collect();
        let mut answered = false;
        while !wanted.is_empty() {
            let sent = self.transaction(kept, &wanted).await;
            let server = kept.connection.server().to_owned();
            if !sent.mail_answered {
                let verdict = sent.verdicts.into_iter().next();
                self.problem = verdict.map(|verdict| Heard { server, verdict });
                return answered;
            }
            answered = true;
            let any_taken = sent.verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken(_)));
            let mut again = Vec::new();
            for (place, verdict) in wanted.into_iter().zip(sent.verdicts) {
                if any_taken && verdict.wants_another_transaction() {
                    again.push(place);
                }
                self.heard[place] = Some(Heard { server: server.clone(), verdict });
            }
            wanted = if kept.connection.is_usable() { again } else { Vec::new() };
        }
        answered
    }

    async fn transaction(&self, kept: &mut Kept, places: &[usize]) -> client::Sent {
        let envelope = self.claim.envelope();
        let recipients = self.claim.recipients();
        let transaction = Transaction {
            sender: &envelope.sender,
            recipients: places.iter().map(|place| recipient(envelope, recipients[*place].index)).collect(),
            size: self.claim.size(),
            eight_bit: envelope.eight_bit,
            binary: envelope.binary,
            utf8: envelope.utf8,
            dsn: envelope.dsn.as_deref(),
            leading_dots: self.claim.leading_dots(),
        };
        let connection = &mut kept.connection;
        if envelope.eight_bit && !connection.offers().eight_bit_mime {
            let (queue_id, host) = (self.claim.id(), connection.server());
            tracing::info!(%queue_id, host, "8-bit content is sent as it is, though the server does not offer 8BITMIME");
        }
        kept.messages += 1;
        connection.send(&transaction, &mut Spooled { claim: self.claim, content: None }).await
    }

    fn finish(self, hops: &NextHops) -> (Vec<Heard>, Reach) {
        let asked = self.answered || self.problem.is_some();
        // Also by the DNS: then there is nobody left to be reached.
        let decided = self.is_decided();
        let refused = |text: String| Verdict::Refused(Fault { status: "5.4.6", text }.into());
        let rest = self.problem.unwrap_or_else(|| Heard {
            server: String::new(),
            verdict: if self.looped {
                refused("it would go back to the server from which it came".into())
            } else {
                not_now(Fault { status: "4.3.5", text: hops.faults.join("; ") }.into())
            },
        });
        let reach = match (self.answered || decided, asked) {
            (true, _) => Reach::Answered,
            (false, true) => Reach::Unreachable,
            (false, false) => Reach::Nobody,
        };
        (self.heard.into_iter().map(|heard| heard.unwrap_or_else(|| rest.clone())).collect(), reach)
    }

    fn failed(&mut self, server: String, said: Said) {
        self.shared.metrics.delivery().failed_connections.inc();
        tracing::warn!(queue_id = %self.claim.id(), host = server, reply = %said, "no connection");
        self.problem = Some(Heard { server, verdict: not_now(said) });
    }

    fn is_open(&self, place: usize) -> bool {
        self.heard[place].as_ref().is_none_or(Heard::is_open)
    }

    fn is_decided(&self) -> bool {
        !(0..self.heard.len()).any(|place| self.is_open(place))
    }

    fn health(&self) -> &'a Health {
        &self.shared.health
    }
}

fn recipient(envelope: &Envelope, index: u32) -> Recipient<'_> {
    let dsn = envelope.dsn.as_ref().and_then(|dsn| dsn.recipients.get(&index));
    Recipient { mailbox: &envelope.recipients[index as usize], dsn }
}

fn not_now(said: Said) -> Verdict {
    Verdict::NotNow { said, dot_sent: false }
}

/// Keeps a connection for the next message, unless there is one already or it is of no use.
async fn keep(kept: &mut Option<Kept>, connection: Kept) {
    match kept {
        _ if !connection.connection.is_usable() => {}
        None => *kept = Some(connection),
        Some(_) => connection.quit().await,
    }
}

/// A message's content, opened when a server wants it.
struct Spooled<'a> {
    claim: &'a Claim,
    content: Option<crate::spool::Content>,
}

impl Content for Spooled<'_> {
    type Chunk = bytes::Bytes;

    async fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let content = match &mut self.content {
            Some(content) => content,
            empty => empty.insert(self.claim.content().await.map_err(io::Error::other)?),
        };
        content.next().await.map_err(io::Error::other)
    }
}
