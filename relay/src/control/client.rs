//! A person's side of the control socket. Blocking: it needs no runtime.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Command, Request, Response, VERSION};

/// The relay sends no longer line than a message with a header of 1 MiB and a thousand recipients.
const LINE_MAX: u64 = 32 << 20;
/// A relay that is silent for so long is stuck.
const TIME: Duration = Duration::from_secs(60);

/// A connection to a relay.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why there is no answer. The system's own word for it is the source.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no relay answers at the control socket {}: is one running, with this as its --control?", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("control socket {}", path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a line of this protocol.
    #[error("control socket {}: the relay's answer cannot be read", path.display())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The relay says no.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Talks over a stream that leads to a relay's control socket by another way; `name` is what errors call it.
    ///
    /// # Errors
    /// When the stream has no time limits.
    pub fn over(stream: UnixStream, name: impl Into<PathBuf>) -> io::Result<Self> {
        stream.set_read_timeout(Some(TIME))?;
        stream.set_write_timeout(Some(TIME))?;
        Ok(Self { stream: BufReader::new(stream), path: name.into() })
    }

    /// Connects to the socket of a running relay.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(path).and_then(|stream| Self::over(stream, path));
        connected.map_err(|source| ClientError::Connect { path: path.to_owned(), source })
    }

    /// Asks for something; the answers come one by one.
    ///
    /// # Errors
    /// [`ClientError::Broken`], here and at each answer.
    pub fn ask(&mut self, command: Command) -> Result<Answers<'_>, ClientError> {
        let write = |stream: &mut UnixStream| {
            let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
            line.push(b'\n');
            stream.write_all(&line)
        };
        write(self.stream.get_mut()).map_err(|source| self.broken(source))?;
        Ok(Answers { client: self, ended: false })
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), source }
    }

    fn read(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line);
        read.map_err(|source| self.broken(source))?;
        if !line.ends_with(b"\n") {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let malformed = |source| ClientError::Malformed { path: self.path.clone(), source };
        let Response { version: _, answer } = serde_json::from_slice(&line).map_err(malformed)?;
        Ok(answer)
    }
}

/// The answers to one request, but the last line.
#[derive(Debug)]
pub struct Answers<'a> {
    client: &'a mut Client,
    ended: bool,
}

impl Iterator for Answers<'_> {
    type Item = Result<Answer, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let answer = loop {
            match self.client.read() {
                Ok(Answer::Progress { .. }) => {}
                Ok(Answer::Done {}) => break None,
                Ok(Answer::Failed(reason)) => break Some(Err(ClientError::Refused(reason))),
                other => break Some(other),
            }
        };
        self.ended = !matches!(answer, Some(Ok(_)));
        answer
    }
}
