//! Octets in both directions, each step with its deadline.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Reply;
use super::reply::OCTETS_MAX;
use super::verdict::Fault;

/// Read at once. With it a buffer is at most a reply and one read.
const READ_MAX: usize = 4 << 10;
/// How long a server that spoke before its turn has to finish what it says.
const EARLY: Duration = Duration::from_secs(5);

/// A plain or an encrypted stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    /// Read and not yet taken as a reply.
    input: Vec<u8>,
}

/// Why content was not written to its end.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The server spoke before the final dot.
    Spoke(Reply),
    Fault(Fault),
}

impl<S: Stream> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// The stream, without what was read from it and not taken.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    pub(super) fn map<T: Stream>(self, change: impl FnOnce(S) -> T) -> Wire<T> {
        Wire { stream: change(self.stream), input: self.input }
    }

    /// The next reply, complete within `within`.
    pub(super) async fn reply(&mut self, within: Duration, to: &str) -> Result<Reply, Fault> {
        match timeout(within, self.read_reply(to)).await {
            Ok(result) => result,
            Err(_) => {
                Err(Fault::new("4.4.2", format!("gave no complete answer to {to} within {} s", within.as_secs())))
            }
        }
    }

    async fn read_reply(&mut self, to: &str) -> Result<Reply, Fault> {
        loop {
            if let Some((reply, length)) = Reply::parse(&self.input).map_err(Fault::malformed)? {
                self.input.drain(..length);
                return Ok(reply);
            }
            match self.read().await {
                Ok(0) => return Err(Fault::new("4.4.2", format!("closed the connection instead of answering {to}"))),
                Ok(_) => {}
                Err(error) => return Err(lost(to, &error)),
            }
        }
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        debug_assert!(self.input.len() < OCTETS_MAX);
        self.input.reserve(READ_MAX);
        (&mut self.stream).take(READ_MAX as u64).read_buf(&mut self.input).await
    }

    /// Writes commands.
    pub(super) async fn write(&mut self, octets: &[u8], within: Duration, what: &str) -> Result<(), Fault> {
        let all = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        match timeout(within, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(what, &error)),
            Err(_) => Err(Fault::new("4.4.2", format!("did not take {what} within {} s", within.as_secs()))),
        }
    }

    /// Writes content, and stops as soon as the server says anything: it must be silent until the final dot.
    pub(super) async fn write_content(&mut self, octets: &[u8], within: Duration) -> Result<(), Interrupted> {
        if self.input.is_empty() {
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            let write = async {
                writer.write_all(octets).await?;
                writer.flush().await
            };
            self.input.reserve(READ_MAX);
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.input) => match read {
                    Ok(0) => return Err(Interrupted::Fault(cut_off())),
                    Ok(_) => {}
                    Err(error) => return Err(Interrupted::Fault(lost("the message", &error))),
                },
                written = timeout(within, write) => match written {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => return Err(self.last_words(lost("the message", &error)).await),
                    Err(_) => {
                        let text = format!("did not take the next part of the message within {} s", within.as_secs());
                        return Err(Interrupted::Fault(Fault::new("4.4.2", text)));
                    }
                },
            }
        }
        Err(self.last_words(cut_off()).await)
    }

    /// A reply that is there already, or arrives in a moment, explains a failure better than the failure itself.
    async fn last_words(&mut self, fault: Fault) -> Interrupted {
        match self.reply(EARLY, "the message").await {
            Ok(reply) => Interrupted::Spoke(reply),
            Err(_) => Interrupted::Fault(fault),
        }
    }

    /// Whether the server has spoken or gone while it was not asked anything.
    pub(super) async fn is_stale(&mut self) -> bool {
        !self.input.is_empty() || timeout(Duration::ZERO, self.read()).await.is_ok()
    }

    pub(super) async fn shutdown(&mut self) {
        let _ = timeout(EARLY, self.stream.shutdown()).await;
    }
}

fn cut_off() -> Fault {
    Fault::new("4.4.2", "closed the connection in the middle of the message")
}

fn lost(during: &str, error: &std::io::Error) -> Fault {
    Fault::new("4.4.2", format!("lost the connection during {during}: {}", error.kind()))
}
