//! STARTTLS (RFC 3207) with every verification: what is encrypted, what is refused, and what goes in plain text.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use postern_relay::metrics::Outcome;
use postern_tests::loopback;
use postern_wire::snapshot::{Handshake, Verification};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::post::{Post, Settings};

/// How a server treats STARTTLS.
#[derive(Clone)]
enum Offer {
    Never,
    /// With what it says behind its 220 before the handshake: nothing, or an injection.
    Yes(Arc<ServerConfig>, &'static str),
    /// Offers it, and answers this.
    Answers(&'static str),
    /// Offers it, agrees, and talks nonsense.
    Broken,
    /// Offers it, agrees, and hangs up.
    Closes,
}

/// A server that notes each command, with `tls ` before those that came encrypted.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(offer: &Offer) -> Self {
        let address = loopback::address();
        let listener = TcpListener::bind(address).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (notes, offer) = (Arc::clone(&heard), offer.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (notes, offer) = (Arc::clone(&notes), offer.clone());
                thread::spawn(move || serve(stream.unwrap(), &offer, &notes));
            }
        });
        Self { address, heard }
    }

    fn heard(&self, prefix: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|line| line.starts_with(prefix)).count()
    }
}

fn serve(stream: TcpStream, offer: &Offer, heard: &Mutex<Vec<String>>) {
    stream.set_nodelay(true).unwrap();
    let extension = if matches!(offer, Offer::Never) { "8BITMIME" } else { "STARTTLS" };
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 tls.test\r\n").ok();
    talk(&mut stream, heard, "", extension);
    match offer {
        Offer::Never => {}
        Offer::Answers(line) => {
            stream.get_mut().write_all(line.as_bytes()).ok();
            if !line.is_empty() {
                talk(&mut stream, heard, "", extension);
            }
        }
        Offer::Broken => {
            stream.get_mut().write_all(b"220 go\r\n").ok();
            let mut hello = [0; 16];
            stream.read_exact(&mut hello).ok();
            stream.get_mut().write_all(b"this is not TLS at all\r\n").ok();
        }
        Offer::Closes => {
            stream.get_mut().write_all(b"220 go\r\n").ok();
        }
        Offer::Yes(config, injected) => {
            stream.get_mut().write_all(format!("220 go\r\n{injected}").as_bytes()).ok();
            let tls = ServerConnection::new(Arc::clone(config)).unwrap();
            talk(&mut BufReader::new(StreamOwned::new(tls, stream.into_inner())), heard, "tls ", "8BITMIME");
        }
    }
}

/// Takes everything, until STARTTLS or the end.
fn talk<S: Read + Write>(stream: &mut BufReader<S>, heard: &Mutex<Vec<String>>, how: &str, extension: &str) {
    let mut line = String::new();
    let mut content = false;
    while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
        let command = line.trim_end().to_owned();
        line.clear();
        if content && command != "." {
            continue;
        }
        heard.lock().unwrap().push(format!("{how}{command}"));
        content = command == "DATA";
        let reply = match command.split(' ').next().unwrap_or_default() {
            "STARTTLS" => return,
            "EHLO" => format!("250-tls.test\r\n250 {extension}\r\n"),
            "DATA" => "354 go\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        };
        if stream.get_mut().write_all(reply.as_bytes()).is_err() || stream.get_mut().flush().is_err() {
            return;
        }
    }
}

fn settings(server: &Server, verification: Verification, ca: Option<&Authority>, name: Option<&str>) -> Settings {
    Settings::to(&[server.address]).secured(Handshake::StartTls, verification, ca, name)
}

/// The message arrives; how many of its commands MAIL came encrypted, and in plain text.
fn arrives(server: &Server, settings: Settings) -> (usize, usize, u64) {
    let post = Post::start(settings);
    post.post_one();
    post.wait_until_empty();
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (1, 0));
    (server.heard("tls MAIL"), server.heard("MAIL"), post.metrics().tls_fallbacks.get())
}

/// The message is deferred with this status, and no word of it was said.
fn stays(server: &Server, settings: Settings, status: &str, said: &str) {
    let post = Post::start(settings);
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert!(heard.reply.contains(said), "{heard:?}");
    assert_eq!((heard.status.as_str(), server.heard("tls MAIL"), server.heard("MAIL")), (status, 0, 0), "{heard:?}");
}

