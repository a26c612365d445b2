//! What a connection has shown of itself by TLS: how it is protected, and which hosts its certificate proves it to be.

use std::sync::Arc;

use rustls::{ProtocolVersion, ServerConnection};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::config::Authorities;
use crate::header::Protection;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) protection: Protection,
    /// The client's certificate and its intermediates; none when it was not asked, or shows none.
    chain: Box<[CertificateDer<'static>]>,
    /// What the chain proved to those who were asked last: new settings ask anew.
    known: Option<(Arc<Authorities>, Vec<Arc<str>>)>,
}

impl Proof {
    /// Of a connection whose handshake is over.
    pub(super) fn new(tls: &ServerConnection) -> Self {
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3", // there are only these two
        };
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        let cipher = suite.replacen("TLS13_", "TLS_", 1);
        let chain = tls.peer_certificates().unwrap_or_default();
        Self { protection: Protection { version, cipher }, chain: chain.into(), known: None }
    }

    /// The hosts that the client has proven to be, by the settings in force now.
    pub(super) fn hosts(&mut self, authorities: &Arc<Authorities>) -> Vec<Arc<str>> {
        if self.chain.is_empty() {
            return Vec::new();
        }
        match &self.known {
            Some((asked, hosts)) if Arc::ptr_eq(asked, authorities) => hosts.clone(),
            _ => {
                let hosts = authorities.hosts(&self.chain, UnixTime::now());
                self.known = Some((authorities.clone(), hosts.clone()));
                hosts
            }
        }
    }
}
