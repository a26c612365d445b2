//! A way to a server that a test can cut: what is under way then is kept back, and nobody is told, as with a cable pulled.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// To this server, until the runtime of the test ends.
    pub(crate) async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let is_open = is_open.clone();
                tokio::spawn(async move {
                    let far = TcpStream::connect(server).await?;
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    tokio::spawn(pass(from_near, to_far, is_open.clone()));
                    tokio::spawn(pass(from_far, to_near, is_open));
                    std::io::Result::Ok(())
                });
            }
        });
        Ok(Self { address, open })
    }

    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_open: watch::Receiver<bool>,
) {
    let mut octets = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        if is_open.wait_for(|open| *open).await.is_err() || to.write_all(&octets[..read]).await.is_err() {
            return;
        }
    }
}
