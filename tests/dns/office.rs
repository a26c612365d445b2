//! A real relay that asks our name server, real mail servers behind the addresses that it finds, and what became of mail.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use postern_relay::control::{self, Answer, Client as Control, Pending};
use postern_tests::clock::wait_for;
use postern_tests::loopback;
use postern_tests::relay::Relay;
use postern_tests::settings::relaying;
use postern_tests::sink::{Mail, Sink};
use postern_tests::smtp::{Client, Reply};
use postern_wire::snapshot::{Host, HostName, Network, NextHop, Outbound, OutboundRecipients, Way};
use postern_wire::{Section, Snapshot, Status};

pub(crate) const SOON: Duration = Duration::from_secs(30);
/// In the sources of the RelayHost `app`.
pub(crate) const APP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1));
/// What `--mx-allow` says: all addresses of [`place`], none of 127.0.0.0/9.
pub(crate) const ALLOWED: &str = "127.128.0.0/9";

/// A relay for contoso.test, its mailbox server, and the port of all mail exchangers.
pub(crate) struct Office {
    pub(crate) relay: Relay,
    pub(crate) mailbox: Sink,
    pub(crate) port: u16,
}

/// One of the addresses that only this process has, all within [`ALLOWED`].
pub(crate) fn place(number: u8) -> IpAddr {
    let IpAddr::V4(own) = loopback::address().ip() else { panic!("not IPv4") };
    let [_, _, middle, low] = own.octets();
    Ipv4Addr::new(127, 128 + number, middle, low).into()
}

/// The host `app` may send as contoso.test to anyone; that goes directly. Mail to contoso.test goes to `mailbox`.
pub(crate) fn direct(mailbox: SocketAddr) -> Snapshot {
    let mut snapshot = relaying("contoso.test", mailbox);
    let mut domain = snapshot.domains[0].spec.clone();
    domain.outbound = Some(Way::Open(Outbound {
        hosts: vec!["app".to_owned()],
        recipients: OutboundRecipients::Any,
        via: Vec::new(),
        policy: "default".to_owned(),
    }));
    let app = Host {
        endpoints: Vec::new(),
        sources: vec![Network { range: format!("{APP}/32"), except: Vec::new() }],
        ..snapshot.hosts[0].spec.clone()
    };
    snapshot.domains = vec![Section::new("contoso", "uid-of-contoso", 1, domain)];
    snapshot.hosts.insert(0, Section::new("app", "uid-of-app", 1, app));
    snapshot
}

/// The same, but the host `app` is this name.
pub(crate) fn named(mailbox: SocketAddr, name: HostName) -> Snapshot {
    let mut snapshot = direct(mailbox);
    let app = Host { sources: Vec::new(), source_names: vec![name], ..snapshot.hosts[0].spec.clone() };
    snapshot.hosts[0] = Section::new("app", "uid-of-app", 1, app);
    snapshot
}

/// The same as [`direct`], but it leaves by the mail exchangers of this domain.
pub(crate) fn by_the_mx_of(mailbox: SocketAddr, domain: &str) -> Snapshot {
    let mut snapshot = direct(mailbox);
    let smart = Host { endpoints: Vec::new(), mx: vec![domain.to_owned()], ..snapshot.hosts[1].spec.clone() };
    snapshot.hosts.push(Section::new("smart", "uid-of-smart", 1, smart));
    let mut contoso = snapshot.domains[0].spec.clone();
    if let Some(Way::Open(outbound)) = &mut contoso.outbound {
        outbound.via = vec![NextHop { preference: 10, host: "smart".to_owned() }];
    }
    snapshot.domains = vec![Section::new("contoso", "uid-of-contoso", 1, contoso)];
    snapshot
}

impl Office {
    /// With direct delivery, and further options.
    pub(crate) fn open(name_server: SocketAddr, options: &[(&str, &str)]) -> Self {
        Self::with(name_server, &[&[("--mx-allow", ALLOWED)], options].concat(), direct)
    }

