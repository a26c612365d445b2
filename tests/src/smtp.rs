//! An SMTP client that says and expects lines, and hides nothing: what a test sends is what goes over the wire.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// How long a reply may take before a test gives up. Longer than any sync on a busy disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Stream>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A reply: one code, one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 220, 451, …
    pub code: u16,
    /// The text after the code of each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// The lines, joined by spaces.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// The id in `250 2.0.0 queued as ID`.
    ///
    /// # Errors
    /// When it is another reply.
    pub fn queue_id(&self) -> Result<String> {
        let text = self.text();
        let (_, id) = text.rsplit_once("queued as ").with_context(|| format!("no queue id in: {self}"))?;
        Ok(id.trim().to_owned())
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

impl Client {
    /// Connects; nothing is read yet.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?)
    }

    /// Connects from an address of this machine: any of 127.0.0.0/8 will do.
    ///
    /// # Errors
    /// When nobody listens, or the address is not of this machine.
    pub fn connect_from(source: IpAddr, server: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into()).with_context(|| format!("from {source}"))?;
        socket.connect(&server.into()).with_context(|| format!("connecting to {server} from {source}"))?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(Stream::Plain(stream)) })
    }

    /// Begins TLS on a connection on which nothing waits to be read, and asks for the certificate of this name.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn secure(self, config: &Arc<ClientConfig>, name: &str) -> Result<Self> {
        let session = ClientConnection::new(config.clone(), ServerName::try_from(name.to_owned())?)?;
        let mut stream = StreamOwned::new(session, self.into_stream());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("the TLS handshake")?;
        }
        Ok(Self { stream: BufReader::new(Stream::Tls(Box::new(stream))) })
    }

    /// Says STARTTLS, begins TLS, and says EHLO again.
    ///
    /// # Errors
    /// When the server does not take it, or the handshake fails.
    pub fn starttls(mut self, config: &Arc<ClientConfig>, name: &str) -> Result<Self> {
        self.say("STARTTLS", 220)?;
        let mut secured = self.secure(config, name)?;
        secured.say("EHLO client.test", 250)?;
        Ok(secured)
    }

    /// What TLS knows of the connection.
    pub fn tls(&mut self) -> Option<&mut ClientConnection> {
        match self.stream.get_mut() {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(&mut stream.conn),
        }
    }

    /// Connects, takes the greeting and says EHLO.
    ///
    /// # Errors
    /// When the server does not greet with 220 and 250.
    pub fn greeted(server: SocketAddr) -> Result<Self> {
        let mut client = Self::connect(server)?;
        client.expect(220)?;
        client.say("EHLO client.test", 250)?;
        Ok(client)
    }

    /// Sends these octets and nothing else.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(octets)?;
        Ok(self.stream.get_mut().flush()?)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the connection ends before, or it is not a reply (RFC 5321, section 4.2).
    pub fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let whole = self.line().context("reading a reply")?;
            let (code, rest) = whole.split_at_checked(3).with_context(|| format!("not a reply: {whole:?}"))?;
            let code = code.parse().with_context(|| format!("not a reply: {whole:?}"))?;
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads one line, without its CRLF.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("reading a line")?;
        let whole = line.strip_suffix("\r\n").with_context(|| format!("a line ends with CRLF: {line:?}"))?;
        Ok(whole.to_owned())
    }

    /// Reads one reply, which must have this code.
    ///
    /// # Errors
    /// When it has another one.
    pub fn expect(&mut self, code: u16) -> Result<Reply> {
        let reply = self.reply()?;
        ensure!(reply.code == code, "expected {code}, got: {reply}");
        Ok(reply)
    }

    /// Sends a line and reads its reply.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ask(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends a line, whose reply must have this code.
    ///
    /// # Errors
    /// Names the line, when it has another one.
    pub fn say(&mut self, line: &str, code: u16) -> Result<Reply> {
        let reply = self.ask(line).with_context(|| format!("after {line}"))?;
        ensure!(reply.code == code, "{line}: expected {code}, got: {reply}");
        Ok(reply)
    }

    /// A whole transaction; `content` is sent as it is, and then the final dot. The reply is that to the content.
    ///
    /// # Errors
    /// When an earlier command is refused.
    pub fn mail(&mut self, sender: &str, recipients: &[&str], content: &[u8]) -> Result<Reply> {
        self.say(&format!("MAIL FROM:<{sender}>"), 250)?;
        for recipient in recipients {
            self.say(&format!("RCPT TO:<{recipient}>"), 250)?;
        }
        self.say("DATA", 354)?;
        self.send(content)?;
        self.send(b".\r\n")?;
        self.reply()
    }

    /// Whether the server has closed the connection, or does so now.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    /// The same connection in plain text, for another thread that sends while this one reads, or past TLS.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn another_hand(&self) -> Result<Self> {
        Self::over(self.stream.get_ref().socket().try_clone()?)
    }

    /// The socket, for what only a socket can do. What was read ahead is lost.
    pub fn into_stream(self) -> TcpStream {
        match self.stream.into_inner() {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.sock,
        }
    }

    /// Says no more; replies can still be read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn shut(&mut self) -> Result<()> {
        Ok(self.stream.get_ref().socket().shutdown(Shutdown::Write)?)
    }
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(from),
            Self::Tls(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
