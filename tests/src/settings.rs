//! The mounted volume of a relay, written as the kubelet writes it: the files are reached through the link `..data`,
//! which is exchanged for a new one all at once.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use postern_wire::limits::{HOPS, MESSAGE_SIZE, QUEUE_LIFETIME, RECIPIENTS_PER_MESSAGE};
use postern_wire::snapshot::{
    Domain, Endpoint, Handshake, Host, HostLimits, Inbound, InboundTls, MessageLimits, NextHop, Policy, Queue,
    RecipientMode, Recipients, Senders, Tls, Verification, Way,
};
use postern_wire::{SCHEMA, SETTINGS_FILE, Section, SettingsFile, Snapshot};

/// A folder with `settings.json` and `secrets/`.
#[derive(Debug)]
pub struct Volume {
    folder: PathBuf,
    versions: AtomicU32,
}

impl Volume {
    /// An empty volume in this folder, which is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        symlink(Path::new("..data").join(SETTINGS_FILE), folder.join(SETTINGS_FILE))?;
        symlink("..data/secrets", folder.join("secrets"))?;
        Ok(Self { folder: folder.to_owned(), versions: AtomicU32::new(0) })
    }

    /// What `--settings` names.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts this Snapshot, and these secrets, in place of what was there.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn publish(&self, snapshot: &Snapshot, secrets: &[(&str, &[u8])]) -> Result<()> {
        self.publish_text(&SettingsFile::new(snapshot.clone()).to_json(), secrets)
    }

    /// The same with any text as `settings.json`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn publish_text(&self, settings: &str, secrets: &[(&str, &[u8])]) -> Result<()> {
        self.publish_files(&[(SETTINGS_FILE, settings.as_bytes())], secrets)
    }

    /// The same with any files of settings.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn publish_files(&self, settings: &[(&str, &[u8])], secrets: &[(&str, &[u8])]) -> Result<()> {
        let version = format!("..version_{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let folder = self.folder.join(&version);
        fs::create_dir_all(folder.join("secrets"))?;
        for (name, content) in settings {
            fs::write(folder.join(name), content)?;
        }
        for (name, content) in secrets {
            fs::write(folder.join("secrets").join(name), content)?;
        }
        let (data, next) = (self.folder.join("..data"), self.folder.join("..data_tmp"));
        let old = fs::read_link(&data).ok();
        symlink(&version, &next)?;
        fs::rename(&next, &data).context("exchanging ..data")?;
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old))?;
        }
        Ok(())
    }
}

/// The least that relays: everyone may write to anyone at `domain`, and the mail goes to `mailbox_server`. The sections
/// are a RelayDomain `relayed`, a RelayHost `mailbox` and a FilterPolicy `default`.
pub fn relaying(domain: &str, mailbox_server: SocketAddr) -> Snapshot {
    let inbound = Inbound {
        tls: InboundTls::default(),
        deliver_to: vec![NextHop { preference: 10, host: "mailbox".to_owned() }],
        recipients: Recipients { mode: RecipientMode::AcceptAll, subaddress_delimiter: None },
        policy: "default".to_owned(),
    };
    let relayed = Domain { names: vec![domain.to_owned()], inbound: Way::Open(inbound), bounces: None, outbound: None };
    let tls = Tls {
        client_certificate: None,
        handshake: Handshake::None,
        verification: Verification::Opportunistic,
        server_name: None,
        ca: None,
    };
    let mailbox = Host {
        auth: None,
        limits: HostLimits::default(),
        mx: Vec::new(),
        source_names: Vec::new(),
        source_certificates: Vec::new(),
        endpoints: vec![Endpoint { address: mailbox_server.ip().to_string(), port: mailbox_server.port() }],
        tls: Way::Open(tls),
        sources: Vec::new(),
        queue: Queue { null_sender_lifetime: None, warn_after: None, lifetime: QUEUE_LIFETIME.default },
        suspend: false,
    };
    let limits = MessageLimits {
        message_size: MESSAGE_SIZE.default,
        recipients_per_message: u32::try_from(RECIPIENTS_PER_MESSAGE.default).unwrap_or(u32::MAX),
        hops: u32::try_from(HOPS.default).unwrap_or(u32::MAX),
    };
    let policy = Policy { blocked_names: Vec::new(), limits, blocked_clients: Vec::new(), senders: Senders::default() };
    Snapshot {
        schema: SCHEMA,
        domains: vec![Section::new("relayed", "uid-of-relayed", 1, relayed)],
        hosts: vec![Section::new("mailbox", "uid-of-mailbox", 1, mailbox)],
        policies: vec![Section::new("default", "uid-of-default", 1, policy)],
        nodes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_shows_the_latest_snapshot_and_only_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::create(&folder.path().join("volume")).unwrap();
        let mut snapshot = relaying("example.test", "127.0.0.1:25".parse().unwrap());
        volume.publish(&snapshot, &[("ca-1", b"old")]).unwrap();
        snapshot.domains.clear();
        volume.publish(&snapshot, &[("ca-2", b"new")]).unwrap();
        let file = SettingsFile::from_json(&fs::read(volume.path().join(SETTINGS_FILE)).unwrap()).unwrap();
        assert_eq!(file.snapshot, snapshot);
        assert!(!volume.path().join("secrets/ca-1").exists());
        assert_eq!(fs::read(volume.path().join("secrets/ca-2")).unwrap(), b"new");
    }
}
