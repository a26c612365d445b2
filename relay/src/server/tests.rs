//! The driver against real sockets: what a session alone cannot show.

use std::net::SocketAddr;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use postern_wire::snapshot as wire;
use postern_wire::snapshot::{Section, Snapshot, Way};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::{Config, Secrets, build};
use crate::envelope::{Envelope, Notify, OriginalRecipient, Outcome, Remote, Return};
use crate::shutdown::{Stage, Trigger, channel};
use crate::spool::{Arrivals, Options};

/// Everyone may write to anyone at `domain`.
fn config(domain: &str) -> Arc<Config> {
    let inbound = wire::Inbound {
        tls: wire::InboundTls::default(),
        deliver_to: vec![wire::NextHop { preference: 10, host: "mailbox".into() }],
        recipients: wire::Recipients { mode: wire::RecipientMode::AcceptAll, subaddress_delimiter: None },
        policy: "default".into(),
    };
    let domain =
        wire::Domain { names: vec![domain.into()], inbound: Way::Open(inbound), bounces: None, outbound: None };
    let tls = wire::Tls {
        client_certificate: None,
        handshake: wire::Handshake::None,
        verification: wire::Verification::Opportunistic,
        server_name: None,
        ca: None,
    };
    let mailbox = wire::Host {
        auth: None,
        limits: wire::HostLimits::default(),
        mx: Vec::new(),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        endpoints: vec![wire::Endpoint { address: "127.0.0.1".into(), port: 9 }],
        tls: Way::Open(tls),
        sources: Vec::new(),
        queue: wire::Queue { null_sender_lifetime: None, warn_after: None, lifetime: 3600 },
        suspend: false,
    };
    let policy = wire::Policy {
        blocked_names: Vec::new(),
        limits: wire::MessageLimits { message_size: 100_000, recipients_per_message: 10, hops: 5 },
        blocked_clients: Vec::new(),
        senders: wire::Senders::default(),
    };
    let snapshot = Snapshot {
        schema: postern_wire::SCHEMA,
        domains: vec![Section::new("domain", "1", 1, domain)],
        hosts: vec![Section::new("mailbox", "2", 1, mailbox)],
        policies: vec![Section::new("default", "3", 1, policy)],
        nodes: Vec::new(),
    };
    Arc::new(build(snapshot, &Secrets::default(), None).unwrap().0)
}

struct Rig {
    address: SocketAddr,
    live: Live,
    spool: Spool,
    arrivals: Arrivals,
    trigger: Trigger,
    metrics: Metrics,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn start(limits: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spool, arrivals) =
            Spool::open(Options { size_max: 64 << 20, ..Options::new(folder.path()) }, Timestamp::now()).unwrap();
        let live: Live = Arc::new(ArcSwap::new(config("ours.test")));
        let limits = limits.iter().fold(Limits::default(), |limits, (name, value)| limits.with(name, value).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = channel();
        let metrics = Metrics::new();
        let server = Server {
            hostname: "mx.test".into(),
            live: Arc::clone(&live),
            names: Arc::default(),
            spool: spool.clone(),
            trusted_proxies: Networks::default(),
            never_sources: Networks::default(),
            limits,
            metrics: metrics.clone(),
        };
        let listener = Listener { socket: listener, acceptor: None, implicit: false };
        let running = tokio::spawn(run(vec![listener], server, shutdown));
        Self { address, live, spool, arrivals, trigger, metrics, running, _folder: folder }
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    async fn client(&self) -> Client {
        let mut client = self.connect().await;
        assert_eq!(client.reply().await, "220 mx.test ESMTP Postern");
        client.say("EHLO client.test", "250 ").await;
        client
    }

    /// What the spool holds, octet by octet.
    async fn content(&mut self) -> Vec<u8> {
        self.stored().await.1
    }

    /// The next message of the spool, envelope and content.
    async fn stored(&mut self) -> (Envelope, Vec<u8>) {
        let id = self.arrivals.next().await.unwrap().id;
        let claim = self.spool.claim(id, &[0]).await.unwrap();
        let (mut content, mut all) = (claim.content().await.unwrap(), Vec::new());
        while let Some(piece) = content.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        let envelope = claim.envelope().clone();
        let taken = Remote { server: "mailbox".into(), reply: "250 taken".into(), status: "2.0.0".into() };
        self.spool.settle(claim, vec![Outcome::Delivered(taken)]).await; // or it would come back
        (envelope, all)
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).await.unwrap();
    }

