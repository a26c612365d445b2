use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};

use super::*;

/// A certificate and its key, PEM.
type Files = (String, String);

fn pair_of(names: &[&str], kind: &'static SignatureAlgorithm) -> Files {
    let key = KeyPair::generate_for(kind).unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn pair(names: &[&str]) -> Files {
    pair_of(names, &PKCS_ECDSA_P256_SHA256)
}

struct Rig {
    folder: tempfile::TempDir,
    metrics: Metrics,
    follower: Follower,
    now: Instant,
}

impl Rig {
    /// On a folder of these pairs.
    fn start(pairs: &[(&str, &[&str])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, names) in pairs {
            write(folder.path(), name, &pair(names));
        }
        let metrics = Metrics::new();
        let directory = folder.path().to_owned();
        let options = Options { directory, file_size_max: 1 << 16, pairs_max: 4, patience: Duration::from_secs(1) };
        let follower = Follower::open(options, metrics.clone());
        Self { folder, metrics, follower, now: Instant::now() }
    }

    /// After so many milliseconds.
    fn look(&mut self, later: u64) {
        self.now += Duration::from_millis(later);
        let patience = self.follower.folder.patience();
        let news = self.follower.folder.look(false, patience, self.now);
        self.follower.take(news);
    }

    fn write(&self, name: &str, files: &Files) {
        write(self.folder.path(), name, files);
    }

    /// NAME of the certificate that is chosen.
    fn chosen(&self, asked: Option<&str>) -> Option<String> {
        self.follower.certificates.0.load().choose(asked, |_| true).map(|pair| pair.name.to_string())
    }

    /// The one that has this name in it, PEM removed: two of the same NAME are told apart by it.
    fn shown(&self, asked: &str) -> Vec<u8> {
        self.follower.certificates.0.load().choose(Some(asked), |_| true).unwrap().key.cert[0].to_vec()
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == line)
    }
}

fn write(folder: &Path, name: &str, (certificate, key): &Files) {
    fs::create_dir_all(folder.join(name)).unwrap();
    fs::write(folder.join(name).join("tls.crt"), certificate).unwrap();
    fs::write(folder.join(name).join("tls.key"), key).unwrap();
}

#[test]
fn a_name_is_served_exactly_then_by_wildcard_then_by_the_default() {
    let rig =
        Rig::start(&[("b", &["*.ours.test", "other.test"]), ("c", &["mx.ours.test"]), ("default", &["any.test"])]);
    for (asked, name) in [
        (Some("mx.ours.test"), "c"),
        (Some("MX.Ours.Test"), "c"),
        (Some("in.ours.test"), "b"),
        (Some("other.test"), "b"),
        (Some("ours.test"), "default"),
        (Some("a.in.ours.test"), "default"),
        (Some("nobody.test"), "default"),
        (None, "default"),
    ] {
        assert_eq!(rig.chosen(asked).as_deref(), Some(name), "{asked:?}");
    }
    let rig = Rig::start(&[("b", &["b.test"]), ("c", &["c.test"])]);
    assert_eq!(rig.chosen(None).as_deref(), Some("b"));
    assert_eq!(Rig::start(&[]).chosen(None), None);
}

#[test]
fn of_two_for_one_name_the_client_gets_the_kind_of_key_that_it_knows() {
    let rig = Rig::start(&[("a", &["mx.test"])]);
    rig.write("a", &pair_of(&["mx.test"], &PKCS_ED25519));
    rig.write("b", &pair(&["mx.test"]));
    let follower = Follower::open(rig.follower.folder.options().clone(), Metrics::new());
    let table = follower.certificates.0.load();
    let knows = |scheme| move |pair: &Pair| pair.key.key.choose_scheme(&[scheme]).is_some();
    let chosen = |scheme| table.choose(Some("mx.test"), knows(scheme)).map(|pair| pair.name.to_string());
    assert_eq!(chosen(rustls::SignatureScheme::ED25519).as_deref(), Some("a"));
    assert_eq!(chosen(rustls::SignatureScheme::ECDSA_NISTP256_SHA256).as_deref(), Some("b"));
    assert_eq!(chosen(rustls::SignatureScheme::RSA_PSS_SHA256).as_deref(), Some("a"), "none fits: as good as any");
}

#[test]
fn a_changed_pair_is_taken_at_the_next_look_and_a_broken_one_never() {
    let mut rig = Rig::start(&[("default", &["a.test"])]);
    let first = rig.shown("a.test");
    let second = pair(&["a.test"]);
    rig.write("default", &(second.0.clone(), pair(&["a.test"]).1));
    rig.look(10);
    assert_eq!((rig.shown("a.test"), rig.follower.problems()), (first.clone(), vec![]), "it may be half written");
    rig.look(1010);
    let said = rig.follower.problems().concat();
    assert!(
        said.contains("default/tls.key does not fit tls.crt") && said.ends_with("the last good one stays"),
        "{said}"
    );
    assert_eq!(rig.shown("a.test"), first);
    assert!(rig.metric("postern_relay_tls_certificate_faults 1"));
    rig.write("default", &second);
    rig.look(10);
    assert!(rig.shown("a.test") != first && rig.follower.problems().is_empty());
    assert!(rig.metric("postern_relay_tls_certificate_faults 0"));
}

