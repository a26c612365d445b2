//! The secrets that a Snapshot refers to: files under the volume's `secrets/`, read once for each build.
//!
//! Kubernetes projects a Secret whose keys nobody knows beforehand only beside the other files of a volume, not into a
//! folder of it: what is not under `secrets/` is looked for there.
//!
//! Their content never appears in an error, a log line or `Debug`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_wire::Snapshot;
use postern_wire::snapshot::{Auth, ClientCertificate, Host, KeyPair, SecretFile, Section, Tls, Way};

/// The name of the folder in the mounted volume.
const FOLDER: &str = "secrets";

/// Files by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<SecretFile, Arc<[u8]>>);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not a plain file name: it could lead out of the folder.
    #[error("{0:?} is not the name of a file under {FOLDER}/")]
    Name(String),
    /// It is not there (yet).
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// It is there and cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than any secret should be.
    #[error("{} is larger than {max} octets", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit.
        max: u64,
    },
}

impl Secrets {
    /// Reads these files of the volume at `directory`, each at most `size_max` octets.
    ///
    /// # Errors
    /// [`Unreadable`] for the first that cannot be had: settings are taken with all their secrets or not at all.
    pub fn read(directory: &Path, files: BTreeSet<&SecretFile>, size_max: u64) -> Result<Self, Unreadable> {
        let mut secrets = BTreeMap::new();
        for file in files {
            let SecretFile(name) = file;
            let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
            if !plain {
                return Err(Unreadable::Name(name.clone()));
            }
            let in_folder = directory.join(FOLDER).join(name);
            let content = match read_file(&in_folder, size_max) {
                Err(missing @ Unreadable::Missing(_)) => match read_file(&directory.join(name), size_max) {
                    Err(Unreadable::Missing(_)) => Err(missing),
                    beside => beside,
                },
                found => found,
            };
            secrets.insert(file.clone(), content?.into());
        }
        Ok(Self(secrets))
    }

    /// The content of a file that was read.
    pub fn get(&self, file: &SecretFile) -> Option<&[u8]> {
        self.0.get(file).map(|content| &**content)
    }

    /// Name and content of each, for a digest over all of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(SecretFile(name), content)| (name.as_str(), &**content))
    }
}

impl FromIterator<(String, Vec<u8>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().map(|(name, content)| (SecretFile(name), content.into())).collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A whole file of at most `size_max` octets.
pub(crate) fn read_file(path: &Path, size_max: u64) -> Result<Vec<u8>, Unreadable> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Unreadable::Missing(path.to_owned()),
        _ => Unreadable::File { path: path.to_owned(), source },
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(size_max.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > size_max {
        return Err(Unreadable::TooLarge { path: path.to_owned(), max: size_max });
    }
    Ok(content)
}

/// Every file under `secrets/` that a Snapshot refers to.
pub fn secret_files(snapshot: &Snapshot) -> BTreeSet<&SecretFile> {
    let Snapshot { schema: _, domains: _, hosts, policies: _, nodes: _ } = snapshot;
    hosts.iter().flat_map(secrets_of_host).collect()
}

/// Every file under `secrets/` that one host refers to.
pub(super) fn secrets_of_host(section: &Section<Host>) -> Vec<&SecretFile> {
    let Host {
        endpoints: _,
        mx: _,
        tls,
        auth,
        limits: _,
        sources: _,
        source_names: _,
        source_certificates,
        queue: _,
        suspend: _,
    } = &section.spec;
    let mut files = Vec::new();
    if let Way::Open(Tls { handshake: _, verification: _, server_name: _, ca, client_certificate }) = tls {
        files.extend(ca);
        if let Some(KeyPair { certificate, key }) = client_certificate {
            files.extend([certificate, key]);
        }
    }
    if let Some(Way::Open(Auth { username, password })) = auth {
        files.extend([username, password]);
    }
    files.extend(source_certificates.iter().map(|ClientCertificate { ca, dns_name: _ }| ca));
    files
}