#[test]
fn opportunistic_encrypts_with_anyone_and_goes_in_plain_text_otherwise() {
    let stranger = Authority::new().certify("elsewhere.test", 2030);
    for (offer, expected) in [
        (Offer::Yes(stranger, ""), (1, 0, 0)),
        (Offer::Never, (0, 1, 0)),
        (Offer::Answers("454 4.7.0 not now\r\n"), (0, 1, 1)),
        (Offer::Broken, (0, 1, 1)),
        (Offer::Closes, (0, 1, 1)),
        (Offer::Answers("500 5.5.1 what?\r\n"), (0, 1, 1)),
        (Offer::Answers(""), (0, 1, 1)),
        (Offer::Answers("421 4.3.0 broken\r\n"), (0, 1, 1)),
    ] {
        let server = Server::start(&offer);
        assert_eq!(arrives(&server, settings(&server, Verification::Opportunistic, None, None)), expected);
    }
}

#[test]
fn required_encrypts_with_anyone_or_not_at_all() {
    let server = Server::start(&Offer::Yes(Authority::new().certify("elsewhere.test", 2021), ""));
    assert_eq!(arrives(&server, settings(&server, Verification::Required, None, None)), (1, 0, 0));
    for (offer, status, said) in [
        (Offer::Never, "4.7.4", "does not offer STARTTLS"),
        (Offer::Answers("454 4.7.0 not now\r\n"), "4.7.0", "454 4.7.0 not now"),
        (Offer::Answers("554 5.7.0 never\r\n"), "4.7.0", "554 5.7.0 never"),
        (Offer::Answers("500 5.5.1 what?\r\n"), "4.5.1", "500 5.5.1 what?"),
        (Offer::Answers(""), "4.4.2", "closed the connection instead of answering STARTTLS"),
        (Offer::Broken, "4.7.5", "TLS handshake failed"),
        (Offer::Closes, "4.7.5", "TLS handshake failed"),
    ] {
        let server = Server::start(&offer);
        stays(&server, settings(&server, Verification::Required, None, None), status, said);
        let ours = Authority::new();
        stays(&server, settings(&server, Verification::Verified, Some(&ours), None), status, said);
    }
}

#[test]
fn verified_takes_the_right_name_from_the_right_authority_only() {
    let (ours, theirs) = (Authority::named("Ours"), Authority::named("Theirs"));
    let offer = |authority: &Authority, name, until| Offer::Yes(authority.certify(name, until), "");
    let server = Server::start(&offer(&ours, "mail.test", 2030));
    let name = Some("mail.test");
    assert_eq!(arrives(&server, settings(&server, Verification::Verified, Some(&ours), name)), (1, 0, 0));
    for (offer, said) in [
        (offer(&theirs, "mail.test", 2030), "UnknownIssuer"),
        (offer(&ours, "elsewhere.test", 2030), "not valid for name"),
        (offer(&ours, "mail.test", 2021), "expired"),
        (Offer::Never, "does not offer STARTTLS"),
    ] {
        let status = if matches!(offer, Offer::Never) { "4.7.4" } else { "4.7.5" };
        let server = Server::start(&offer);
        stays(&server, settings(&server, Verification::Verified, Some(&ours), name), status, said);
    }
    // The public authorities do not know ours.
    let server = Server::start(&offer(&ours, "mail.test", 2030));
    stays(&server, settings(&server, Verification::Verified, None, name), "4.7.5", "UnknownIssuer");
}

#[test]
fn verified_without_a_name_looks_for_the_address_itself() {
    let ours = Authority::new();
    let address = loopback::address().ip().to_string();
    let server = Server::start(&Offer::Yes(ours.certify(&address, 2030), ""));
    assert_eq!(arrives(&server, settings(&server, Verification::Verified, Some(&ours), None)), (1, 0, 0));
}

#[test]
fn what_is_said_before_the_handshake_is_forgotten() {
    // As if EHLO had been asked already, and the server offered PIPELINING: then everything would come in one write.
    let injected = "250-tls.test\r\n250-SIZE 1\r\n250 PIPELINING\r\n";
    let server = Server::start(&Offer::Yes(Authority::new().certify("elsewhere.test", 2030), injected));
    assert_eq!(arrives(&server, settings(&server, Verification::Required, None, None)), (1, 0, 0));
    assert_eq!((server.heard("tls EHLO"), server.heard("tls MAIL FROM:<alice@sender.test> SIZE")), (1, 0));
}
