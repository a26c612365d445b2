//! One connection: opened, greeted, encrypted as the plan says, and used for one transaction after another.

use std::net::SocketAddr;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{Content, Stuffer};
use super::dialogue::{Dialogue, Step};
use super::verdict::{Fault, Said, Sent, Verdict};
use super::wire::{Interrupted, Stream, Wire};
use super::{Capabilities, Reply, Timeouts, Transaction};
use crate::config::{TlsClient, TlsPlan};

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

/// A server that has answered EHLO or HELO.
struct Greeted<S> {
    wire: Wire<S>,
    offered: Capabilities,
}

/// Why STARTTLS came to nothing.
enum NoTls {
    /// Not offered, or refused: the plain connection still stands.
    Declined(Greeted<TcpStream>, Said),
    /// Begun and failed: the connection is gone.
    Broken(Fault),
}

impl Connection {
    /// Connects. An error says nothing about any message.
    pub async fn open(target: Target<'_>, hostname: &str, timeouts: &Timeouts) -> Result<Self, Said> {
        let finish = |wire, offered, tls| Ok(Self::new(target, timeouts, wire, offered, tls));
        if let TlsPlan::Implicit(client) = target.tls {
            let stream = connect(target.address, timeouts).await?;
            let (stream, version) = handshake(stream, client, target, timeouts).await?;
            let secured = greeting(Wire::new(stream), hostname, timeouts).await?;
            return finish(boxed(secured.wire), secured.offered, TlsUse::Encrypted(version));
        }
        let plain = greeted(target.address, hostname, timeouts).await?;
        let (client, mandatory) = match target.tls {
            TlsPlan::Implicit(client) => (client, true),
            TlsPlan::None => return finish(boxed(plain.wire), plain.offered, TlsUse::Plain),
            TlsPlan::Opportunistic(client) => (client, false),
            TlsPlan::Mandatory(client) => (client, true),
        };
        match encrypt(plain, client, target, hostname, timeouts).await {
            Ok((secured, version)) => finish(boxed(secured.wire), secured.offered, TlsUse::Encrypted(version)),
            Err(NoTls::Declined(_, said)) if mandatory => Err(said),
            Err(NoTls::Broken(fault)) if mandatory => Err(fault.into()),
            Err(NoTls::Declined(plain, Said::Fault(_))) => finish(boxed(plain.wire), plain.offered, TlsUse::Plain),
            Err(NoTls::Declined(plain, said)) => {
                finish(boxed(plain.wire), plain.offered, TlsUse::FellBack(said.to_string()))
            }
            Err(NoTls::Broken(fault)) => {
                let plain = greeted(target.address, hostname, timeouts).await?;
                finish(boxed(plain.wire), plain.offered, TlsUse::FellBack(fault.text))
            }
        }
    }

    fn new(
        target: Target<'_>,
        timeouts: &Timeouts,
        wire: Wire<Box<dyn Stream>>,
        offered: Capabilities,
        tls: TlsUse,
    ) -> Self {
        Self {
            wire,
            offered,
            server: server(target.name, target.address),
            address: target.address,
            tls,
            timeouts: *timeouts,
            reset: false,
            usable: true,
        }
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
        if self.offered.is_too_large(transaction.size) {
            let most = self.offered.size.unwrap_or_default();
            let text = format!("takes messages of at most {most} octets, and this one has {}", transaction.size);
            let verdict = Verdict::Refused(Fault::new("5.3.4", text).into());
            return Sent { verdicts: vec![verdict; transaction.recipients.len()], mail_answered: true };
        }
        let mut dialogue = Dialogue::new(transaction, self.offered, self.reset);
        self.usable = false;
        let usable = self.converse(&mut dialogue, transaction.leading_dots, content).await;
        self.usable = usable;
        self.reset = dialogue.needs_reset();
        dialogue.sent()
    }

