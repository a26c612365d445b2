//! A relay under attack, and the four oracles of every row: the replies (the test's own), what reached the mail server, a
//! bystander whose session was open before and who still gets mail through, and what it all cost.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_tests::relay::Relay;
use postern_tests::settings::relaying;
use postern_tests::sink::{Mail, Sink};
use postern_tests::smtp::{Client, Reply};
use postern_tests::usage::Usage;
use postern_wire::snapshot::{
    Inbound, InboundTls, Network, NextHop, Outbound, OutboundRecipients, RecipientMode, Recipients, Section, Snapshot,
    Verifier, Way,
};

/// What an attack may cost.
const MEMORY_MAX: u64 = 64 << 20;
const CPU_MAX: Duration = Duration::from_secs(1);
/// How long mail may take to reach the mail server on a busy machine.
const DELIVERY: Duration = Duration::from_secs(60);
/// What nobody may smuggle past a content.
pub(crate) const SMUGGLED: &[u8] =
    b"MAIL FROM:<smuggled@x.test>\r\nRCPT TO:<bob@ours.test>\r\nDATA\r\nSubject: SMUGGLED\r\n\r\n.\r\n";
/// From here our own mail server sends; every other address is a stranger's.
pub(crate) const SOURCE: &str = "127.0.0.2";
/// The size limit of a message: the least that a policy may say.
pub(crate) const MESSAGE_SIZE: usize = 64 << 10;

/// See the module's description.
pub(crate) struct Scene {
    pub(crate) sink: Sink,
    pub(crate) relay: Relay,
    bystander: Client,
    before: Usage,
    cpu_max: Duration,
}

/// `open.test` takes everyone, `ours.test` and `bücher.test` know bob, jürgen and a few odd ones; only [`SOURCE`] may send as `ours.test`. Both
/// are delivered to the sink.
pub(crate) fn settings(sink: &Sink) -> Snapshot {
    let mut snapshot = relaying("open.test", sink.address());
    let known =
        ["bob@ours.test", "\"odd one\"@ours.test", "\"victim@evil.test\"@ours.test", "j\u{fc}rgen@xn--bcher-kva.test"];
    let mut known: Vec<_> = known.map(str::to_owned).into();
    known.sort();
    let hop = || NextHop { preference: 10, host: "mailbox".to_owned() };
    let mode = RecipientMode::Verify(vec![Verifier::List(known)]);
    let inbound = Inbound {
        tls: InboundTls::default(),
        deliver_to: vec![hop()],
        recipients: Recipients { mode, subaddress_delimiter: None },
        policy: "default".to_owned(),
    };
    let outbound = Outbound {
        hosts: vec!["mailbox".to_owned()],
        recipients: OutboundRecipients::Any,
        via: vec![hop()],
        policy: "default".to_owned(),
    };
    let mut ours = snapshot.domains[0].spec.clone();
    ours.names = vec!["ours.test".to_owned(), "xn--bcher-kva.test".to_owned()];
    (ours.inbound, ours.outbound) = (Way::Open(inbound), Some(Way::Open(outbound)));
    snapshot.domains.insert(0, Section::new("ours", "uid-of-ours", 1, ours));
    let mut mailbox = snapshot.hosts[0].spec.clone();
    mailbox.sources = vec![Network { range: format!("{SOURCE}/32"), except: Vec::new() }];
    snapshot.hosts[0] = Section::new("mailbox", "uid-of-mailbox", 1, mailbox);
    let mut policy = snapshot.policies[0].spec.clone();
    policy.limits.message_size = MESSAGE_SIZE as u64;
    snapshot.policies[0] = Section::new("default", "uid-of-default", 1, policy);
    snapshot
}

impl Scene {
    pub(crate) fn open() -> Result<Self> {
        Self::with(&[])
    }