    pub(crate) fn with(
        name_server: SocketAddr,
        options: &[(&str, &str)],
        settings: impl FnOnce(SocketAddr) -> Snapshot,
    ) -> Self {
        let mailbox = Sink::start().unwrap();
        let port = loopback::address().port();
        let mut relay = Relay::prepare().unwrap();
        let (server, mx_port) = (name_server.to_string(), port.to_string());
        for (option, value) in [
            ("--dns", server.as_str()),
            ("--mx-port", &mx_port),
            ("--dns-try-time", "1s"),
            ("--dns-time", "3s"),
            ("--dns-failure-time", "0"),
            ("--dns-ttl-max", "1s"),
            ("--dns-negative-ttl-max", "1s"),
            ("--connect-time", "5s"),
            ("--retry-first", "1s"),
            ("--retry-max", "2s"),
            ("--host-retry-first", "1s"),
            ("--host-retry-max", "2s"),
            ("--drain-accept-time", "0"),
        ]
        .iter()
        .chain(options)
        {
            // The latter wins.
            if !options.iter().any(|(other, text)| other == option && text != value) {
                relay.option(option, value);
            }
        }
        relay.volume.publish(&settings(mailbox.address()), &[]).unwrap();
        relay.start_again().unwrap();
        Self { relay, mailbox, port }
    }

    /// A mail server at one of our places.
    pub(crate) fn exchanger(&self, number: u8) -> Sink {
        Sink::listen((place(number), self.port).into()).unwrap()
    }

    /// A message of ours is taken.
    pub(crate) fn send(&self, to: &str) {
        let reply = self.submit(APP, to).unwrap();
        assert_eq!(reply.code, 250, "{reply}");
    }

    /// Sends from an address, as far as it may.
    pub(crate) fn submit(&self, from: IpAddr, to: &str) -> anyhow::Result<Reply> {
        let mut client = Client::connect_from(from, self.relay.smtp)?;
        let greeting = client.reply()?;
        if greeting.code != 220 {
            return Ok(greeting);
        }
        client.say("EHLO app.contoso.test", 250)?;
        for line in ["MAIL FROM:<robot@contoso.test>".to_owned(), format!("RCPT TO:<{to}>")] {
            let reply = client.ask(&line)?;
            if reply.code != 250 {
                return Ok(reply);
            }
        }
        client.say("DATA", 354)?;
        client.send(b"From: robot@contoso.test\r\nSubject: far\r\n\r\nhello\r\n.\r\n")?;
        client.reply()
    }

    /// The notification about a message, once it is here: as text.
    pub(crate) fn bounce(&self) -> String {
        let mails = self.mailbox.wait_for_mails(1, SOON);
        let mails = mails.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", self.pending(), self.relay.log()));
        assert_eq!((mails.len(), mails[0].recipients.as_slice()), (1, &["<robot@contoso.test>".to_owned()][..]));
        String::from_utf8(mails[0].content.clone()).unwrap()
    }

    /// Every recipient that waits.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let mut client = Control::connect(&self.relay.control()).unwrap();
        let answers = client.ask(control::Command::List(control::List::default())).unwrap();
        let pending = |answer| match answer {
            Ok(Answer::Message(message)) => message.pending,
            other => panic!("not a message: {other:?}"),
        };
        answers.flat_map(pending).collect()
    }

    /// What the last attempt of the only message heard, once there was one.
    pub(crate) fn deferred(&self) -> (String, String) {
        wait_for("a deferral", SOON, || {
            let last = self.pending().pop()?.last?;
            Some((last.status, last.reply))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.relay.log()))
    }

    pub(crate) fn metric(&self, line: &str) -> u64 {
        let (_, text) = self.relay.get("/metrics").unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    }

    pub(crate) fn status(&self) -> Status {
        serde_json::from_str(&self.relay.get("/status").unwrap().1).unwrap()
    }
}

/// The messages of an exchanger, once there is one.
pub(crate) fn received(exchanger: &Sink, office: &Office) -> Vec<Mail> {
    let mails = exchanger.wait_for_mails(1, SOON);
    mails.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", office.pending(), office.relay.log()))
}
