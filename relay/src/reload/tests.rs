use std::os::unix::fs::symlink;
use std::path::Path;

use postern_wire::snapshot::{self as wire, Section, Snapshot, Way};
use postern_wire::{Digest, SCHEMA, SETTINGS_FILE, SettingsFile};
use tokio::task::JoinHandle;

use super::*;
use crate::shutdown::{Trigger, channel};

/// A snapshot that differs by how many hops it allows.
fn snapshot(hops: u32) -> Snapshot {
    let policy = wire::Policy {
        blocked_names: Vec::new(),
        limits: wire::MessageLimits { message_size: 1 << 20, recipients_per_message: 100, hops },
        blocked_clients: Vec::new(),
        senders: wire::Senders::default(),
    };
    Snapshot {
        schema: SCHEMA,
        domains: Vec::new(),
        hosts: Vec::new(),
        policies: vec![Section::new("default", "uid", 1, policy)],
        nodes: Vec::new(),
    }
}

fn json(hops: u32) -> String {
    SettingsFile::new(snapshot(hops)).to_json()
}

/// A relay's follower of a folder, and what it reports.
struct Following {
    folder: tempfile::TempDir,
    report: Report,
    metrics: Metrics,
    look: Arc<Notify>,
    first: oneshot::Receiver<Live>,
    _trigger: Trigger,
    task: JoinHandle<()>,
}

impl Following {
    fn start(prepare: impl FnOnce(&Path), change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let mut options = Options::new(folder.path(), 1 << 20, 1 << 10);
        change(&mut options);
        let (report, metrics, look) = (Report::default(), Metrics::new(), Arc::new(Notify::new()));
        let (sender, first) = oneshot::channel();
        let (trigger, shutdown) = channel();
        let task = tokio::spawn(run(options, report.clone(), metrics.clone(), look.clone(), sender, shutdown));
        Self { folder, report, metrics, look, first, _trigger: trigger, task }
    }

    fn write(&self, content: &str) {
        std::fs::write(self.folder.path().join(SETTINGS_FILE), content).unwrap();
    }

    fn enforced(&self) -> Option<String> {
        self.report.config().map(|config| config.digest.to_string())
    }

    fn rejected(&self) -> String {
        self.report.rejected().as_deref().unwrap_or("").to_owned()
    }

    /// Waits until it holds.
    async fn soon(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < deadline, "never: {what}; rejected: {}", self.rejected());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == line)
    }
}

fn digest(hops: u32) -> Option<String> {
    Some(SettingsFile::new(snapshot(hops)).digest.to_string())
}

fn quick(options: &mut Options) {
    options.every = Duration::from_millis(10);
    options.patience = Duration::from_millis(200);
}