    /// The last line of the next reply; empty when the connection is closed.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await.expect("a reply in time");
            if read.unwrap_or(0) == 0 || line.as_bytes()[3] == b' ' {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str, expected: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await;
        let reply = self.reply().await;
        assert!(reply.starts_with(expected), "{line}: {reply}, not {expected}");
        reply
    }

    async fn begin(&mut self) {
        self.say("MAIL FROM:<a@client.test>", "250 2.1.0").await;
        self.say("RCPT TO:<b@ours.test>", "250 2.1.5").await;
    }
}

#[tokio::test]
async fn a_message_is_in_the_spool_with_our_received_before_it() {
    let mut rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    client.begin().await;
    client.say("DATA", "354").await;
    let reply = client.say("Subject: a\r\n\r\n..one\r\n.", "250 2.0.0 queued as ").await;
    let id = reply.rsplit(' ').next().unwrap();
    let content = String::from_utf8(rig.content().await).unwrap();
    let (received, rest) = content.split_at(content.find("Subject").unwrap());
    assert!(
        received.starts_with("Received: from client.test ([127.0.0.1])\r\n\tby mx.test with ESMTP id "),
        "{received}"
    );
    assert!(received.contains(&format!("id {id}\r\n\tfor <b@ours.test>;\r\n\t")), "{received}");
    assert_eq!(rest, "Subject: a\r\n\r\n.one\r\n");
    assert_eq!((rig.metrics.server().messages.get(), rig.metrics.server().recipients.get()), (1, 1));
}

#[tokio::test]
async fn a_transaction_keeps_the_settings_that_it_began_with() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    client.say("MAIL FROM:<a@client.test>", "250").await;
    rig.live.store(config("other.test"));
    client.say("RCPT TO:<b@ours.test>", "250").await;
    client.say("DATA", "354").await;
    client.say("a: b\r\n.", "250").await;
    client.say("MAIL FROM:<a@client.test>", "250").await;
    client.say("RCPT TO:<b@ours.test>", "550 5.7.1").await;
    client.say("RCPT TO:<b@other.test>", "250").await;
}

#[tokio::test]
async fn over_the_limit_the_longest_idle_makes_room_and_the_busy_do_not() {
    let rig = Rig::start(&[("connections", "2")]).await;
    let mut idle = rig.client().await;
    let mut busy = rig.client().await;
    busy.begin().await;
    assert_eq!(rig.connect().await.reply().await, "421 4.3.2 too many connections, come back later");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut newcomer = rig.client().await;
    assert!(idle.reply().await.starts_with("421 4.3.2"));
    assert_eq!(idle.reply().await, "");
    newcomer.begin().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(rig.connect().await.reply().await.starts_with("421 4.3.2"));
    busy.say("DATA", "354").await;
}

