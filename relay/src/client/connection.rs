//! One connection, used for one transaction after another.

use std::net::SocketAddr;

use super::body::{Content, Framing, Stuffer};
use super::dialogue::{Dialogue, Step};
use super::opening::{self, Opened};
use super::verdict::{Fault, Said, Sent, Verdict};
use super::wire::{Interrupted, Stream, Wire};
use super::{Capabilities, Recipient, Timeouts, Transaction};
use crate::config::{Credentials, TlsPlan};

/// Content is written in pieces of about this many octets; each one has the block timeout.
const BLOCK: usize = 64 << 10;
/// How long a server may take over QUIT.
const QUIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Whom to connect to, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The endpoint as it is written in the settings.
    pub name: &'a str,
    /// One of its addresses.
    pub address: SocketAddr,
    /// How the connection is protected.
    pub tls: &'a TlsPlan,
    /// The login. Without a verified certificate nothing is dialled.
    pub login: Option<&'a Credentials>,
}

/// What protects a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsUse {
    /// Nothing, as planned, or because the server does not offer it.
    Plain,
    /// Nothing, because the handshake failed: why. Only with [`TlsPlan::Opportunistic`].
    FellBack(String),
    /// This version of TLS.
    Encrypted(&'static str),
}

/// An open connection to a server that has answered EHLO or HELO.
pub struct Connection {
    wire: Wire<Box<dyn Stream>>,
    offered: Capabilities,
    server: String,
    address: SocketAddr,
    tls: TlsUse,
    timeouts: Timeouts,
    /// Whether the last transaction must be reset before the next.
    reset: bool,
    usable: bool,
}

impl Connection {
    /// Connects, and logs in where that is wanted. An error says nothing about any message.
    pub async fn open(target: Target<'_>, hostname: &str, timeouts: &Timeouts) -> Result<Self, Said> {
        let Opened { wire, offered, tls } = opening::open(target, hostname, timeouts).await?;
        Ok(Self {
            wire,
            offered,
            server: server(target.name, target.address),
            address: target.address,
            tls,
            timeouts: *timeouts,
            reset: false,
            usable: true,
        })
    }

    /// `name[address]:port`
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The address that was dialled.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What protects it.
    pub fn tls(&self) -> &TlsUse {
        &self.tls
    }

    /// What the server offers.
    pub fn offers(&self) -> Capabilities {
        self.offered
    }

    /// Whether it may carry another transaction.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    /// Whether the server has said something, or gone away, since the last transaction.
    pub async fn is_stale(&mut self) -> bool {
        self.wire.is_stale().await
    }

    /// One transaction. The content is asked for only when the server has taken a recipient and wants it.
    pub async fn send<C: Content>(&mut self, transaction: &Transaction<'_>, content: &mut C) -> Sent {
        if let Some(fault) = transaction.obstacle(self.offered) {
            let verdict = Verdict::Refused(fault.into());
            return Sent { verdicts: vec![verdict; transaction.recipients.len()], mail_answered: true };
        }
        let obstacle = |recipient: &Recipient<'_>| recipient.obstacle(self.offered);
        if !transaction.recipients.iter().any(|recipient| obstacle(recipient).is_some()) {
            return self.send_to_all(transaction, content).await;
        }
        let obstacles: Vec<_> = transaction.recipients.iter().map(obstacle).collect();
        let possible = transaction.recipients.iter().zip(&obstacles).filter(|(_, obstacle)| obstacle.is_none());
        let recipients: Vec<_> = possible.map(|(recipient, _)| *recipient).collect();
        let sent = match recipients.is_empty() {
            true => Sent { verdicts: Vec::new(), mail_answered: true },
            false => self.send_to_all(&Transaction { recipients, ..transaction.clone() }, content).await,
        };
        let mut verdicts = sent.verdicts.into_iter();
        let gave_none = || Verdict::NotNow { said: Fault::new("4.5.0", "gave no answer").into(), dot_sent: false };
        let verdicts = obstacles.into_iter().map(|obstacle| match obstacle {
            Some(fault) => Verdict::Refused(fault.into()),
            None => verdicts.next().unwrap_or_else(gave_none),
        });
        Sent { verdicts: verdicts.collect(), mail_answered: sent.mail_answered }
    }

