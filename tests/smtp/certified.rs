//! Clients that prove by a certificate to be a source.

use anyhow::Result;
use postern_tests::smtp::Client;
use postern_tests::tls::{Authority, Pair};
use postern_wire::Snapshot;
use postern_wire::snapshot::{ClientCertificate, SecretFile, Section, Way};

use crate::secured::Secured;

/// A host `app`, which is whoever shows a certificate for `app.test` by the CA in this file, may send as `ours.test`.
fn app(snapshot: &mut Snapshot, file: &str) {
    let mut host = snapshot.hosts[0].spec.clone();
    (host.endpoints, host.sources) = (Vec::new(), Vec::new());
    host.source_certificates =
        vec![ClientCertificate { ca: SecretFile(file.to_owned()), dns_name: "app.test".to_owned() }];
    snapshot.hosts.insert(0, Section::new("app", "uid-of-app", 1, host));
    let mut domain = snapshot.domains[0].spec.clone();
    if let Some(Way::Open(outbound)) = &mut domain.outbound {
        outbound.hosts.insert(0, "app".to_owned());
    }
    snapshot.domains[0] = Section::new("ours", "uid-of-ours", 2, domain);
}

/// Whether it may send as ours to the world.
fn is_source(client: &mut Client) -> Result<bool> {
    client.say("MAIL FROM:<bob@ours.test>", 250)?;
    let reply = client.ask("RCPT TO:<victim@evil.test>")?;
    client.say("RSET", 250)?;
    Ok(reply.code == 250)
}

fn shows(secured: &Secured, pair: &Pair) -> bool {
    is_source(&mut secured.implicit(Some(pair)).unwrap()).unwrap()
}

#[test]
fn the_right_certificate_of_the_right_authority_is_a_source_and_no_other_is() {
    let secured = Secured::open(&[]).unwrap();
    let (clients, impostor) = (Authority::named("Clients").unwrap(), Authority::named("Clients").unwrap());
    let right = clients.certify(&["other.test", "app.test"]).unwrap();
    assert!(!shows(&secured, &right), "nobody is asked yet");
    secured.change(&[("ca", clients.pem.as_bytes())], |snapshot| app(snapshot, "ca")).unwrap();
    assert!(shows(&secured, &right));
    for (what, pair) in [
        ("another authority's", impostor.certify(&["app.test"]).unwrap()),
        ("another name's", clients.certify(&["app.test.evil.test"]).unwrap()),
        ("a wildcard", clients.certify(&["*.test"]).unwrap()),
        ("an expired one", clients.certify_until(&["app.test"], 2022).unwrap()),
    ] {
        assert!(!shows(&secured, &pair), "{what}");
    }
    let mut none = secured.implicit(None).unwrap();
    assert!(!is_source(&mut none).unwrap());
    assert_eq!(none.mail("a@stranger.test", &["bob@ours.test"], b"Subject: a\r\n\r\nb\r\n").unwrap().code, 250);
    // After STARTTLS it is the same.
    let trusting = secured.authority.trusting(Some(&right)).unwrap();
    let mut client = secured.scene.stranger().unwrap().starttls(&trusting, "mx.test").unwrap();
    assert!(is_source(&mut client).unwrap());
    secured.scene.survived(1).unwrap();
}

#[test]
fn whom_a_certificate_proves_follows_the_settings() {
    let secured = Secured::open(&[]).unwrap();
    let (old, new) = (Authority::named("Old").unwrap(), Authority::named("New").unwrap());
    let (by_old, by_new) = (old.certify(&["app.test"]).unwrap(), new.certify(&["app.test"]).unwrap());
    secured.change(&[("old", old.pem.as_bytes())], |snapshot| app(snapshot, "old")).unwrap();
    let mut session = secured.implicit(Some(&by_old)).unwrap();
    let mut later = secured.implicit(Some(&by_new)).unwrap();
    assert_eq!((is_source(&mut session).unwrap(), is_source(&mut later).unwrap()), (true, false));
    // In the middle of their sessions, from the next transaction on.
    session.say("MAIL FROM:<bob@ours.test>", 250).unwrap();
    secured.change(&[("new", new.pem.as_bytes())], |snapshot| app(snapshot, "new")).unwrap();
    session.say("RCPT TO:<victim@evil.test>", 250).unwrap();
    session.say("RSET", 250).unwrap();
    assert_eq!((is_source(&mut session).unwrap(), is_source(&mut later).unwrap()), (false, true));
    assert_eq!((shows(&secured, &by_old), shows(&secured, &by_new)), (false, true));
    secured.scene.survived(0).unwrap();
}

#[test]
fn an_authority_that_cannot_be_read_makes_nobody_a_source_and_is_a_fault() {
    let secured = Secured::open(&[]).unwrap();
    let clients = Authority::named("Clients").unwrap();
    secured.change(&[("ca", b"nonsense")], |snapshot| app(snapshot, "ca")).unwrap();
    let (_, status) = secured.scene.relay.get("/status").unwrap();
    assert!(status.contains("sources: clientCertificate app.test: secrets/ca: holds no certificate"), "{status}");
    assert!(!shows(&secured, &clients.certify(&["app.test"]).unwrap()));
    secured.scene.survived(0).unwrap();
}
