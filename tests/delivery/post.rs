//! A spool and a delivery in this process, with settings that a test can exchange. Everything here blocks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use postern_relay::address::ReversePath;
use postern_relay::config::{self, Config, Directory, Secrets};
use postern_relay::delivery::{self, Exchangers};
use postern_relay::dns::reach::Reach;
use postern_relay::dns::{Answer, Exchange, Failure, Lookup};
use postern_relay::envelope::{Dsn, Envelope, Origin, Remote};
use postern_relay::limits::Limits;
use postern_relay::metrics::{Fate, Metrics, Outcome};
use postern_relay::queue_id::QueueId;
use postern_relay::shutdown::{self, Stage, Trigger};
use postern_relay::spool::{self, Spool};
use postern_tests::clock::wait_for;
use postern_tests::settings::relaying;
use postern_wire::Snapshot;
use postern_wire::snapshot::{Auth, Handshake, Host, NextHop, SecretFile, Section, Tls, Verification, Way};

use tokio::sync::oneshot;

use crate::authority::Authority;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Settings in the making: `example.test` and `other.test` are delivered to the hosts that are named.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) snapshot: Snapshot,
    pub(crate) secrets: Vec<(String, Vec<u8>)>,
}

impl Settings {
    /// `example.test` goes to the host `mailbox`, which has these endpoints.
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Self {
        let snapshot = relaying("example.test", SocketAddr::from(([127, 0, 0, 1], 25)));
        Self { snapshot, secrets: Vec::new() }.host("mailbox", endpoints)
    }

    /// Adds a host, or gives one new endpoints.
    pub(crate) fn host(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        let named: Vec<_> = endpoints.iter().map(|address| (address.ip().to_string(), address.port())).collect();
        self.host_by_name(name, &named)
    }

    pub(crate) fn host_by_name(mut self, name: &str, endpoints: &[(String, u16)]) -> Self {
        let mut host = self.snapshot.hosts[0].spec.clone();
        host.endpoints = endpoints
            .iter()
            .map(|(address, port)| postern_wire::snapshot::Endpoint { address: address.clone(), port: *port })
            .collect();
        self.snapshot.hosts.retain(|section| section.name != name);
        self.snapshot.hosts.push(Section::new(name, format!("uid-{name}"), 1, host));
        self
    }

    pub(crate) fn change_host(mut self, name: &str, change: impl FnOnce(&mut Host)) -> Self {
        let section = self.snapshot.hosts.iter_mut().find(|section| section.name == name).unwrap();
        let mut spec = section.spec.clone();
        change(&mut spec);
        *section = Section::new(name, section.uid.clone(), section.generation + 1, spec);
        self
    }

    /// How the connection to `mailbox` is protected.
    pub(crate) fn secured(
        self,
        handshake: Handshake,
        verification: Verification,
        ca: Option<&Authority>,
        name: Option<&str>,
    ) -> Self {
        let tls = Tls {
            client_certificate: None,
            handshake,
            verification,
            server_name: name.map(str::to_owned),
            ca: ca.map(|_| SecretFile("ca.crt".to_owned())),
        };
        let settings = self.change_host("mailbox", |host| host.tls = Way::Open(tls));
        ca.into_iter().fold(settings, |settings, ca| settings.secret("ca.crt", &ca.pem))
    }

    /// The login at `mailbox`.
    pub(crate) fn login(self, username: &str, password: &str) -> Self {
        let file = |name: &str| SecretFile(name.to_owned());
        let auth = Auth { username: file("username"), password: file("password") };
        let settings = self.change_host("mailbox", |host| host.auth = Some(Way::Open(auth)));
        settings.secret("username", username).secret("password", password)
    }

    pub(crate) fn secret(mut self, name: &str, content: &str) -> Self {
        self.secrets.push((name.to_owned(), content.as_bytes().to_vec()));
        self
    }

    /// The hosts of `example.test`, each with its preference.
    pub(crate) fn deliver_to(mut self, hosts: &[(u16, &str)]) -> Self {
        let section = &mut self.snapshot.domains[0];
        let mut spec = section.spec.clone();
        if let Way::Open(inbound) = &mut spec.inbound {
            inbound.deliver_to = hops(hosts);
        }
        *section = Section::new("relayed", section.uid.clone(), section.generation + 1, spec);
        self
    }

    /// A second domain, `other.test`, with these hosts.
    pub(crate) fn other(mut self, hosts: &[(u16, &str)]) -> Self {
        let mut other = self.clone().deliver_to(hosts).snapshot.domains[0].spec.clone();
        other.names = vec!["other.test".into()];
        self.snapshot.domains.push(Section::new("zother", "uid-zother", 1, other));
        self
    }

