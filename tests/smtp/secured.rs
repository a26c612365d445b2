//! A scene whose relay has certificates: STARTTLS on its port, and another port that begins with TLS.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use postern_tests::clock::wait_until;
use postern_tests::loopback;
use postern_tests::smtp::Client;
use postern_tests::tls::{Authority, Certificates, Pair};
use postern_wire::Snapshot;
use tempfile::TempDir;

use crate::scene::{Scene, settings};

/// How long the relay may take to see a change on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// See the module's description.
pub(crate) struct Secured {
    pub(crate) scene: Scene,
    /// Has issued the relay's certificates.
    pub(crate) authority: Authority,
    pub(crate) certificates: Certificates,
    /// Where TLS comes first.
    pub(crate) smtps: SocketAddr,
    _folder: TempDir,
}

impl Secured {
    /// With one certificate, for `mx.test`.
    pub(crate) fn open(options: &[(&str, &str)]) -> Result<Self> {
        let (folder, smtps) = (tempfile::tempdir()?, loopback::address());
        let authority = Authority::named("Ours")?;
        let certificates = Certificates::create(&folder.path().join("tls"))?;
        certificates.write("default", &authority.certify(&["mx.test"])?)?;
        let (path, smtps_text) = (certificates.path().display().to_string(), smtps.to_string());
        let ours = [("--tls", path.as_str()), ("--smtps", smtps_text.as_str())];
        let scene = Scene::with(&[&ours[..], options].concat())?;
        Ok(Self { scene, authority, certificates, smtps, _folder: folder })
    }

    /// A stranger who has said EHLO under TLS, after STARTTLS.
    pub(crate) fn starttls(&self) -> Result<Client> {
        self.scene.stranger()?.starttls(&self.authority.trusting(None)?, "mx.test")
    }

    /// A client that begins with TLS, and shows this certificate when it is asked. It has said EHLO.
    pub(crate) fn implicit(&self, shown: Option<&Pair>) -> Result<Client> {
        let mut client = Client::connect(self.smtps)?.secure(&self.authority.trusting(shown)?, "mx.test")?;
        client.expect(220)?;
        client.say("EHLO client.test", 250)?;
        Ok(client)
    }

    /// The certificate that is shown to whoever asks for this name.
    pub(crate) fn shown(&self, name: &str) -> Result<Vec<u8>> {
        let mut client = Client::connect(self.smtps)?.secure(&self.authority.trusting(None)?, name)?;
        let tls = client.tls().context("TLS")?;
        Ok(tls.peer_certificates().and_then(<[_]>::first).context("a certificate")?.to_vec())
    }

    /// The scene's settings with a change, enforced.
    pub(crate) fn change(&self, secrets: &[(&str, &[u8])], change: impl FnOnce(&mut Snapshot)) -> Result<()> {
        let mut snapshot = settings(&self.scene.sink);
        change(&mut snapshot);
        self.scene.relay.volume.publish(&snapshot, secrets)?;
        let digest = postern_wire::Digest::of(&snapshot).to_string();
        let enforced = || self.scene.relay.get("/status").is_ok_and(|(_, body)| body.contains(&digest));
        wait_until("the settings are enforced", SOON, enforced)
    }
}
