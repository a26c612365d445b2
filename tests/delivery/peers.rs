//! A real Postfix as the next hop: what it has taken is what was sent, by every extension that both know.
//!
//! (Postfix knows no BINARYMIME; [`crate::extensions`] shows that with a script.)

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_relay::envelope::{Dsn, Notify, OriginalRecipient, RecipientDsn, Return};
use postern_relay::metrics::Outcome;
use postern_tests::clock::wait_until;
use postern_tests::postfix::Daemon;
use postern_tests::sink::{EVERYTHING, Mail, Sink};
use postern_wire::snapshot::{Handshake, KeyPair, SecretFile, Verification, Way};

use crate::authority::Authority;
use crate::post::{Letter, Plan, Post, Settings};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Postfix with a certificate for `mail.test`, and the mail server behind it.
struct Scene {
    sink: Sink,
    postfix: Daemon,
    ca: Authority,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// `more` are further lines of its `main.cf`.
    fn open(more: &str) -> Self {
        Self::open_with(|_| (more.to_owned(), String::new()))
    }

    /// The same, and how its SASL is set up, given a folder for its files.
    fn open_with(more: impl FnOnce(&Path) -> (String, String)) -> Self {
        let (sink, ca, folder) = (Sink::start().unwrap(), Authority::new(), tempfile::tempdir().unwrap());
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let (certificate, key) = ca.key_pair("mail.test", 2030);
        for (name, content) in [("ca.pem", &ca.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
            fs::write(path.join(name), content).unwrap();
        }
        let shown = path.display();
        let tls = format!(
            "smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {shown}/cert.pem\n\
             smtpd_tls_key_file = {shown}/key.pem\nsmtpd_tls_CAfile = {shown}/ca.pem\nsmtpd_tls_received_header = yes\n\
             local_header_rewrite_clients =\n"
        );
        let (more, sasl) = more(path);
        let files = [("sasl/smtpd.conf", sasl.as_str())];
        let postfix = Daemon::start_with(sink.address(), &(tls + &more), &files).unwrap();
        Self { sink, postfix, ca, _folder: folder }
    }

    /// Verified by its name, and with a certificate of ours where it asks for one.
    fn settings(&self) -> Settings {
        let (certificate, key) = self.ca.key_pair("relay.test", 2030);
        let settings = Settings::to(&[self.postfix.address()]).secured(
            Handshake::StartTls,
            Verification::Verified,
            Some(&self.ca),
            Some("mail.test"),
        );
        let file = |name: &str| SecretFile(name.to_owned());
        let settings = settings.change_host("mailbox", |host| {
            if let Way::Open(tls) = &mut host.tls {
                tls.client_certificate = Some(KeyPair { certificate: file("tls.crt"), key: file("tls.key") });
            }
        });
        settings.secret("tls.crt", &certificate).secret("tls.key", &key)
    }

    fn post(&self, settings: Settings) -> Post {
        let mut plan = Plan::new(settings);
        let minute = Duration::from_secs(60);
        (plan.limits.delivery_reply_time, plan.limits.delivery_final_time) = (minute, minute);
        plan.start()
    }

    fn mails(&self, count: usize) -> Vec<Mail> {
        let mails = self.sink.wait_for_mails(count, PATIENCE);
        mails.unwrap_or_else(|error| panic!("{error:#}\n{}", self.postfix.log()))
    }

    /// Postfix counts the commands of a session in the line that it logs at its end.
    fn wait_for_log(&self, text: &str) {
        let logged = wait_until(text, PATIENCE, || self.postfix.log().contains(text));
        assert!(logged.is_ok(), "{text:?} is not in\n{}", self.postfix.log());
    }
}

fn text(mail: &Mail) -> String {
    String::from_utf8_lossy(&mail.content).into_owned()
}

#[test]
fn postfix_verifies_our_certificate_as_we_do_its_own() {
    let scene = Scene::open("smtpd_tls_req_ccert = yes\n");
    let post = scene.post(scene.settings());
    let content = "Subject: x\r\n\r\nplain \u{e4}\r\n";
    post.post(&Letter { content: content.into(), ..Letter::to(&["bob@example.test", "eve@example.test"]) });
    let mails = scene.mails(1);
    post.wait_until_empty();
    assert!(mails[0].content.ends_with(content.as_bytes()), "{}", text(&mails[0]));
    assert_eq!(mails[0].recipients, ["<bob@example.test>", "<eve@example.test>"]);
    assert!(mails[0].sender.ends_with("BODY=8BITMIME"), "{}", mails[0].sender);
    let received = text(&mails[0]).replace("\r\n\t", " ");
    assert!(received.contains("(Client CN \"relay.test\", Issuer \"Ours\" (verified OK))"), "{received}");
    assert!(received.contains("using TLSv1.3"), "{received}");
    scene.wait_for_log("ehlo=2 starttls=1 mail=1 rcpt=2 data=1 quit=1 commands=8");
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (2, 0));

    // Without a certificate of ours it is refused, and waits.
    let bare = scene.settings().change_host("mailbox", |host| {
        if let Way::Open(tls) = &mut host.tls {
            tls.client_certificate = None;
        }
    });
    let post = scene.post(bare);
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert!(heard.status.starts_with("4."), "{heard:?}");
    assert_eq!(scene.sink.mails().len(), 1);
}

