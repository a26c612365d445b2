//! A next hop that follows a script, for what no real server can be made to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_tests::clock::wait_for;
use postern_tests::loopback;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::post::SOON;

/// A script that takes one message and then whatever comes.
pub(crate) const TAKE_ALL: &str = "S 220 hop.test\nSERVE";

/// A scripted server. Each connection plays the next script; the last one is played again for all further ones.
///
/// `S line` says a line; `R octets` says octets as they are (`\r`, `\n`, `\0` and `\xNN` are read); `C prefix` expects a line;
/// `B` reads content to its end; `K` reads a chunk (BDAT); `TLS` shakes hands; `MOST n` says 421 and hangs up when more
/// connections are open; `W ms` waits; `FLOOD text` says it until nobody listens; `DRIP text` says an octet each
/// 300 ms; `SERVE` takes everything politely. The end of the script closes the connection.
pub(crate) struct Hop {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    most: Arc<AtomicUsize>,
}

impl Hop {
    /// The most connections that were open at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(crate) fn start(scripts: &[&str]) -> Self {
        Self::start_with(None, scripts)
    }

    /// One that can shake hands.
    pub(crate) fn start_with(tls: Option<Arc<ServerConfig>>, scripts: &[&str]) -> Self {
        let address = loopback::address();
        let listener = TcpListener::bind(address).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let scripts: Vec<String> = scripts.iter().map(|script| (*script).to_owned()).collect();
        thread::spawn({
            let (heard, most) = (Arc::clone(&heard), Arc::clone(&most));
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let script = scripts[number.min(scripts.len() - 1)].clone();
                    heard.lock().unwrap().push(Vec::new());
                    let stream = Stream::Plain(stream.unwrap());
                    let (heard, open, tls) = (Arc::clone(&heard), Arc::clone(&open), tls.clone());
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let player = Player { reader: BufReader::new(stream), heard, number, open, left: false, tls };
                    thread::spawn(move || {
                        player.play(&script);
                    });
                }
            }
        });
        Self { address, heard, most }
    }

    /// What each connection heard: commands by line, content as one string.
    pub(crate) fn heard(&self) -> Vec<Vec<String>> {
        self.heard.lock().unwrap().clone()
    }

    /// Everything heard on all connections that begins so.
    pub(crate) fn all(&self, prefix: &str) -> Vec<String> {
        self.heard().into_iter().flatten().filter(|line| line.starts_with(prefix)).collect()
    }

    /// Waits until so many lines that begin so were heard.
    pub(crate) fn wait_for(&self, prefix: &str, count: usize) {
        let heard = wait_for(prefix, SOON, || (self.all(prefix).len() >= count).then_some(()));
        assert!(heard.is_ok(), "only heard {:?}", self.heard());
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
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
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

struct Player {
    reader: BufReader<Stream>,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    number: usize,
    open: Arc<AtomicUsize>,
    left: bool,
    tls: Option<Arc<ServerConfig>>,
}

impl Player {
    fn play(mut self, script: &str) {
        for step in script.lines() {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            let went = match verb {
                "S" => self.say(format!("{rest}\r\n").as_bytes()),
                "R" => self.say(&unescape(rest)),
                "C" => self.line().filter(|line| line.starts_with(rest)).map(drop),
                "B" => self.body(),
                "K" => self.chunk(),
                "TLS" => self.shake_hands(),
                "MOST" if self.open.load(Ordering::SeqCst) > rest.parse().unwrap() => {
                    self.say(b"421 4.7.0 too many connections\r\n");
                    None
                }
                "MOST" => Some(()),
                "W" => {
                    thread::sleep(Duration::from_millis(rest.parse().unwrap()));
                    Some(())
                }
                "FLOOD" => {
                    std::iter::repeat_with(|| self.say(&unescape(rest).repeat(64))).find(Option::is_none).flatten()
                }
                "DRIP" => rest.bytes().try_for_each(|octet| {
                    thread::sleep(Duration::from_millis(300));
                    self.say(&[octet])
                }),
                "SERVE" => self.serve(),
                _ => panic!("not a step of a script: {step:?}"),
            };
            if went.is_none() {
                self.note(format!("ended at: {step}"));
                break;
            }
        }
        self.leave();
        // A close that the other side sees as one, even when it still writes.
        self.reader.get_ref().socket().shutdown(std::net::Shutdown::Write).ok();
        self.reader.get_ref().socket().set_read_timeout(Some(Duration::from_millis(200))).ok();
        std::io::copy(&mut self.reader.by_ref().take(1 << 20), &mut std::io::sink()).ok();
    }

    /// It does not count as open any more.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn note(&self, line: String) {
        self.heard.lock().unwrap()[self.number].push(line);
    }

    fn say(&mut self, octets: &[u8]) -> Option<()> {
        self.reader.get_mut().write_all(octets).ok()?;
        self.reader.get_mut().flush().ok()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).ok().filter(|length| *length > 0)?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        self.note(line.clone());
        Some(line)
    }

    fn body(&mut self) -> Option<()> {
        let mut content = Vec::new();
        while content != b".\r\n" && !content.ends_with(b"\r\n.\r\n") {
            self.reader.read_until(b'\n', &mut content).ok().filter(|length| *length > 0)?;
        }
        self.note(format!("content: {}", String::from_utf8_lossy(&content)));
        Some(())
    }

    fn chunk(&mut self) -> Option<()> {
        let command = self.line()?;
        let octets = command.strip_prefix("BDAT ")?.split(' ').next()?.parse().ok()?;
        let mut content = vec![0; octets];
        self.reader.read_exact(&mut content).ok()?;
        self.note(format!("chunk: {}", String::from_utf8_lossy(&content)));
        Some(())
    }

    fn shake_hands(&mut self) -> Option<()> {
        let tls = ServerConnection::new(Arc::clone(self.tls.as_ref()?)).ok()?;
        let stream = Stream::Plain(self.reader.get_ref().socket().try_clone().ok()?);
        if let Stream::Plain(socket) = std::mem::replace(&mut self.reader, BufReader::new(stream)).into_inner() {
            self.reader = BufReader::new(Stream::Tls(Box::new(StreamOwned::new(tls, socket))));
        }
        Some(())
    }

    fn serve(&mut self) -> Option<()> {
        loop {
            let line = self.line()?;
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => self.say(b"250-hop.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
                "DATA" => {
                    self.say(b"354 go on\r\n")?;
                    self.body()?;
                    self.say(b"250 taken\r\n")?;
                }
                "QUIT" => {
                    // Before the other side can know that it is over.
                    self.leave();
                    return self.say(b"221 bye\r\n");
                }
                _ => self.say(b"250 ok\r\n")?,
            }
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), text);
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter != '\\' {
            octets.extend_from_slice(letter.to_string().as_bytes());
            continue;
        }
        let code = rest.chars().next().unwrap();
        rest = &rest[1..];
        octets.push(match code {
            'r' => b'\r',
            'n' => b'\n',
            '0' => 0,
            'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(digits, 16).unwrap()
            }
            other => panic!("\\{other}"),
        });
    }
    octets
}
