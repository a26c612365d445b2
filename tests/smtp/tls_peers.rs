//! TLS with peers that nobody here wrote: Postfix as the client, and OpenSSL.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::postfix::Daemon;
use postern_tests::smtp::Client;
use postern_tests::tls::{Authority, Pair};
use postern_wire::Snapshot;
use postern_wire::snapshot::{ClientCertificate, InboundTls, SecretFile, Section, Way};

use crate::secured::Secured;

/// What makes a Postfix verify the relay's certificate and show its own; the folder holds the files.
fn verifying(folder: &Path, authority: &Authority, shown: &Pair) -> Result<String> {
    for (name, content) in [("ca.pem", &authority.pem), ("crt.pem", &shown.certificate), ("key.pem", &shown.key)] {
        fs::write(folder.join(name), content)?;
    }
    let folder = folder.display();
    Ok(format!(
        "smtp_tls_security_level = verify\n\
         smtp_tls_verify_cert_match = mx.test\n\
         smtp_tls_CAfile = {folder}/ca.pem\n\
         smtp_tls_cert_file = {folder}/crt.pem\n\
         smtp_tls_key_file = {folder}/key.pem\n\
         smtp_tls_loglevel = 1\n"
    ))
}

/// `ours.test` takes mail over TLS only, and `app`, which is who shows this name, may send as it.
fn only_by_certificate(snapshot: &mut Snapshot) {
    let mut host = snapshot.hosts[0].spec.clone();
    (host.endpoints, host.sources) = (Vec::new(), Vec::new());
    host.source_certificates =
        vec![ClientCertificate { ca: SecretFile("clients".to_owned()), dns_name: "app.test".to_owned() }];
    snapshot.hosts.insert(0, Section::new("app", "uid-of-app", 1, host));
    let mut domain = snapshot.domains[0].spec.clone();
    if let Way::Open(inbound) = &mut domain.inbound {
        inbound.tls = InboundTls::Required;
    }
    if let Some(Way::Open(outbound)) = &mut domain.outbound {
        outbound.hosts.insert(0, "app".to_owned());
    }
    snapshot.domains[0] = Section::new("ours", "uid-of-ours", 2, domain);
}

#[test]
fn postfix_verifies_us_and_is_known_by_its_certificate() {
    let secured = Secured::open(&[]).unwrap();
    let clients = Authority::named("Clients").unwrap();
    secured.change(&[("clients", clients.pem.as_bytes())], only_by_certificate).unwrap();
    let shown = clients.certify(&["app.test"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = verifying(folder.path(), &secured.authority, &shown).unwrap();
    let postfix = Daemon::start(secured.scene.relay.smtp, &settings).unwrap();
    let mut client = Client::greeted(postfix.address()).unwrap();
    // To somebody of ours, and from somebody of ours to the world: only a source may do that.
    for recipient in ["bob@ours.test", "someone@elsewhere.test"] {
        let reply = client.mail("bob@ours.test", &[recipient], b"Subject: by postfix\r\n\r\nbody\r\n").unwrap();
        assert_eq!(reply.code, 250, "{reply}");
    }
    let mails = secured.scene.sink.wait_for_mails(2, Duration::from_secs(60));
    let mails = mails.with_context(|| postfix.log()).unwrap();
    for mail in &mails {
        let content = String::from_utf8_lossy(&mail.content);
        assert!(content.starts_with("Received: from postfix.test (["), "{content}");
        assert!(
            content.contains("(using TLSv1.3 with cipher TLS_") && content.contains("by relay.test with ESMTPS id")
        );
    }
    let log = postfix.log();
    assert!(log.contains("Verified TLS connection established to"), "{log}");
    secured.change(&[], |_| {}).unwrap();
    secured.scene.survived(2).unwrap();
}

/// An `openssl s_client` that holds us to our certificate.
fn s_client(secured: &Secured, arguments: &[&str]) -> Result<Child> {
    let file = secured.certificates.path().join("../ca.pem");
    fs::write(&file, &secured.authority.pem)?;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-CAfile"]).arg(&file);
    command.args(["-servername", "mx.test", "-verify_hostname", "mx.test", "-verify_return_error", "-crlf"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("openssl: is it installed?")
}

/// What it says, given QUIT once the relay has spoken.
fn said(mut child: Child) -> Result<String> {
    let mut stdin = child.stdin.take().context("its input")?;
    let mut stdout = BufReader::new(child.stdout.take().context("its output")?);
    let mut said = String::new();
    // A failed handshake ends it before the relay says anything.
    while stdout.read_line(&mut said)? > 0 {
        if said.lines().next_back().is_some_and(|line| line.starts_with("220 ")) {
            stdin.write_all(b"quit\n")?;
            break;
        }
    }
    stdout.read_to_string(&mut said)?;
    let output = child.wait_with_output()?;
    Ok(said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn openssl_speaks_both_versions_of_tls_and_none_below() {
    let secured = Secured::open(&[]).unwrap();
    let smtps = secured.smtps.to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        // The lower-case q is no command of s_client's own.
        let said = said(s_client(&secured, &["-connect", &smtps, version]).unwrap()).unwrap();
        assert!(said.contains("Verify return code: 0 (ok)") && said.contains("221 2.0.0"), "{version}: {said}");
    }
    let old = ["-connect", &smtps, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = said(s_client(&secured, &old).unwrap()).unwrap();
    assert!(!said.contains("220 ") && said.contains("SSL alert number"), "{said}");
    secured.scene.survived(0).unwrap();
}