#[tokio::test]
async fn a_line_has_its_deadline_as_a_whole() {
    let rig = Rig::start(&[("command-time", "1s")]).await;
    let mut client = rig.client().await;
    let begun = Instant::now();
    for octet in b"NOOP and so on, one octet after the other" {
        client.send(&[*octet]).await;
        if timeout(Duration::from_millis(100), client.0.fill_buf()).await.is_ok() {
            break;
        }
    }
    assert!(client.reply().await.starts_with("421 4.4.2"));
    assert!((1.0..2.5).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn content_has_a_least_rate_and_nothing_of_it_is_kept() {
    let rig = Rig::start(&[("body-time", "1s"), ("body-rate", "1Mi")]).await;
    let mut client = rig.client().await;
    client.begin().await;
    client.say("DATA", "354").await;
    let begun = Instant::now();
    while timeout(Duration::from_millis(100), client.0.fill_buf()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it may drip for ever");
        client.send(b"a: never silent\r\n").await;
    }
    assert!(client.reply().await.starts_with("421 4.4.2"));
    assert!((1.0..2.5).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert!(rig.spool.queue().is_empty());
}

#[tokio::test]
async fn a_client_that_reads_no_reply_is_closed() {
    let rig = Rig::start(&[("reply-time", "1s"), ("errors", "1000"), ("idle-commands", "10000")]).await;
    let mut client = rig.client().await;
    let flood = b"EHLO a\r\n".repeat(1000);
    let sent = timeout(Duration::from_secs(20), async { while client.0.get_mut().write_all(&flood).await.is_ok() {} });
    sent.await.expect("closed in time");
}

#[tokio::test]
async fn draining_tells_the_idle_lets_transactions_finish_and_takes_nobody_new() {
    let rig = Rig::start(&[]).await;
    let (mut idle, mut busy) = (rig.client().await, rig.client().await);
    busy.begin().await;
    rig.trigger.advance(Stage::Leaving);
    let mut last = rig.client().await;
    rig.trigger.advance(Stage::Draining);
    assert!(idle.reply().await.starts_with("421 4.3.2"));
    assert!(last.reply().await.starts_with("421 4.3.2"));
    busy.say("DATA", "354").await;
    busy.say("a: b\r\n.", "250 2.0.0").await;
    assert!(busy.reply().await.starts_with("421 4.3.2"));
    assert!(TcpStream::connect(rig.address).await.is_err());
    timeout(Duration::from_secs(5), rig.running).await.expect("all have ended").unwrap();
}

#[tokio::test]
async fn what_is_left_at_the_end_is_cut() {
    let rig = Rig::start(&[]).await;
    let mut busy = rig.client().await;
    busy.begin().await;
    rig.trigger.advance(Stage::Draining);
    rig.trigger.advance(Stage::Ended);
    timeout(Duration::from_secs(5), rig.running).await.expect("cut").unwrap();
    assert_eq!(busy.reply().await, "");
}

#[tokio::test]
async fn too_large_a_message_is_read_to_its_end_and_the_session_goes_on() {
    let mut rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    client.say("MAIL FROM:<a@client.test> SIZE=100001", "552 5.3.4").await;
    client.begin().await;
    client.say("DATA", "354").await;
    let line = [&[b'a'; 998][..], b"\r\n"].concat();
    client.send(&line.repeat(101)).await;
    client.say(".", "552 5.3.4").await;
    client.begin().await;
    client.say("DATA", "354").await;
    client.send(&line.repeat(99)).await;
    client.say(".", "250 2.0.0").await;
    assert_eq!(rig.spool.queue().len(), 1);
    assert!(rig.content().await.len() > 99_000);
}

#[tokio::test]
async fn hops_and_header_have_their_limits() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    for (content, reply) in [("Received: a\r\n".repeat(6), "554 5.4.6"), ("Received: a\r\n".repeat(5), "250 2.0.0")] {
        client.begin().await;
        client.say("DATA", "354").await;
        client.say(&format!("{content}\r\n."), reply).await;
    }
}

#[tokio::test]
async fn half_a_message_leaves_nothing() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    client.begin().await;
    client.say("DATA", "354").await;
    client.send(b"Subject: a\r\n\r\nb\r\n.").await;
    client.0.get_mut().shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    assert!(rig.spool.queue().is_empty());
}

/// A message of one recipient, by BDAT; what the spool has of it, content from the Subject on.
async fn chunked(rig: &mut Rig, mail: &str, rcpt: &str, chunks: &[&[u8]]) -> (Envelope, Vec<u8>) {
    let mut client = rig.client().await;
    client.say(mail, "250").await;
    client.say(rcpt, "250").await;
    for (place, chunk) in chunks.iter().enumerate() {
        let last = if place + 1 == chunks.len() { " LAST" } else { "" };
        client.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes()).await;
        client.send(chunk).await;
        let reply = client.reply().await;
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
    }
    let (envelope, content) = rig.stored().await;
    let subject = content.windows(7).position(|window| window == b"Subject").unwrap();
    (envelope, content[subject..].to_vec())
}