#[tokio::test]
async fn an_edited_file_is_enforced_soon() {
    let mut following =
        Following::start(|folder| std::fs::write(folder.join(SETTINGS_FILE), json(50)).unwrap(), |_| {});
    following.soon("the first settings", |it| it.enforced() == digest(50)).await;
    let live = following.first.try_recv().unwrap();
    for hops in [60, 61, 62] {
        following.write(&json(hops));
        following.soon("the edited settings", |it| it.enforced() == digest(hops)).await;
        assert_eq!(Some(live.load().digest.to_string()), digest(hops));
    }
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_reported_once() {
    let following = Following::start(|folder| std::fs::write(folder.join(SETTINGS_FILE), json(50)).unwrap(), quick);
    following.soon("the first settings", |it| it.enforced() == digest(50)).await;
    for (content, said) in [
        ("{".to_owned(), "settings.json cannot be read: EOF while parsing"),
        (json(50).replace(":50", ":51"), "settings.json says that its digest is"),
        (
            json(50).replace(&format!("\"schema\":{SCHEMA}"), "\"schema\":99"),
            "has schema 99, this relay reads up to 3: upgrade the relay",
        ),
        (json(1), "FilterPolicy default: FilterPolicy.spec.limits.hops is 1, must be between 5 and 200"),
    ] {
        following.write(&content);
        following.soon(said, |it| it.rejected().contains(said)).await;
        assert_eq!(following.enforced(), digest(50));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(following.counted("postern_relay_settings_loads_total{result=\"rejected\"} 4"));
    following.write(&json(50));
    following.soon("the good ones again", |it| it.rejected().is_empty()).await;
    following.write(&json(51));
    following.soon("newer ones", |it| it.enforced() == digest(51)).await;
    assert!(following.counted("postern_relay_settings_loads_total{result=\"enforced\"} 2"));
}

#[tokio::test]
async fn a_half_written_file_is_given_time() {
    let following = Following::start(
        |folder| std::fs::write(folder.join(SETTINGS_FILE), json(50)).unwrap(),
        |options| options.every = Duration::from_millis(10),
    );
    following.soon("the first settings", |it| it.enforced() == digest(50)).await;
    let whole = json(51);
    following.write(&whole[..whole.len() / 2]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((following.rejected(), following.enforced()), (String::new(), digest(50)));
    following.write(&whole);
    following.soon("the whole file", |it| it.enforced() == digest(51)).await;
    assert!(!following.counted("postern_relay_settings_loads_total{result=\"rejected\"} 1"));
}

/// As the kubelet does: a new folder, then a link to it renamed over the old one.
fn publish(folder: &Path, generation: &str, settings: &str) {
    publish_files(folder, generation, &[(SETTINGS_FILE.to_owned(), settings.as_bytes().to_vec())]);
}

fn publish_files(folder: &Path, generation: &str, settings: &[(String, Vec<u8>)]) {
    std::fs::create_dir_all(folder.join(generation).join("secrets")).unwrap();
    for (name, content) in settings {
        std::fs::write(folder.join(generation).join(name), content).unwrap();
    }
    symlink(generation, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    let link = folder.join(SETTINGS_FILE);
    if !link.is_symlink() {
        symlink(Path::new("..data").join(SETTINGS_FILE), link).unwrap();
    }
}

#[tokio::test]
async fn a_volume_is_followed_through_its_link() {
    let following = Following::start(|folder| publish(folder, "..1", &json(50)), quick);
    following.soon("the first volume", |it| it.enforced() == digest(50)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    publish(following.folder.path(), "..2", &json(51));
    following.soon("the next volume", |it| it.enforced() == digest(51)).await;
    std::fs::remove_dir_all(following.folder.path().join("..1")).unwrap();
    publish(following.folder.path(), "..3", "{}");
    following.soon("a broken volume", |it| it.rejected().contains("missing field")).await;
    assert_eq!(following.enforced(), digest(51));
}

/// Settings in two pieces and the file that names them.
fn in_pieces(hops: u32) -> Vec<(String, Vec<u8>)> {
    let mut snapshot = snapshot(hops);
    let name = |number: u32| format!("{}@spam.example", Digest::of(&(hops, number)).short());
    snapshot.policies[0].spec.senders.blocked = (0..200).map(name).collect();
    let policy = snapshot.policies[0].spec.clone();
    snapshot.policies = vec![Section::new("default", "uid", 1, policy)];
    let file = SettingsFile::new(snapshot);
    let whole = file.files(4000).main.content.len();
    let files = file.files(whole / 2 + 1);
    assert_eq!(files.shards.len(), 2);
    files.into_all().map(|file| (file.name, file.content)).collect()
}

fn allows(hops: u32) -> impl Fn(&Following) -> bool {
    let file =
        |name: &str| Ok(in_pieces(hops).into_iter().find(|(known, _)| known == name).map(|(_, content)| content));
    let digest = SettingsFile::read(file, 1 << 20).unwrap().digest.to_string();
    move |it| it.enforced().as_deref() == Some(&digest)
}

#[tokio::test]
async fn pieces_are_taken_when_the_last_of_them_is_there_and_never_mixed() {
    let write = |folder: &Path, files: &[(String, Vec<u8>)]| {
        files.iter().for_each(|(name, content)| std::fs::write(folder.join(name), content).unwrap());
    };
    let following = Following::start(|folder| write(folder, &in_pieces(50)), quick);
    following.soon("the first settings", allows(50)).await;
    let new = in_pieces(51);
    let folder = following.folder.path().to_owned();
    for part in [&new[..1], &new[1..2]] {
        write(&folder, part);
        let said = "is not the one that settings.json.zst names";
        following.soon("a piece of other settings", |it| it.rejected().contains(said)).await;
        assert!(allows(50)(&following));
    }
    write(&folder, &new[2..]);
    following.soon("the new settings", allows(51)).await;
    assert_eq!(following.rejected(), "");
    std::fs::remove_file(folder.join("settings-2.json.zst")).unwrap();
    following.soon("a missing piece", |it| it.rejected().contains("settings-2.json.zst is missing")).await;
    assert!(allows(51)(&following));
}

#[tokio::test]
async fn a_volume_goes_from_one_form_to_the_other() {
    let following = Following::start(|folder| publish(folder, "..1", &json(50)), quick);
    following.soon("the text", |it| it.enforced() == digest(50)).await;
    publish_files(following.folder.path(), "..2", &in_pieces(51));
    following.soon("the pieces", allows(51)).await;
    publish(following.folder.path(), "..3", &json(52));
    following.soon("the text again", |it| it.enforced() == digest(52)).await;
}

#[tokio::test]
async fn waits_for_the_first_settings_and_says_what_is_missing() {
    let mut following = Following::start(|_| {}, quick);
    following.soon("the reason", |it| it.rejected().contains(": settings.json is missing")).await;
    assert!(following.first.try_recv().is_err());
    let mut snapshot = snapshot(50);
    let tls = wire::Tls {
        client_certificate: None,
        handshake: wire::Handshake::StartTls,
        verification: wire::Verification::Verified,
        server_name: None,
        ca: Some(wire::SecretFile("ca-1".to_owned())),
    };
    let host = wire::Host {
        auth: None,
        limits: wire::HostLimits::default(),
        mx: Vec::new(),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        endpoints: Vec::new(),
        tls: Way::Open(tls),
        sources: Vec::new(),
        queue: wire::Queue { null_sender_lifetime: None, warn_after: None, lifetime: 3600 },
        suspend: false,
    };
    snapshot.hosts = vec![Section::new("one", "uid", 1, host)];
    following.write(&SettingsFile::new(snapshot).to_json());
    following.soon("the secret", |it| it.rejected().ends_with("secrets/ca-1 is missing")).await;
    std::fs::create_dir(following.folder.path().join("secrets")).unwrap();
    std::fs::write(following.folder.path().join("secrets/ca-1"), "no certificate").unwrap();
    following.soon("the settings", |it| it.report.config().is_some()).await;
    assert_eq!(following.rejected(), "");
    assert!(following.first.try_recv().is_ok());
    assert!(following.counted("postern_relay_settings_faults 1"));
}

#[tokio::test]
async fn looks_at_once_when_asked() {
    let following = Following::start(
        |folder| std::fs::write(folder.join(SETTINGS_FILE), json(50)).unwrap(),
        |options| options.every = Duration::from_secs(3600),
    );
    following.soon("the first settings", |it| it.enforced() == digest(50)).await;
    following.write(&json(51));
    following.look.notify_one();
    following.soon("the new settings", |it| it.enforced() == digest(51)).await;
}

#[tokio::test]
async fn old_settings_are_dropped_here_once_no_transaction_holds_them() {
    let following = Following::start(|folder| std::fs::write(folder.join(SETTINGS_FILE), json(50)).unwrap(), quick);
    following.soon("the first settings", |it| it.enforced() == digest(50)).await;
    let old = Arc::downgrade(&following.report.config().unwrap());
    let held = old.upgrade().unwrap().rules.clone();
    following.write(&json(51));
    following.soon("the new settings", |it| it.enforced() == digest(51)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(old.strong_count(), 1);
    drop(held);
    following.soon("to drop the old ones", |_| old.strong_count() == 0).await;
}

#[tokio::test]
async fn ends_with_the_relay() {
    let following = Following::start(|_| {}, |_| {});
    let Following { _trigger: trigger, task, .. } = following;
    drop(trigger);
    tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
}