    async fn send_to_all<C: Content>(&mut self, transaction: &Transaction<'_>, content: &mut C) -> Sent {
        let mut dialogue = Dialogue::new(transaction, self.offered, self.reset);
        self.usable = false;
        let usable = self.converse(&mut dialogue, transaction, content).await;
        self.usable = usable;
        self.reset = dialogue.needs_reset();
        dialogue.sent()
    }

    /// Whether the connection is of further use.
    async fn converse<C: Content>(
        &mut self,
        dialogue: &mut Dialogue<'_>,
        transaction: &Transaction<'_>,
        content: &mut C,
    ) -> bool {
        loop {
            match dialogue.step() {
                Step::Write(commands) => {
                    let written = self.wire.write(commands.as_bytes(), self.timeouts.reply, "the commands").await;
                    if let Err(fault) = written {
                        dialogue.failed(fault);
                    }
                }
                Step::Read { data } => {
                    let to = if data { "DATA" } else { "MAIL or RCPT" };
                    match self.wire.reply(self.timeouts.reply, to).await {
                        Ok(reply) => dialogue.answered(reply),
                        Err(fault) => dialogue.failed(fault),
                    }
                }
                step @ (Step::Content | Step::Chunk) => {
                    let framing = match step {
                        Step::Chunk => Framing::chunk(transaction.size),
                        _ => Framing::Dot(Stuffer::new(transaction.leading_dots)),
                    };
                    if let Err(interrupted) = self.write_all(framing, content).await {
                        match interrupted {
                            Interrupted::Spoke(reply) => dialogue.ended(Ok(reply), false),
                            Interrupted::Fault(fault) => dialogue.ended(Err(fault), false),
                        }
                        return false;
                    }
                    return self.end(dialogue).await;
                }
                Step::LoneDot => {
                    if let Err(fault) = self.wire.write(b".\r\n", self.timeouts.send, "the final dot").await {
                        dialogue.failed(fault);
                        return false;
                    }
                    return self.end(dialogue).await;
                }
                Step::Over => return dialogue.is_open(),
            }
        }
    }

    /// The reply to the final dot.
    async fn end(&mut self, dialogue: &mut Dialogue<'_>) -> bool {
        let result = self.wire.reply(self.timeouts.end, "the end of the message").await;
        let usable = result.as_ref().is_ok_and(|reply| reply.code != 421 && reply.code / 100 != 3);
        dialogue.ended(result, true);
        usable
    }

    /// The content with its end, which goes out in one write with what comes last.
    async fn write_all<C: Content>(&mut self, mut framing: Framing, content: &mut C) -> Result<(), Interrupted> {
        let unreadable = |error: std::io::Error| {
            Interrupted::Fault(Fault::new("4.3.0", format!("the message cannot be read from the queue: {error}")))
        };
        let mut out = Vec::with_capacity(BLOCK.min(8 << 10));
        framing.begin(&mut out);
        while let Some(chunk) = content.next().await.map_err(unreadable)? {
            for piece in chunk.as_ref().chunks(BLOCK) {
                if out.len() + piece.len() > BLOCK {
                    self.wire.write_content(&out, self.timeouts.send).await?;
                    out.clear();
                }
                framing.push(piece, &mut out).map_err(unreadable)?;
            }
        }
        framing.finish(&mut out).map_err(unreadable)?;
        self.wire.write_content(&out, self.timeouts.send).await
    }

    /// Says goodbye. Whatever the server makes of it, nothing depends on it.
    pub async fn quit(mut self) {
        if self.wire.write(b"QUIT\r\n", QUIT, "QUIT").await.is_ok() {
            let _ = self.wire.reply(QUIT, "QUIT").await;
        }
        self.wire.shutdown().await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// How a server is named in logs, outcomes and notifications: `name[address]:port`.
pub fn server(name: &str, address: SocketAddr) -> String {
    format!("{name}[{}]:{}", address.ip(), address.port())
}
