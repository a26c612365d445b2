//! What stands between a relay and its peers where those cannot do it themselves: TLS, distance, many addresses.
//!
//! smtp-source and smtp-sink speak no TLS and are never far away. A bridge takes connections, hands their octets on, and is
//! the same for both relays, its share of the processors too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in the certificate.
const NAME: &str = "relay.test";
/// Octets that are handed on at once.
const PIECE: usize = 16 << 10;

/// A certificate, and who trusts it.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Identity {
    pub(crate) fn new() -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// What a bridge adds.
#[derive(Clone)]
pub(crate) enum Adds {
    /// Nothing: another address.
    Nothing,
    /// TLS on the way to the target.
    Tls(Identity),
    /// TLS is taken off before the target.
    Plain(Identity),
    /// Half of this in each direction.
    Latency(Duration),
}

/// Bridges that stand until this is dropped.
pub(crate) struct Bridges {
    runtime: Runtime,
}

impl Bridges {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()? })
    }

    /// From now on connections to `from` end at `to`.
    pub(crate) fn stand(&self, from: SocketAddr, to: SocketAddr, adds: Adds) -> Result<()> {
        let listener = self.runtime.block_on(TcpListener::bind(from))?;
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let adds = adds.clone();
                tokio::spawn(async move {
                    // A connection that breaks is its ends' business.
                    drop(cross(stream, to, adds).await);
                });
            }
        });
        Ok(())
    }

    /// From now on connections to this address are taken, and nothing is ever said on them.
    pub(crate) fn silence(&self, at: SocketAddr) -> Result<()> {
        let listener = self.runtime.block_on(TcpListener::bind(at))?;
        self.runtime.spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Ok(())
    }
}

async fn cross(from: TcpStream, to: SocketAddr, adds: Adds) -> Result<()> {
    let to = TcpStream::connect(to).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    match adds {
        Adds::Nothing => both(from, to).await,
        Adds::Tls(identity) => {
            let to = TlsConnector::from(identity.client).connect(ServerName::try_from(NAME)?, to).await?;
            both(from, to).await
        }
        Adds::Plain(identity) => both(TlsAcceptor::from(identity.server).accept(from).await?, to).await,
        Adds::Latency(latency) => {
            let (from_reader, from_writer) = from.into_split();
            let (to_reader, to_writer) = to.into_split();
            tokio::try_join!(late(from_reader, to_writer, latency / 2), late(to_reader, from_writer, latency / 2))?;
            Ok(())
        }
    }
}

async fn both(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<()> {
    tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, PIECE, PIECE).await?;
    Ok(())
}

/// Each piece arrives so much later, however many are on the way.
async fn late(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, latency: Duration) -> Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 || sender.send((now() + latency, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await?;
        Ok(())
    };
    tokio::try_join!(read, write).map(|_: ((), ())| ())
}

fn now() -> Instant {
    Instant::from_std(postern_tests::clock::now())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use postern_tests::loopback;

    use super::*;

    #[test]
    fn a_line_crosses_tls_and_comes_late() {
        let (first, second, third, target) =
            (loopback::address(), loopback::address(), loopback::address(), loopback::address());
        let listener = TcpListener::bind(target).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            (&stream).write_all(line.as_bytes()).unwrap();
        });
        let bridges = Bridges::new().unwrap();
        let identity = Identity::new().unwrap();
        bridges.stand(first, second, Adds::Tls(identity.clone())).unwrap();
        bridges.stand(second, third, Adds::Plain(identity)).unwrap();
        bridges.stand(third, target, Adds::Latency(Duration::from_millis(50))).unwrap();
        let begun = postern_tests::clock::now();
        let stream = std::net::TcpStream::connect(first).unwrap();
        (&stream).write_all(b"there and back\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line, "there and back\n");
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
}