    /// How notifications leave.
    pub(crate) fn bounces(mut self, host: &str) -> Self {
        let section = &mut self.snapshot.domains[0];
        let mut spec = section.spec.clone();
        spec.bounces = Some(Way::Open(hops(&[(10, host)])));
        *section = Section::new("relayed", section.uid.clone(), section.generation + 1, spec);
        self
    }

    pub(crate) fn without_domains(mut self) -> Self {
        self.snapshot.domains.clear();
        self
    }

    /// A fault is the settings' own business: a host that cannot be used says so when it is asked.
    fn build(&self) -> Config {
        let secrets: Secrets = self.secrets.iter().cloned().collect();
        let mut snapshot = self.snapshot.clone();
        snapshot.hosts.sort_by(|one, other| one.name.cmp(&other.name));
        config::build(snapshot, &secrets, None).unwrap().0
    }
}

fn hops(hosts: &[(u16, &str)]) -> Vec<NextHop> {
    hosts.iter().map(|(preference, host)| NextHop { preference: *preference, host: (*host).to_owned() }).collect()
}

/// How often `panics.test` was looked up.
pub(crate) static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Names that only a test knows.
#[derive(Clone, Default)]
pub(crate) struct Names(pub(crate) BTreeMap<String, Vec<IpAddr>>);

impl Lookup for Names {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Answer<IpAddr>, Failure>> {
        if name == "panics.test" {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("a look-up that panics");
        }
        let found = self.0.get(name).cloned().ok_or(Failure::NoSuchName);
        Box::pin(async move { found.map(|records| Answer { records, ttl: SOON, complete: true }) })
    }

    fn exchanges<'a>(&'a self, _domain: &'a str) -> BoxFuture<'a, Result<Answer<Exchange>, Failure>> {
        Box::pin(async { Err(Failure::NoSuchName) })
    }
}

/// What a post office is made of.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) names: Names,
    pub(crate) message_size_max: u64,
}

impl Plan {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut limits = Limits::default();
        let millis = Duration::from_millis;
        (limits.retry_first, limits.retry_max) = (millis(300), millis(600));
        (limits.host_retry_first, limits.host_retry_max) = (millis(300), millis(600));
        (limits.connect_time, limits.delivery_reply_time) = (millis(2000), millis(2000));
        (limits.delivery_final_time, limits.delivery_send_time) = (millis(2000), millis(2000));
        limits.delivery_idle_time = millis(500);
        Self { settings, limits, names: Names::default(), message_size_max: 64 << 20 }
    }

    pub(crate) fn start(self) -> Post {
        self.start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(self, folder: tempfile::TempDir) -> Post {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut options = spool::Options::new(folder.path().join("spool"));
        options.message_size_max = self.message_size_max;
        // Small ones are made sooner, and a test has many spools.
        (options.segment_size, options.size_max) = (1 << 20, 256 << 20);
        let (spool, arrivals) = runtime.block_on(async { Spool::open(options, Timestamp::now()) }).unwrap();
        let config = Arc::new(Mutex::new(Arc::new(self.settings.build())));
        let metrics = Metrics::new();
        let (trigger, shutdown) = shutdown::channel();
        let view = Arc::<delivery::View>::default();
        let in_force = Arc::clone(&config);
        let options = delivery::Options {
            spool: spool.clone(),
            arrivals,
            directory: Arc::new(move || in_force.lock().unwrap().clone() as Arc<dyn Directory>),
            lookup: Arc::new(self.names),
            exchangers: Exchangers { reach: Reach::new(Vec::new()), port: 25, own: Vec::new() },
            limits: self.limits,
            hostname: "relay.test".into(),
            metrics: metrics.clone(),
            view: Arc::clone(&view),
            shutdown,
            // Nothing comes in but what the test posts.
            intake: oneshot::channel().1,
        };
        let task = runtime.spawn(delivery::run(options));
        Post { runtime, spool, config, metrics, view, trigger, task, folder }
    }
}

/// A post office that runs until it is dropped.
pub(crate) struct Post {
    runtime: tokio::runtime::Runtime,
    pub(crate) spool: Spool,
    config: Arc<Mutex<Arc<Config>>>,
    metrics: Metrics,
    view: Arc<delivery::View>,
    trigger: Trigger,
    task: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

/// A message to be posted.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) sender: &'static str,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
    pub(crate) arrived: Timestamp,
    /// Who handed it in.
    pub(crate) origin: Origin,
    pub(crate) binary: bool,
    pub(crate) utf8: bool,
    pub(crate) dsn: Option<Dsn>,
}

impl Letter {
    /// From alice@sender.test.
    pub(crate) fn to(recipients: &[&str]) -> Self {
        Self {
            sender: "alice@sender.test",
            recipients: recipients.iter().map(|recipient| (*recipient).to_owned()).collect(),
            content: b"Subject: hello\r\nMessage-ID: <1@sender.test>\r\n\r\nThe body.\r\n".to_vec(),
            arrived: Timestamp::now(),
            origin: Origin::Outsider { client: [192, 0, 2, 9].into() },
            binary: false,
            utf8: false,
            dsn: None,
        }
    }