#[test]
fn a_certificate_that_ends_is_told_a_week_before() {
    let rig = Rig::start(&[("default", &["a.test"])]);
    let certificates = rig.follower.certificates();
    let expires = certificates.0.load().pairs[0].expires;
    let told = |hours: i64| certificates.problems(expires - SignedDuration::from_hours(hours)).concat();
    assert_eq!((told(7 * 24 + 1), certificates.problems(Timestamp::now())), (String::new(), Vec::new()));
    assert_eq!(told(7 * 24 - 1), format!("certificate default expires on {expires}"));
    assert_eq!(told(-1), format!("certificate default has expired on {expires}"));
}

#[test]
fn each_file_that_cannot_be_used_is_named_with_its_reason() {
    let (good, text) = (pair(&["a.test"]), "x".to_owned());
    for (files, said) in [
        ((text.clone(), good.1.clone()), "a/tls.crt holds no certificate in PEM form"),
        ((good.0.clone(), text.clone()), "a/tls.key holds no private key in PEM form"),
        ((good.0.clone(), pair(&["a.test"]).1), "a/tls.key does not fit tls.crt"),
        ((format!("-----BEGIN CERTIFICATE-----\n{text}"), good.1.clone()), "a/tls.crt is not PEM"),
        (("x".repeat(1 << 17), good.1.clone()), "a/tls.crt is larger than 65536 octets"),
    ] {
        let rig = Rig::start(&[]);
        rig.write("a", &files);
        let follower = Follower::open(rig.follower.folder.options().clone(), rig.metrics.clone());
        let problems = follower.problems().concat();
        assert!(problems.contains(said) && follower.certificates().is_empty(), "{problems}, not {said}");
        let told = follower.certificates().problems(Timestamp::now());
        assert!(told[0].contains("STARTTLS is not offered") && told[1].contains(said), "{told:?}");
        assert!(!problems.contains("last good"), "{problems}");
        assert!(!good.1.lines().nth(1).is_some_and(|secret| problems.contains(secret)), "{problems}");
    }
    let rig = Rig::start(&[]);
    fs::create_dir(rig.folder.path().join("a")).unwrap();
    let follower = Follower::open(rig.follower.folder.options().clone(), rig.metrics.clone());
    assert!(follower.problems().concat().ends_with("a/tls.crt is missing"), "{:?}", follower.problems());
}

#[test]
fn a_volume_of_kubernetes_is_swapped_whole() {
    let mut rig = Rig::start(&[]);
    let folder = rig.folder.path().join("default");
    for version in ["..1", "..2"] {
        write(&folder, version, &pair(&[&format!("v{}.test", &version[2..])]));
    }
    symlink("..1", folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
    }
    rig.look(5000);
    let first = rig.shown("v1.test");
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    rig.look(5000);
    assert_ne!(rig.shown("v2.test"), first);
    assert_eq!(rig.follower.certificates.0.load().pairs[0].names, ["v2.test"]);
}

#[test]
fn names_come_and_go_and_so_do_their_metrics() {
    let mut rig = Rig::start(&[("a", &["a.test"])]);
    rig.write("b", &pair(&["b.test"]));
    rig.look(10);
    assert_eq!(rig.chosen(Some("b.test")).as_deref(), Some("b"));
    let expiry = |name| format!("postern_relay_tls_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}}");
    let counted = |rig: &Rig, name| rig.metrics.encode().unwrap().contains(&expiry(name));
    assert!(counted(&rig, "a") && counted(&rig, "b"));
    fs::remove_dir_all(rig.folder.path().join("a")).unwrap();
    rig.look(10);
    assert_eq!(rig.chosen(Some("a.test")).as_deref(), Some("b"));
    assert!(!counted(&rig, "a") && counted(&rig, "b"));
}

#[test]
fn a_folder_that_cannot_be_read_takes_no_certificate_away() {
    let mut rig = Rig::start(&[("a", &["a.test"])]);
    let (folder, elsewhere) = (rig.folder.path().to_owned(), rig.folder.path().with_extension("away"));
    fs::rename(&folder, &elsewhere).unwrap();
    rig.look(10);
    rig.look(1500);
    assert!(rig.follower.problems().concat().contains("cannot be read"), "{:?}", rig.follower.problems());
    assert_eq!(rig.chosen(None).as_deref(), Some("a"));
    fs::rename(&elsewhere, &folder).unwrap();
    rig.look(10);
    assert!(rig.follower.problems().is_empty());
}

#[test]
fn there_is_a_limit_to_certificates() {
    let rig = Rig::start(&[("a", &["a.test"]), ("b", &[]), ("c", &[]), ("d", &[]), ("e", &["e.test"])]);
    assert_eq!(rig.follower.certificates.0.load().pairs.len(), 4);
    assert!(rig.follower.problems().concat().ends_with("e is one more than --certificates 4"));
}
