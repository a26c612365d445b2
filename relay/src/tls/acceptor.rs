//! What a handshake of one listener needs: the certificates in force, and whom the settings in force ask to prove who it is.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::Certificates;
use crate::config::Authorities;

/// Accepts TLS on one listener. Its session tickets are its own: no other listener takes them, and neither does this one
/// once the settings ask for other client certificates, or a resumed session would be asked for none.
#[derive(Debug)]
pub struct Acceptor {
    certificates: Certificates,
    provider: Arc<CryptoProvider>,
    current: ArcSwapOption<Current>,
}

#[derive(Debug)]
struct Current {
    authorities: Arc<Authorities>,
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// For one listener.
    pub fn new(certificates: Certificates) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { certificates, provider, current: ArcSwapOption::empty() }
    }

    /// Whether a handshake could succeed now.
    pub fn is_ready(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// For the next handshake. Client certificates are asked for when `authorities` are, and never required.
    ///
    /// # Errors
    /// When the TLS library refuses our own parameters, or has no randomness.
    pub fn config(&self, authorities: &Arc<Authorities>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let current = self.current.load_full();
        if let Some(current) = current.filter(|current| Arc::ptr_eq(&current.authorities, authorities)) {
            return Ok(current.config.clone());
        }
        let config = Arc::new(self.build(authorities)?);
        let current = Current { authorities: authorities.clone(), config: config.clone() };
        self.current.store(Some(Arc::new(current)));
        Ok(config)
    }

    fn build(&self, authorities: &Arc<Authorities>) -> Result<ServerConfig, rustls::Error> {
        let builder =
            ServerConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        let algorithms = self.provider.signature_verification_algorithms;
        let builder = match authorities.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                builder.with_client_cert_verifier(Arc::new(Anyone { authorities: authorities.clone(), algorithms }))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(self.certificates.clone()));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// Asks for a certificate, and takes any from a client that holds its key, or none. What it proves is decided at each
/// transaction, by the settings in force then: a stranger's certificate proves nothing, and is no reason to end a handshake.
#[derive(Debug)]
struct Anyone {
    authorities: Arc<Authorities>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