    /// With options of the relay.
    pub(crate) fn with(options: &[(&str, &str)]) -> Result<Self> {
        let sink = Sink::start()?;
        let mut relay = Relay::prepare()?;
        for (option, value) in options {
            relay.option(option, value);
        }
        relay.volume.publish(&settings(&sink), &[])?;
        relay.start_again()?;
        let bystander = relay.client()?;
        let before = relay.usage()?;
        Ok(Self { sink, relay, bystander, before, cpu_max: CPU_MAX })
    }

    /// For limits that are shorter than the attack: the bystander comes again.
    pub(crate) fn with_new_bystander(mut self) -> Result<Self> {
        self.bystander = self.relay.client()?;
        Ok(self)
    }

    /// A stranger who has said EHLO.
    pub(crate) fn stranger(&self) -> Result<Client> {
        self.relay.client()
    }

    /// A client at this address who has said EHLO.
    pub(crate) fn client_at(&self, address: &str) -> Result<Client> {
        let mut client = Client::connect_from(address.parse::<IpAddr>()?, self.relay.smtp)?;
        client.expect(220)?;
        client.say("EHLO client.test", 250)?;
        Ok(client)
    }

    /// A stranger who may send content now: MAIL, RCPT and DATA are taken.
    pub(crate) fn stranger_in_data(&self) -> Result<Client> {
        let mut client = self.stranger()?;
        in_data(&mut client)?;
        Ok(client)
    }

    /// An attack of so many connections that taking them alone, in a debug build, comes near the usual limit.
    pub(crate) fn with_cpu(mut self, cpu_max: Duration) -> Self {
        self.cpu_max = cpu_max;
        self
    }

    /// After the attack: it reached the mail server so often, and with nothing but that; the relay lives and serves the
    /// bystander; and it cost no more than it may. Answers the attack's mail.
    pub(crate) fn survived(mut self, messages: usize) -> Result<Vec<Mail>> {
        let reply = self.bystander.mail("by@stander.test", &["bob@ours.test"], b"Subject: innocent\r\n\r\nbody\r\n")?;
        ensure!(reply.code == 250, "the bystander's mail: {reply}");
        let mut mails = self.sink.wait_for_mails(messages + 1, DELIVERY)?;
        let innocent = mails.iter().position(|mail| mail.content.ends_with(b"Subject: innocent\r\n\r\nbody\r\n"));
        mails.remove(innocent.context("the bystander's mail did not arrive")?);
        ensure!(mails.len() == messages, "{} messages came through, not {messages}: {mails:?}", mails.len());
        ensure!(mails.iter().all(|mail| !mail.sender.contains("smuggled")), "smuggled: {mails:?}");
        ensure!(self.relay.is_alive(), "the relay is dead:\n{}", self.relay.log());
        let after = self.relay.usage()?;
        let (grown, cpu) = (after.resident_peak.saturating_sub(self.before.resident), after.cpu - self.before.cpu);
        ensure!(grown < MEMORY_MAX, "the relay grew by {grown} octets");
        ensure!(cpu < self.cpu_max, "the relay used {cpu:?} of processor time");
        ensure!(!self.relay.log().contains("panic"), "a panic:\n{}", self.relay.log());
        Ok(mails)
    }
}

/// MAIL, RCPT and DATA.
pub(crate) fn in_data(client: &mut Client) -> Result<()> {
    client.say("MAIL FROM:<a@stranger.test>", 250)?;
    client.say("RCPT TO:<bob@ours.test>", 250)?;
    client.say("DATA", 354)?;
    Ok(())
}

/// All replies until the relay closes the connection.
pub(crate) fn replies_until_closed(client: &mut Client) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Ok(reply) = client.reply() {
        replies.push(reply);
    }
    replies
}

/// The codes of [`replies_until_closed`].
pub(crate) fn codes_until_closed(client: &mut Client) -> Vec<u16> {
    replies_until_closed(client).iter().map(|reply| reply.code).collect()
}
