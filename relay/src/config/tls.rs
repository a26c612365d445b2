//! How connections to a host are protected: the rustls configuration behind a [`TlsPlan`].
//!
//! Opportunistic and Required take any certificate, but still check that the server holds its key. Verified trusts the
//! given CAs and nothing else, or without any the public ones.

use std::sync::Arc;

use postern_wire::snapshot::{ClientCertificate, Handshake, KeyPair, SecretFile, Tls, Verification};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::authorities::SourceCertificate;
use super::{Secrets, TlsClient, TlsPlan};

/// The configurations that hosts share: one that takes anyone, and one with the public CAs.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    provider: Arc<CryptoProvider>,
    anyone: Arc<ClientConfig>,
    public: Arc<ClientConfig>,
}

impl Shared {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let anyone = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider.signature_verification_algorithms)))
            .with_no_client_auth();
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let public = trusting(&provider, roots)?;
        Ok(Self { provider, anyone: Arc::new(anyone), public: Arc::new(public) })
    }

    /// The plan for mail exchangers that no RelayHost names: TLS with whoever offers it (RFC 7435).
    pub(super) fn opportunistic(&self) -> TlsPlan {
        TlsPlan::Opportunistic(TlsClient { config: self.anyone.clone(), server_name: None, verified: false })
    }

    /// The plan that a Snapshot asks for, with the files that it names.
    ///
    /// # Errors
    /// One sentence: what cannot be used. Nothing is dialled then, rather than with less protection than was asked for.
    pub(super) fn plan(&self, tls: &Tls, secrets: &Secrets) -> Result<TlsPlan, String> {
        let Tls { handshake, verification, server_name, ca, client_certificate } = tls;
        if (*handshake, *verification) == (Handshake::None, Verification::Opportunistic) {
            return Ok(TlsPlan::None);
        }
        let config = match (verification, ca) {
            (Verification::Opportunistic | Verification::Required, _) => self.anyone.clone(),
            (Verification::Verified, None) => self.public.clone(),
            (Verification::Verified, Some(file)) => of_file(file, secrets, |pem| self.private(pem))?,
        };
        let config = match client_certificate {
            None => config,
            Some(pair) => self.with_key_pair(&config, pair, secrets)?,
        };
        let name = server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| format!("serverName: {name:?} is not a DNS name"))
        });
        let verified = *verification == Verification::Verified;
        let client = TlsClient { config, verified, server_name: name.transpose()? };
        match (handshake, verification) {
            (Handshake::None, verification) => {
                Err(format!("tls: verification {verification:?} needs a handshake, and handshake is None"))
            }
            (Handshake::StartTls, Verification::Opportunistic) => Ok(TlsPlan::Opportunistic(client)),
            (Handshake::StartTls, Verification::Required | Verification::Verified) => Ok(TlsPlan::Mandatory(client)),
            (Handshake::Implicit, _) => Ok(TlsPlan::Implicit(client)),
        }
    }

    /// The same, and who we are when the server asks.
    fn with_key_pair(
        &self,
        config: &ClientConfig,
        pair: &KeyPair,
        secrets: &Secrets,
    ) -> Result<Arc<ClientConfig>, String> {
        let KeyPair { certificate, key } = pair;
        let chain = of_file(certificate, secrets, |pem| {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match chain {
                Ok(chain) if chain.is_empty() => Err("holds no certificate in PEM form".to_owned()),
                Ok(chain) => Ok(chain),
                Err(error) => Err(format!("is not PEM: {error}")),
            }
        })?;
        // What is wrong with a key is told without any of it.
        let signing = of_file(key, secrets, |pem| {
            let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM form".to_owned())?;
            CertifiedKey::from_der(chain, key, &self.provider)
                .map_err(|error| format!("does not fit secrets/{}: {error}", certificate.0))
        })?;
        let mut config = config.clone();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(signing));
        Ok(Arc::new(config))
    }

    /// Trusts the CAs of a PEM file and nobody else.
    fn private(&self, pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
        trusting(&self.provider, roots(pem)?).map(Arc::new).map_err(|error| error.to_string())
    }

    /// A client that has a certificate for this name of one of these CAs.
    pub(super) fn source(&self, source: &ClientCertificate, secrets: &Secrets) -> Result<SourceCertificate, String> {
        let ClientCertificate { ca, dns_name } = source;
        let issuers = of_file(ca, secrets, |pem| {
            let roots = Arc::new(roots(pem)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone()).build();
            verifier.map_err(|error| error.to_string())
        })?;
        Ok(SourceCertificate { dns_name: dns_name.clone(), issuers })
    }
}

/// The CAs of a PEM file.
fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (place, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let place = place + 1;
        let certificate = certificate.map_err(|error| format!("not PEM from certificate {place} on: {error}"))?;
        roots.add(certificate).map_err(|error| format!("certificate {place} cannot be trusted: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("holds no certificate in PEM form".to_owned()),
        false => Ok(roots),
    }
}

fn of_file<T>(
    file: &SecretFile,
    secrets: &Secrets,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, String> {
    let content = secrets.get(file).ok_or_else(|| format!("secrets/{} is missing", file.0))?;
    read(content).map_err(|why| format!("secrets/{}: {why}", file.0))
}

fn trusting(provider: &Arc<CryptoProvider>, roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Takes any certificate of a server that holds its key. Protects against listeners, not against impostors.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
