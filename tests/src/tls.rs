//! Certificates for tests: authorities that nobody else trusts, folders as a relay's `--tls` names them, and clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// One of this name.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn named(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for these DNS names.
    ///
    /// # Errors
    /// When a name is none.
    pub fn certify(&self, names: &[&str]) -> Result<Pair> {
        self.certify_until(names, 2090)
    }

    /// The same, that ends with this year's first day.
    ///
    /// # Errors
    /// When a name is none.
    pub fn certify_until(&self, names: &[&str], year: i32) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        Ok(Pair { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }

    /// What a client needs that trusts this authority alone, and shows this certificate when it is asked.
    ///
    /// # Errors
    /// When the pair does not fit.
    pub fn trusting(&self, shown: Option<&Pair>) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        Ok(Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_auth_cert(pair.chain()?, pair.private_key()?)?,
        }))
    }
}

impl Pair {
    /// The certificate in DER, alone.
    ///
    /// # Errors
    /// When it is not PEM.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        chain.context("a certificate in PEM form")
    }

    /// Its key.
    ///
    /// # Errors
    /// When it is not PEM.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("a key in PEM form")
    }
}

/// A folder of certificates.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// An empty one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// What `--tls` names.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a pair as a person would, file by file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, pair: &Pair) -> Result<()> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("tls.crt"), &pair.certificate)?;
        fs::write(folder.join("tls.key"), &pair.key)?;
        Ok(())
    }

    /// Writes a pair as the kubelet mounts a Secret: through the link `..data`, which is exchanged for a new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn mount(&self, name: &str, version: u32, pair: &Pair) -> Result<()> {
        let folder = self.folder.join(name);
        let data = format!("..version_{version}");
        fs::create_dir_all(folder.join(&data))?;
        fs::write(folder.join(&data).join("tls.crt"), &pair.certificate)?;
        fs::write(folder.join(&data).join("tls.key"), &pair.key)?;
        symlink(&data, folder.join("..data_tmp"))?;
        let old = fs::read_link(folder.join("..data")).ok();
        fs::rename(folder.join("..data_tmp"), folder.join("..data"))?;
        for file in ["tls.crt", "tls.key"] {
            if !folder.join(file).exists() {
                symlink(Path::new("..data").join(file), folder.join(file))?;
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(folder.join(old))?;
        }
        Ok(())
    }

    /// Takes a pair away.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.folder.join(name))?)
    }
}