#[test]
fn postfix_takes_chunks_and_addresses_in_unicode() {
    let scene = Scene::open("");
    scene.sink.answer("EHLO", EVERYTHING);
    let post = scene.post(scene.settings());
    let content = "Subject: gr\u{fc}n\r\n\r\n.\r\n..\r\n.dots \u{fc}\r\n";
    let to = "j\u{fc}rgen@example.test";
    let letter = Letter { content: content.into(), utf8: true, ..Letter::to(&[to]) };
    post.post(&Letter { sender: "b\u{fc}cher@sender.test", ..letter });
    let mails = scene.mails(1);
    post.wait_until_empty();
    assert!(mails[0].content.ends_with(content.as_bytes()), "{}", text(&mails[0]));
    assert!(
        mails[0].sender.starts_with("<b\u{fc}cher@sender.test>") && mails[0].sender.contains("SMTPUTF8"),
        "{mails:?}"
    );
    assert!(mails[0].recipients[0].starts_with(&format!("<{to}>")), "{mails:?}");
    scene.wait_for_log("mail=1 rcpt=1 bdat=1 quit=1");
    assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (1, 0));
}

fn asking(ret: Return) -> Dsn {
    let notify = Some(Notify { success: true, failure: true, delay: false });
    let original = Some(OriginalRecipient { kind: "rfc822".into(), address: "first+one@example.test".into() });
    Dsn { envid: Some("QQ+314159".into()), ret: Some(ret), recipients: [(0, RecipientDsn { notify, original })].into() }
}

#[test]
fn postfix_tells_of_success_and_failure_as_the_sender_asked_us() {
    let scene = Scene::open("");
    let post = scene.post(scene.settings());
    post.post(&Letter { dsn: Some(asking(Return::Headers)), ..Letter::to(&["bob@example.test"]) });
    // The message, and the report of success by Postfix: the server behind it has no DSN.
    let mails = scene.mails(2);
    post.wait_until_empty();
    let report = mails.iter().find(|mail| mail.sender.starts_with("<>")).map(text).unwrap();
    for line in [
        "Original-Envelope-Id: QQ+314159",
        "Original-Recipient: rfc822;first+one@example.test",
        "Final-Recipient: rfc822; bob@example.test",
        "Action: relayed",
    ] {
        assert!(report.lines().any(|found| found == line), "{line:?} is not in\n{report}");
    }
    scene.sink.answer("RCPT TO:<bob@", "550 5.1.1 no bob here");
    post.post(&Letter { dsn: Some(asking(Return::Full)), ..Letter::to(&["bob@example.test"]) });
    let failure = text(&scene.mails(3)[2]);
    assert!(failure.contains("Action: failed") && failure.contains("The body."), "{failure}");
    assert!(failure.contains("Original-Envelope-Id: QQ+314159"), "{failure}");
    post.wait_until_empty();
    // All of it was told by Postfix, and nothing here.
    assert_eq!((post.metrics().notifications.get(), post.count(Outcome::Delivered)), (0, 2));
}

/// Cyrus SASL with one user, in files of the test's own.
fn sasl(folder: &Path, mechanisms: &str) -> (String, String) {
    let shown = folder.display();
    let database = folder.join("sasldb2");
    let mut command = Command::new("/usr/sbin/saslpasswd2");
    let mut program = command
        .args(["-p", "-c", "-u", "postfix.test", "-f"])
        .args([&database, Path::new("relay")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sasl2-bin is installed");
    program.stdin.take().unwrap().write_all(b"correct horse").unwrap();
    assert!(program.wait().unwrap().success());
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    let configuration = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: {mechanisms}\nsasldb_path: {shown}/sasldb2\n"
    );
    let settings = "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_path = smtpd\nsmtpd_sasl_local_domain = postfix.test\n\
                    smtpd_tls_auth_only = yes\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n";
    (settings.to_owned(), configuration)
}

#[test]
fn postfix_lets_us_log_in_with_plain_and_with_login() {
    for (mechanisms, used) in [("PLAIN LOGIN", "PLAIN"), ("LOGIN CRAM-MD5", "LOGIN")] {
        let scene = Scene::open_with(|folder| sasl(folder, mechanisms));
        let post = scene.post(scene.settings().login("relay@postfix.test", "correct horse"));
        post.post_one();
        scene.mails(1);
        post.wait_until_empty();
        scene.wait_for_log(&format!("sasl_method={used}, sasl_username=relay@postfix.test"));
        assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (1, 0));
    }
}

#[test]
fn postfix_refuses_a_wrong_password_and_mail_waits() {
    let scene = Scene::open_with(|folder| sasl(folder, "PLAIN LOGIN"));
    let post = scene.post(scene.settings().login("relay@postfix.test", "wrong horse"));
    let id = post.post_one();
    let heard = post.wait_for_attempts(id, 1);
    assert_eq!(heard.status, "4.7.8");
    assert!(heard.reply.starts_with("refused the login of relay@postfix.test: 535 5.7.8 "), "{heard:?}");
    post.change(&scene.settings().login("relay@postfix.test", "correct horse"));
    assert!(post.retry(id));
    scene.mails(1);
    post.wait_until_empty();
}
