//! One attempt for the claimed recipients of one message: on the connection that is there, then from address to address
//! until each of them is decided or nobody is left to ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::allowance::Full;
use super::health::Health;
use super::kept::{Kept, Limited, keep};
use super::lookup::{Found, NoWay, Walk};
use super::next_hop::{Goal, NextHop, NextHops, came_from};
use super::outcome::Heard;
use super::worker::Reporter;
use super::{Shared, chance, monotonic};
use crate::client::{self, Connection, Content, Fault, Recipient, Said, Target, TlsUse, Transaction, Verdict};
use crate::envelope::Envelope;
use crate::spool::Claim;

/// Whether the next hops answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// One of them answered MAIL, or there is nothing left to ask for.
    Answered,
    /// There was none to ask: the settings say why.
    Nobody,
    /// None of those asked did.
    Unreachable,
    /// Nobody was asked, for they have what they may have.
    Full(Full),
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
    /// When a host may have more that may not now, and the tier that it is in: a later one is not asked instead.
    full: Option<(usize, Full)>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(shared: &'a Shared, claim: &'a Claim, reporter: &'a Reporter) -> Self {
        let heard = vec![None; claim.recipients().len()];
        Self {
            shared,
            claim,
            reporter,
            heard,
            tried: Vec::new(),
            problem: None,
            answered: false,
            looped: false,
            full: None,
        }
    }

    /// Tries, and answers what each recipient came to. `kept` is used, and replaced by a better one.
    pub(super) async fn run(mut self, kept: &mut Option<Kept>, hops: &NextHops) -> (Vec<Heard>, Reach) {
        self.reuse(kept).await;
        if self.full.is_none() {
            self.dial_all(kept, hops).await;
        }
        self.finish(hops)
    }

    /// The connection that is there. When it turns out to be dead, that says nothing about anything.
    async fn reuse(&mut self, kept: &mut Option<Kept>) {
        let Some(mut connection) = kept.take() else { return };
        let address = connection.connection.address();
        if came_from(&self.claim.envelope().origin, address.ip()) {
            connection.quit().await;
        } else if !connection.connection.is_stale().await {
            if let Err(full) = connection.may_send() {
                self.full = Some((0, full));
            } else if self.session(&mut connection).await {
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
            if self.full.is_some_and(|(tier, _)| tier < hop.tier) {
                return;
            }
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
        let heard = Heard { server, verdict: Verdict::Refused(fault.into()), passes_dsn: false };
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
        if self.full.is_some_and(|(tier, _)| tier < hop.tier) {
            return false;
        }
        let limits = match self.limits(hop, kept).await {
            Ok(limits) => limits,
            Err(full) => {
                let both = self.full.map_or(full, |(_, other)| full.or(other));
                self.full = Some((hop.tier, both));
                return false;
            }
        };
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
                let messages_max = hop.limits.messages_per_connection.map(u64::from);
                let messages_max = messages_max.unwrap_or(self.shared.limits.connection_messages);
                let mut connection = Kept::new(connection, messages_max, limits, &self.shared.metrics);
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

    /// A place and a message of what the host may have. A connection that is kept to the same host gives its place up.
    async fn limits(&self, hop: &NextHop, kept: &mut Option<Kept>) -> Result<Option<Limited>, Full> {
        let Some(allowance) = self.shared.allowances.of(hop) else { return Ok(None) };
        let own = |kept: &Kept| kept.limits.as_ref().is_some_and(|limited| Arc::ptr_eq(&limited.allowance, &allowance));
        let (most, per_minute) = (hop.limits.connections, hop.limits.messages_per_minute);
        let mut seat = allowance.connect(most, monotonic());
        if seat.is_err()
            && kept.as_ref().is_some_and(own)
            && let Some(kept) = kept.take()
        {
            kept.quit().await;
            seat = allowance.connect(most, monotonic());
        }
        let seat = seat?;
        allowance.send(per_minute, monotonic())?;
        Ok(Some(Limited { allowance, per_minute, _seat: seat }))
    }

    /// The transactions of this message on one connection: a second one for those that the server wants in another. Whether
    /// the server answered MAIL.
    async fn session(&mut self, kept: &mut Kept) -> bool {
        let mut wanted: Vec<usize> = (0..self.heard.len()).filter(|place| self.is_open(*place)).collect();
        let mut answered = false;
        while !wanted.is_empty() {
            let sent = self.transaction(kept, &wanted).await;
            let (server, passes_dsn) = (kept.connection.server().to_owned(), kept.connection.offers().dsn);
            if !sent.mail_answered {
                let verdict = sent.verdicts.into_iter().next();
                self.problem = verdict.map(|verdict| Heard { server, verdict, passes_dsn: false });
                return answered;
            }
            answered = true;
            let any_taken = sent.verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken(_)));
            let mut again = Vec::new();
            for (place, verdict) in wanted.into_iter().zip(sent.verdicts) {
                if any_taken && verdict.wants_another_transaction() {
                    again.push(place);
                }
                self.heard[place] = Some(Heard { server: server.clone(), verdict, passes_dsn });
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
            passes_dsn: false,
            verdict: if self.looped {
                refused("it would go back to the server from which it came".into())
            } else {
                not_now(Fault { status: "4.3.5", text: hops.faults.join("; ") }.into())
            },
        });
        let reach = match (self.answered || decided, self.full, asked) {
            (true, ..) => Reach::Answered,
            (false, Some((_, full)), _) => Reach::Full(full),
            (false, None, true) => Reach::Unreachable,
            (false, None, false) => Reach::Nobody,
        };
        (self.heard.into_iter().map(|heard| heard.unwrap_or_else(|| rest.clone())).collect(), reach)
    }

    fn failed(&mut self, server: String, said: Said) {
        self.shared.metrics.delivery().failed_connections.inc();
        tracing::warn!(queue_id = %self.claim.id(), host = server, reply = %said, "no connection");
        self.problem = Some(Heard { server, verdict: not_now(said), passes_dsn: false });
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
