//! The relay logs in: by what the server offers, over TLS with a verified certificate, or not at all.

use std::sync::Arc;

use postern_relay::metrics::Outcome;
use postern_wire::snapshot::{Handshake, Verification};
use rustls::ServerConfig;

use crate::authority::Authority;
use crate::hop::Hop;
use crate::post::{Post, Settings};

const PASSWORD: &str = "correct horse";
/// `\0relay@a.test\0correct horse`
const RESPONSE: &str = "AHJlbGF5QGEudGVzdABjb3JyZWN0IGhvcnNl";
const BEGIN: &str = "S 220 hop.test\nC EHLO\nS 250-hop.test\nS 250-AUTH PLAIN LOGIN\nS 250 STARTTLS\nC STARTTLS\nS 220 go\nTLS\nC EHLO\n";

struct Scene {
    ca: Authority,
    config: Arc<ServerConfig>,
}

fn scene() -> Scene {
    let ca = Authority::new();
    let config = ca.certify("mail.test", 2030);
    Scene { ca, config }
}

impl Scene {
    fn hop(&self, script: &str) -> Hop {
        Hop::start_with(Some(Arc::clone(&self.config)), &[script])
    }

    fn settings(&self, hop: &Hop, handshake: Handshake) -> Settings {
        let settings = Settings::to(&[hop.address]);
        let settings = settings.secured(handshake, Verification::Verified, Some(&self.ca), Some("mail.test"));
        settings.login("relay@a.test", PASSWORD)
    }

    /// The message arrives.
    fn arrives(&self, script: &str, handshake: Handshake) -> Hop {
        let hop = self.hop(script);
        let post = Post::start(self.settings(&hop, handshake));
        post.post_one();
        post.wait_until_empty();
        assert_eq!((post.count(Outcome::Delivered), post.count(Outcome::Deferred)), (1, 0));
        hop
    }

    /// The message waits, and no word of it was said.
    fn stays(&self, script: &str, status: &str, said: &str) {
        let hop = self.hop(script);
        let post = Post::start(self.settings(&hop, Handshake::StartTls));
        let id = post.post_one();
        let heard = post.wait_for_attempts(id, 1);
        assert_eq!((heard.status.as_str(), heard.reply.as_str()), (status, said));
        assert!(hop.all("MAIL").is_empty());
    }
}

#[test]
fn plain_is_said_after_tls_and_only_then() {
    let script =
        format!("{BEGIN}S 250-hop.test\nS 250 AUTH LOGIN PLAIN\nC AUTH PLAIN {RESPONSE}\nS 235 2.7.0 welcome\nSERVE");
    let hop = scene().arrives(&script, Handshake::StartTls);
    let heard = hop.heard().concat();
    let place = |prefix: &str| heard.iter().position(|line| line.starts_with(prefix)).unwrap();
    assert!(place("STARTTLS") < place("AUTH") && place("AUTH") < place("MAIL"), "{heard:?}");
}

#[test]
fn login_is_said_where_plain_is_not_offered() {
    let script = format!(
        "{BEGIN}S 250-hop.test\nS 250 AUTH CRAM-MD5 LOGIN\nC AUTH LOGIN\nS 334 VXNlcm5hbWU6\nC cmVsYXlAYS50ZXN0\n\
         S 334 UGFzc3dvcmQ6\nC Y29ycmVjdCBob3JzZQ==\nS 235 2.7.0 welcome\nSERVE"
    );
    scene().arrives(&script, Handshake::StartTls);
}

#[test]
fn tls_that_begins_the_connection_will_do() {
    let script = format!(
        "TLS\nS 220 hop.test\nC EHLO\nS 250-hop.test\nS 250 AUTH PLAIN\nC AUTH PLAIN {RESPONSE}\nS 235 ok\nSERVE"
    );
    scene().arrives(&script, Handshake::Implicit);
}

#[test]
fn a_refused_login_waits_and_names_the_user_but_never_the_password() {
    let offered = format!("{BEGIN}S 250-hop.test\nS 250 AUTH PLAIN\nC AUTH\n");
    let scene = scene();
    let refused = "refused the login of relay@a.test: 535 5.7.8 no";
    scene.stays(&format!("{offered}S 535 5.7.8 no"), "4.7.8", refused);
    scene.stays(&format!("{offered}S 535 you said {RESPONSE}"), "4.7.8", "refused the login of relay@a.test: 535");
    scene.stays(
        &format!("{offered}S 454 4.7.0 no directory"),
        "4.7.0",
        "cannot check the login of relay@a.test: 454 4.7.0 no directory",
    );
    scene.stays(&format!("{offered}S 334 more?"), "4.7.8", "refused the login of relay@a.test: 334 more?");
    scene.stays(&offered, "4.4.2", "lost the connection during AUTH: unexpected end of file");
}

#[test]
fn what_was_offered_before_tls_does_not_count() {
    scene().stays(
        &format!("{BEGIN}S 250 hop.test\nSERVE"),
        "4.7.4",
        "offers no login that can be used, neither PLAIN nor LOGIN",
    );
}

#[test]
fn a_password_is_not_said_to_a_server_that_nobody_verified() {
    for verification in [Verification::Opportunistic, Verification::Required] {
        let hop = scene().hop("S 220 hop.test\nSERVE");
        let settings = Settings::to(&[hop.address]).secured(Handshake::StartTls, verification, None, None);
        let post = Post::start(settings.login("relay@a.test", PASSWORD));
        let id = post.post_one();
        let heard = post.wait_for_attempts(id, 1);
        assert_eq!(
            heard.reply,
            "RelayHost mailbox: auth needs tls.verification Verified: a password goes to nobody else"
        );
        assert!(hop.heard().is_empty(), "it was dialled");
    }
}
