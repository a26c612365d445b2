//! A next hop that follows a script, for what no real server can be made to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_tests::clock::wait_for;
use postern_tests::loopback;

use crate::post::SOON;

/// A script that takes one message and then whatever comes.
pub(crate) const TAKE_ALL: &str = "S 220 hop.test\nSERVE";

/// A scripted server. Each connection plays the next script; the last one is played again for all further ones.
///
/// `S line` says a line; `R octets` says octets as they are (`\r`, `\n`, `\0` and `\xNN` are read); `C prefix` expects a line;
/// `B` reads content to its end; `W ms` waits; `FLOOD text` says it until nobody listens; `DRIP text` says an octet each
/// 300 ms; `SERVE` takes everything politely. The end of the script closes the connection.
pub(crate) struct Hop {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Hop {
    pub(crate) fn start(scripts: &[&str]) -> Self {
        let address = loopback::address();
        let listener = TcpListener::bind(address).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let scripts: Vec<String> = scripts.iter().map(|script| (*script).to_owned()).collect();
        thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let script = scripts[number.min(scripts.len() - 1)].clone();
                    heard.lock().unwrap().push(Vec::new());
                    let player = Player { reader: BufReader::new(stream.unwrap()), heard: Arc::clone(&heard), number };
                    thread::spawn(move || player.play(&script));
                }
            }
        });
        Self { address, heard }
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

struct Player {
    reader: BufReader<TcpStream>,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    number: usize,
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
        // A close that the other side sees as one, even when it still writes.
        self.reader.get_mut().shutdown(std::net::Shutdown::Write).ok();
        self.reader.get_mut().set_read_timeout(Some(Duration::from_millis(200))).ok();
        std::io::copy(&mut self.reader.by_ref().take(1 << 20), &mut std::io::sink()).ok();
    }

    fn note(&self, line: String) {
        self.heard.lock().unwrap()[self.number].push(line);
    }

    fn say(&mut self, octets: &[u8]) -> Option<()> {
        self.reader.get_mut().write_all(octets).ok()
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
                "QUIT" => return self.say(b"221 bye\r\n"),
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