    /// Whether the connection is of further use.
    async fn converse<C: Content>(&mut self, dialogue: &mut Dialogue<'_>, leading_dots: bool, content: &mut C) -> bool {
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
                Step::Content => {
                    let stuffer = Stuffer::new(leading_dots);
                    if let Err(interrupted) = self.write_all(stuffer, content).await {
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

    /// The content with its final dot, which goes out in one write with what comes last.
    async fn write_all<C: Content>(&mut self, mut stuffer: Stuffer, content: &mut C) -> Result<(), Interrupted> {
        let mut out = Vec::with_capacity(BLOCK.min(8 << 10));
        loop {
            let chunk = content.next().await.map_err(|error| {
                Interrupted::Fault(Fault::new("4.3.0", format!("the message cannot be read from the queue: {error}")))
            })?;
            let Some(chunk) = chunk else { break };
            for piece in chunk.as_ref().chunks(BLOCK) {
                if out.len() + piece.len() > BLOCK {
                    self.wire.write_content(&out, self.timeouts.send).await?;
                    out.clear();
                }
                stuffer.push(piece, &mut out);
            }
        }
        stuffer.finish(&mut out);
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

fn boxed<S: Stream + 'static>(wire: Wire<S>) -> Wire<Box<dyn Stream>> {
    wire.map(|stream| Box::new(stream) as Box<dyn Stream>)
}

async fn connect(address: SocketAddr, timeouts: &Timeouts) -> Result<TcpStream, Fault> {
    let stream = match timeout(timeouts.connect, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Fault::new("4.4.1", format!("cannot be reached: {}", error.kind()))),
        Err(_) => {
            let text = format!("cannot be reached: no connection within {} s", timeouts.connect.as_secs());
            return Err(Fault::new("4.4.1", text));
        }
    };
    // Without it the end of a message waits for an acknowledgement that the server delays.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn greeted(address: SocketAddr, hostname: &str, timeouts: &Timeouts) -> Result<Greeted<TcpStream>, Said> {
    greeting(Wire::new(connect(address, timeouts).await?), hostname, timeouts).await
}

/// The greeting and EHLO.
async fn greeting<S: Stream>(mut wire: Wire<S>, hostname: &str, timeouts: &Timeouts) -> Result<Greeted<S>, Said> {
    let greeting = wire.reply(timeouts.reply, "the connection with a greeting").await?;
    if !greeting.is_yes() {
        return Err(greeting.into());
    }
    let offered = hello(&mut wire, hostname, timeouts).await?;
    Ok(Greeted { wire, offered })
}

async fn hello<S: Stream>(wire: &mut Wire<S>, hostname: &str, timeouts: &Timeouts) -> Result<Capabilities, Said> {
    let reply = ask(wire, &format!("EHLO {hostname}\r\n"), "EHLO", timeouts).await?;
    if reply.is_yes() {
        return Ok(Capabilities::read(&reply));
    }
    if !reply.is_never() {
        return Err(reply.into());
    }
    let reply = ask(wire, &format!("HELO {hostname}\r\n"), "HELO", timeouts).await?;
    if reply.is_yes() { Ok(Capabilities::default()) } else { Err(reply.into()) }
}

async fn ask<S: Stream>(wire: &mut Wire<S>, command: &str, verb: &str, timeouts: &Timeouts) -> Result<Reply, Fault> {
    wire.write(command.as_bytes(), timeouts.reply, verb).await?;
    wire.reply(timeouts.reply, verb).await
}

/// STARTTLS and a new EHLO. What the server said before the handshake is forgotten: anyone could have said it.
async fn encrypt(
    mut plain: Greeted<TcpStream>,
    client: &TlsClient,
    target: Target<'_>,
    hostname: &str,
    timeouts: &Timeouts,
) -> Result<(Greeted<TlsStream<TcpStream>>, &'static str), NoTls> {
    if !plain.offered.starttls {
        return Err(NoTls::Declined(plain, Fault::new("4.7.4", "does not offer STARTTLS").into()));
    }
    let reply = ask(&mut plain.wire, "STARTTLS\r\n", "STARTTLS", timeouts).await.map_err(NoTls::Broken)?;
    match reply.code {
        220 => {}
        421 => return Err(NoTls::Broken(Fault::new("4.7.4", format!("refused STARTTLS: {reply}")))),
        _ => return Err(NoTls::Declined(plain, reply.into())),
    }
    let (stream, version) =
        handshake(plain.wire.into_stream(), client, target, timeouts).await.map_err(NoTls::Broken)?;
    let mut wire = Wire::new(stream);
    let offered = hello(&mut wire, hostname, timeouts)
        .await
        .map_err(|said| NoTls::Broken(Fault::new("4.7.5", format!("refused EHLO after the TLS handshake: {said}"))))?;
    Ok((Greeted { wire, offered }, version))
}

/// TLS on a connection, and its version.
async fn handshake(
    stream: TcpStream,
    client: &TlsClient,
    target: Target<'_>,
    timeouts: &Timeouts,
) -> Result<(TlsStream<TcpStream>, &'static str), Fault> {
    let name = match &client.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(target.name.to_owned()).unwrap_or_else(|_| target.address.ip().into()),
    };
    let connector = TlsConnector::from(client.config.clone());
    let stream = match timeout(timeouts.connect, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Fault::new("4.7.5", format!("TLS handshake failed: {error}"))),
        Err(_) => {
            let text = format!("TLS handshake not finished within {} s", timeouts.connect.as_secs());
            return Err(Fault::new("4.7.5", text));
        }
    };
    let version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    Ok((stream, version))
}
