//! Opening a connection: dialled, greeted, encrypted as the plan says, logged in. What a server said before the TLS handshake
//! is forgotten, and a login is never said without a verified certificate.

use std::net::SocketAddr;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::{Target, TlsUse};
use super::login::login;
use super::verdict::{Fault, Said};
use super::wire::{Stream, Wire};
use super::{Capabilities, Reply, Timeouts};
use crate::config::{TlsClient, TlsPlan};

/// A connection on which a transaction may begin.
pub(super) struct Opened {
    pub(super) wire: Wire<Box<dyn Stream>>,
    pub(super) offered: Capabilities,
    pub(super) tls: TlsUse,
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

/// Connects. An error says nothing about any message.
pub(super) async fn open(target: Target<'_>, hostname: &str, timeouts: &Timeouts) -> Result<Opened, Said> {
    if target.login.is_some() && !target.tls.is_verified() {
        let text =
            "is not logged in to: a password goes only to a server with a verified certificate (tls.verification)";
        return Err(Fault::new("4.7.11", text).into());
    }
    if let TlsPlan::Implicit(client) = target.tls {
        let stream = connect(target.address, timeouts).await?;
        let (stream, version) = handshake(stream, client, target, timeouts).await?;
        return secured(greeting(Wire::new(stream), hostname, timeouts).await?, version, target, timeouts).await;
    }
    let plain = greeted(target.address, hostname, timeouts).await?;
    let (client, mandatory) = match target.tls {
        TlsPlan::None => return Ok(opened(plain, TlsUse::Plain)),
        TlsPlan::Opportunistic(client) => (client, false),
        TlsPlan::Implicit(client) | TlsPlan::Mandatory(client) => (client, true),
    };
    match encrypt(plain, client, target, hostname, timeouts).await {
        Ok((greeted, version)) => secured(greeted, version, target, timeouts).await,
        Err(NoTls::Declined(_, said)) if mandatory => Err(said),
        Err(NoTls::Broken(fault)) if mandatory => Err(fault.into()),
        Err(NoTls::Declined(plain, Said::Fault(_))) => Ok(opened(plain, TlsUse::Plain)),
        Err(NoTls::Declined(plain, said)) => Ok(opened(plain, TlsUse::FellBack(said.to_string()))),
        Err(NoTls::Broken(fault)) => {
            let plain = greeted(target.address, hostname, timeouts).await?;
            Ok(opened(plain, TlsUse::FellBack(fault.text)))
        }
    }
}

fn opened<S: Stream + 'static>(greeted: Greeted<S>, tls: TlsUse) -> Opened {
    let Greeted { wire, offered } = greeted;
    Opened { wire: wire.map(|stream| Box::new(stream) as Box<dyn Stream>), offered, tls }
}

/// Over TLS, with the login where there is one.
async fn secured<S: Stream + 'static>(
    mut greeted: Greeted<S>,
    version: &'static str,
    target: Target<'_>,
    timeouts: &Timeouts,
) -> Result<Opened, Said> {
    if let Some(credentials) = target.login {
        login(&mut greeted.wire, greeted.offered, credentials, timeouts).await?;
    }
    Ok(opened(greeted, TlsUse::Encrypted(version)))
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

pub(super) async fn ask<S: Stream>(
    wire: &mut Wire<S>,
    command: &str,
    verb: &str,
    timeouts: &Timeouts,
) -> Result<Reply, Fault> {
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
