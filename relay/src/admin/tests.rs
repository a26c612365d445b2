use postern_wire::snapshot::{self as wire, Snapshot};
use postern_wire::{SETTINGS_FILE, SettingsFile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::*;
use crate::shutdown::{Trigger, channel};
use crate::{reload, spool};

struct Serving {
    admin: Admin,
    address: SocketAddr,
    trigger: Trigger,
    folder: tempfile::TempDir,
}

async fn serving(change: impl FnOnce(&mut Limits)) -> Serving {
    let mut limits = Limits::default();
    change(&mut limits);
    let (trigger, shutdown) = channel();
    let admin = Admin {
        names: Arc::default(),
        report: Report::default(),
        metrics: Metrics::new(),
        opening: Progress::default(),
        spool: Arc::default(),
        smtp: Arc::default(),
        certificates: None,
        canary: Canary::default(),
        shutdown,
        followed: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn({
        let admin = admin.clone();
        async move { serve(listener, admin, &limits).await.unwrap() }
    });
    Serving { admin, address, trigger, folder: tempfile::tempdir().unwrap() }
}

/// Status line and body.
async fn fetch(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

impl Serving {
    async fn ready(&self) -> (String, String) {
        fetch(self.address, "/readyz").await
    }

    async fn load_settings(&self) {
        self.load(Snapshot { schema: SCHEMA, domains: vec![], hosts: vec![], policies: vec![], nodes: vec![] }).await;
    }

    async fn load(&self, snapshot: Snapshot) {
        std::fs::write(self.folder.path().join(SETTINGS_FILE), SettingsFile::new(snapshot).to_json()).unwrap();
        let (sender, first) = oneshot::channel();
        let options = reload::Options::new(self.folder.path(), 1 << 20, 1 << 10);
        let (report, metrics) = (self.admin.report.clone(), self.admin.metrics.clone());
        tokio::spawn(reload::run(
            options,
            report,
            metrics,
            Arc::new(Notify::new()),
            sender,
            self.admin.shutdown.clone(),
        ));
        first.await.unwrap();
    }
}

#[tokio::test]
async fn is_ready_only_with_spool_settings_and_listener() {
    let serving = serving(|_| {}).await;
    let not_ready = "HTTP/1.1 503 Service Unavailable".to_owned();
    assert_eq!(fetch(serving.address, "/livez").await.1, "alive\n");
    assert_eq!(
        serving.ready().await,
        (not_ready.clone(), "the spool is being opened: 0 of 0 segments are read, with 0 messages\n".to_owned())
    );
    let options = spool::Options { size_max: 64 << 20, ..spool::Options::new(serving.folder.path().join("spool")) };
    let (opened, _arrivals) = Spool::open(options, Timestamp::now()).unwrap();
    serving.admin.spool.set(opened).unwrap();
    assert_eq!(serving.ready().await, (not_ready.clone(), "no settings yet: they are being read\n".to_owned()));
    serving.load_settings().await;
    assert_eq!(serving.ready().await, (not_ready.clone(), "SMTP is about to listen\n".to_owned()));
    serving.admin.smtp.set(serving.address).unwrap();
    assert_eq!(serving.ready().await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    serving.trigger.advance(Stage::Leaving);
    assert_eq!(serving.ready().await, (not_ready, "stopping\n".to_owned()));
    assert_eq!(fetch(serving.address, "/livez").await.1, "alive\n");
}

#[tokio::test]
async fn status_tells_what_is_in_force() {
    let serving = serving(|_| {}).await;
    let before: Status = serde_json::from_str(&fetch(serving.address, "/status").await.1).unwrap();
    assert_eq!((before.settings, before.schema, before.objects), (None, SCHEMA, vec![]));
    serving.load_settings().await;
    let after: Status = serde_json::from_str(&fetch(serving.address, "/status").await.1).unwrap();
    assert_eq!(after.settings, serving.admin.report.config().map(|config| config.digest.clone()));
    assert!(after.settings.is_some());
}

/// A host that trusts an authority whose file holds no certificate, and one that trusts everyone's.
fn one_of_two_faulty() -> Snapshot {
    let host = |ca: Option<&str>| wire::Host {
        endpoints: Vec::new(),
        mx: Vec::new(),
        tls: wire::Way::Open(wire::Tls {
            handshake: wire::Handshake::StartTls,
            verification: wire::Verification::Verified,
            server_name: None,
            ca: ca.map(|file| wire::SecretFile(file.to_owned())),
            client_certificate: None,
        }),
        auth: None,
        limits: wire::HostLimits::default(),
        sources: Vec::new(),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        queue: wire::Queue { lifetime: 3600, null_sender_lifetime: None, warn_after: None },
        suspend: false,
    };
    let hosts = vec![
        wire::Section::new("faulty", "uid-faulty", 1, host(Some("ca"))),
        wire::Section::new("fine", "uid-fine", 1, host(None)),
    ];
    Snapshot { schema: SCHEMA, domains: vec![], hosts, policies: vec![], nodes: vec![] }
}

#[tokio::test]
async fn status_in_short_tells_only_what_is_not_in_force() {
    let serving = serving(|_| {}).await;
    std::fs::create_dir_all(serving.folder.path().join("secrets")).unwrap();
    std::fs::write(serving.folder.path().join("secrets/ca"), "no certificate").unwrap();
    serving.load(one_of_two_faulty()).await;
    let told = async |path| serde_json::from_str::<Status>(&fetch(serving.address, path).await.1).unwrap();
    let (all, short) = (told("/status").await, told("/status?objects=faults").await);
    let names: Vec<_> = all.objects.iter().map(|object| (object.name.as_str(), object.fault.is_some())).collect();
    assert_eq!(names, [("faulty", true), ("fine", false)]);
    assert_eq!(short, Status { objects: vec![all.objects[0].clone()], faults_only: true, ..all.clone() });
    assert_eq!(told("/status?objects=all").await, all);
}

#[tokio::test]
async fn metrics_are_openmetrics_with_the_spool_as_it_is() {
    let serving = serving(|_| {}).await;
    let options = spool::Options { size_max: 64 << 20, ..spool::Options::new(serving.folder.path().join("spool")) };
    let (opened, _arrivals) = Spool::open(options, Timestamp::now()).unwrap();
    serving.admin.metrics.spool().messages.set(7);
    serving.admin.spool.set(opened).unwrap();
    let (status, text) = fetch(serving.address, "/metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(text.contains("\npostern_relay_spool_messages 0\n") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let serving = serving(|_| {}).await;
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream
        .write_all(b"POST /status HTTP/1.1\r\nHost: relay\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(fetch(serving.address, "/debug").await.0, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn a_slow_client_holds_its_place_only_so_long() {
    let serving = serving(|limits| {
        limits.http_connections = 1;
        limits.http_time = Duration::from_millis(300);
    })
    .await;
    let mut slow = TcpStream::connect(serving.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let answer = timeout(Duration::from_millis(100), fetch(serving.address, "/livez")).await;
    assert!(answer.is_err(), "the only place is taken");
    let answer = timeout(Duration::from_secs(1), fetch(serving.address, "/livez")).await.unwrap();
    assert_eq!(answer.1, "alive\n");
    let mut rest = Vec::new();
    timeout(Duration::from_secs(1), slow.read_to_end(&mut rest)).await.unwrap().ok();
}