    /// From a sender of ours, a source's.
    pub(crate) fn of_ours(recipients: &[&str]) -> Self {
        let origin =
            Origin::Source { client: [192, 0, 2, 9].into(), host: "mailbox".into(), domain: "example.test".into() };
        Self { sender: "carol@example.test", origin, ..Self::to(recipients) }
    }
}

impl Post {
    pub(crate) fn start(settings: Settings) -> Self {
        Plan::new(settings).start()
    }

    pub(crate) fn post(&self, letter: &Letter) -> QueueId {
        self.commit(self.spool.admit(None).unwrap(), letter, letter.origin.clone())
    }

    /// A message under an id and an origin of the test's choice.
    pub(crate) fn commit_as(&self, id: QueueId, letter: &Letter, origin: Origin) {
        self.commit(self.spool.admit_as(id).unwrap(), letter, origin);
    }

    fn commit(&self, mut intake: spool::Intake, letter: &Letter, origin: Origin) -> QueueId {
        let sender = match letter.sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(sender.parse().unwrap()),
        };
        let envelope = Envelope {
            arrived: letter.arrived,
            sender,
            recipients: letter.recipients.iter().map(|recipient| recipient.parse().unwrap()).collect(),
            origin,
            eight_bit: !letter.content.is_ascii(),
            binary: letter.binary,
            utf8: letter.utf8,
            dsn: letter.dsn.clone().map(Box::new),
        };
        self.runtime.block_on(async {
            intake.write(&letter.content).await.unwrap();
            self.spool.commit(intake.end().await.unwrap(), envelope).await.unwrap().id()
        })
    }

    /// A letter from alice to bob@example.test.
    pub(crate) fn post_one(&self) -> QueueId {
        self.post(&Letter::to(&["bob@example.test"]))
    }

    /// New settings are in force.
    pub(crate) fn change(&self, settings: &Settings) {
        *self.config.lock().unwrap() = Arc::new(settings.build());
    }

    /// What `postern queue retry` does; whether the message was still there.
    pub(crate) fn retry(&self, id: QueueId) -> bool {
        self.spool.retry(&[id], Timestamp::now()) == 1
    }

    /// Waits until nothing is queued.
    pub(crate) fn wait_until_empty(&self) {
        let empty = wait_for("an empty queue", SOON, || self.spool.queue().is_empty().then_some(()));
        assert!(empty.is_ok(), "still queued: {:?}", self.spool.queue());
    }

    /// Waits until the message was deferred so often; answers what was heard last.
    pub(crate) fn wait_for_attempts(&self, id: QueueId, attempts: u32) -> Remote {
        let heard = wait_for("a deferred recipient", SOON, || {
            let shown = self.runtime.block_on(self.spool.show(id))?;
            let pending = shown.recipients.into_iter().filter_map(|recipient| recipient.pending);
            pending.filter(|pending| pending.attempts >= attempts).find_map(|pending| pending.last)
        });
        Remote::clone(&heard.unwrap())
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.metrics.delivery().recipients.get_or_create(&Fate { outcome }).get()
    }

    /// Why mail to bob@example.test waits, if its next hops cannot be reached.
    pub(crate) fn down(&self) -> Option<delivery::Down> {
        let config = self.config.lock().unwrap().clone();
        let origin = Origin::Outsider { client: [192, 0, 2, 9].into() };
        self.view.down(&config.route(&origin, &"bob@example.test".parse().unwrap()))
    }

    pub(crate) fn metrics(&self) -> &postern_relay::metrics::Delivery {
        self.metrics.delivery()
    }

    /// Ends, and begins again on the same spool.
    pub(crate) fn restart(self, settings: Settings) -> Self {
        let Self { runtime, spool, trigger, task, folder, .. } = self;
        trigger.advance(Stage::Draining);
        runtime.block_on(async { tokio::time::timeout(SOON, task).await }).unwrap().unwrap();
        runtime.block_on(spool.close());
        drop((spool, runtime));
        Plan::new(settings).start_in(folder)
    }

    /// Lets it deliver what is due, and waits until it has ended.
    pub(crate) fn drain(self) -> Spool {
        self.end(Stage::Draining)
    }

    /// Stops claiming, and waits until delivery has ended.
    pub(crate) fn settle(self) -> Spool {
        self.end(Stage::Settling)
    }

    fn end(self, stage: Stage) -> Spool {
        self.trigger.advance(stage);
        self.runtime.block_on(async { tokio::time::timeout(SOON, self.task).await }).unwrap().unwrap();
        self.spool
    }
}