#[tokio::test]
async fn chunks_are_kept_octet_by_octet_and_declared_binary_ones_whatever_they_hold() {
    let mut rig = Rig::start(&[]).await;
    let (mail, rcpt) = ("MAIL FROM:<a@client.test>", "RCPT TO:<b@ours.test>");
    let lines: &[&[u8]] = &[b"Subject: a\r\n\r", b"\n.\r\n..", b"", b"\r\nno line end"];
    let (envelope, content) = chunked(&mut rig, mail, rcpt, lines).await;
    assert_eq!(content, lines.concat());
    assert_eq!((envelope.eight_bit, envelope.binary, envelope.utf8), (false, false, false));

    let binary: &[&[u8]] = &[b"Subject: a\r\n\r\n\n.\n\0\r", b"\xff\r.\r\n.\r\n\r"];
    let (envelope, content) = chunked(&mut rig, &format!("{mail} BODY=BINARYMIME"), rcpt, binary).await;
    assert_eq!(content, binary.concat());
    assert_eq!((envelope.eight_bit, envelope.binary), (true, true));

    let large: Vec<u8> = b"Subject: a\r\n\r\n".iter().copied().chain((0..=u8::MAX).cycle().take(90_000)).collect();
    let (_, content) = chunked(&mut rig, &format!("{mail} BODY=BINARYMIME"), rcpt, &[&large]).await;
    assert!(content == large);
}

#[tokio::test]
async fn utf8_is_needed_when_it_was_declared_and_the_header_or_the_sender_has_it() {
    let mut rig = Rig::start(&[]).await;
    let (ascii, utf8) = (&b"Subject: a\r\n\r\n\xc3\xbc"[..], "Subject: \u{fc}\r\n\r\n".as_bytes());
    for (mail, rcpt, content, needed) in [
        ("MAIL FROM:<a@client.test>", "RCPT TO:<b@ours.test>", utf8, false),
        ("MAIL FROM:<a@client.test> SMTPUTF8", "RCPT TO:<b@ours.test>", ascii, false),
        ("MAIL FROM:<a@client.test> SMTPUTF8", "RCPT TO:<b@ours.test>", utf8, true),
        ("MAIL FROM:<\u{fc}@client.test> SMTPUTF8", "RCPT TO:<b@ours.test>", ascii, true),
        ("MAIL FROM:<a@\u{fc}.test> SMTPUTF8", "RCPT TO:<b@ours.test>", ascii, false),
        ("MAIL FROM:<a@client.test> SMTPUTF8", "RCPT TO:<\u{fc}@ours.test>", ascii, false),
    ] {
        let (envelope, kept) = chunked(&mut rig, mail, rcpt, &[content]).await;
        assert_eq!((envelope.utf8, envelope.eight_bit), (needed, true), "{mail} {rcpt}");
        assert_eq!(kept, content);
    }
}

#[tokio::test]
async fn what_is_asked_about_notifications_stands_in_the_envelope() {
    let mut rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    client.say("MAIL FROM:<a@client.test> RET=HDRS ENVID=a+2Bb", "250").await;
    client.say("RCPT TO:<plain@ours.test>", "250").await;
    client.say("RCPT TO:<x@other.test> NOTIFY=NEVER", "550").await;
    client.say("RCPT TO:<b@ours.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+20d@x.test", "250").await;
    client.say("DATA", "354").await;
    client.say("a: b\r\n.", "250").await;
    let dsn = rig.stored().await.0.dsn.unwrap();
    assert_eq!((dsn.envid.as_deref(), dsn.ret), (Some("a+b"), Some(Return::Headers)));
    assert_eq!(dsn.recipients.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(dsn.recipients[&1].notify, Some(Notify { success: true, failure: false, delay: true }));
    let original = OriginalRecipient { kind: "rfc822".into(), address: "c d@x.test".into() };
    assert_eq!(dsn.recipients[&1].original, Some(original));
    client.say("MAIL FROM:<a@client.test>", "250").await;
    client.say("RCPT TO:<b@ours.test>", "250").await;
    client.say("DATA", "354").await;
    client.say("a: b\r\n.", "250").await;
    assert_eq!(rig.stored().await.0.dsn, None);
}

#[tokio::test]
async fn chunks_that_are_each_in_time_have_a_least_rate_together() {
    let rig = Rig::start(&[("body-time", "1s"), ("body-rate", "1Mi")]).await;
    let mut client = rig.client().await;
    client.begin().await;
    let begun = Instant::now();
    let chunk = [&b"BDAT 1024\r\n"[..], &[b'a'; 1022], b"\r\n"].concat();
    let last = loop {
        client.send(&chunk).await;
        let reply = client.reply().await;
        if !reply.starts_with("250 ") {
            break reply;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it may drip for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(last.starts_with("421 4.4.2"), "{last}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(rig.spool.queue().is_empty());
}
