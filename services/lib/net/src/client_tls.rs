//! TLS towards other mail servers.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::Connection;

/// How far the other side's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Any certificate will do: TLS against those who listen only (RFC 7435). The name is for SNI;
    /// an address literal is fine.
    Opportunistic(String),
    /// The certificate must be valid for this name.
    Name(String),
}

/// Why a connection got no TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The name cannot be in a certificate.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// The server sent octets between its go-ahead and the handshake.
    #[error("the server sent octets ahead of the TLS handshake")]
    InjectedInput,
    /// The connection has TLS already.
    #[error("TLS is already active")]
    AlreadyActive,
    /// The handshake took too long.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// The certificate is not valid for the name, or TLS could not be agreed on.
    #[error("TLS handshake: {0}")]
    Handshake(#[from] std::io::Error),
    /// TLS cannot be set up at all.
    #[error("TLS: {0}")]
    Setup(String),
}

/// Starts TLS as a client; clones share the settings.
#[derive(Clone)]
pub struct ClientTls {
    opportunistic: TlsConnector,
    verified: TlsConnector,
    timeout: Duration,
}

impl ClientTls {
    /// With the certificate authorities that the system trusts. `timeout` limits a handshake.
    pub fn new(timeout: Duration) -> Result<Self, ClientTlsError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a trusted certificate of the system is not readable");
        }
        Self::with_roots(found.certs, timeout)
    }

    /// With these certificate authorities.
    pub fn with_roots(
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        timeout: Duration,
    ) -> Result<Self, ClientTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let blind = Arc::new(AnyCertificate(Arc::clone(&provider)));
        // Without authorities nothing verifies, which the handshake will say.
        let strict: Arc<dyn ServerCertVerifier> = match store.is_empty() {
            true => Arc::new(NoAuthorities(Arc::clone(&provider))),
            false => {
                WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(&provider))
                    .build()
                    .map_err(|error| ClientTlsError::Setup(error.to_string()))?
            }
        };
        Ok(Self {
            opportunistic: connector(Arc::clone(&provider), blind)?,
            verified: connector(provider, strict)?,
            timeout,
        })
    }

    /// Shakes hands as the client.
    pub async fn connect(
        &self,
        connection: Connection,
        verification: &Verification,
    ) -> Result<Connection, ClientTlsError> {
        let (connector, name) = match verification {
            Verification::Opportunistic(name) => (&self.opportunistic, name),
            Verification::Name(name) => (&self.verified, name),
        };
        let server = ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| ClientTlsError::Name(name.clone()))?;
        let (stream, peer, local) = connection
            .into_plain()
            .ok_or(ClientTlsError::AlreadyActive)?;
        match tokio::time::timeout(self.timeout, connector.connect(server, stream)).await {
            Ok(stream) => Ok(Connection::client_tls(stream?, peer, local)),
            Err(_) => Err(ClientTlsError::Timeout),
        }
    }
}

fn connector(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<TlsConnector, ClientTlsError> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| ClientTlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes any certificate, but checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

/// Takes no certificate.
#[derive(Debug)]
struct NoAuthorities(Arc<CryptoProvider>);

macro_rules! verifier {
    ($name:ident, $verdict:expr) => {
        impl ServerCertVerifier for $name {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<ServerCertVerified, rustls::Error> {
                $verdict
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                let algorithms = &self.0.signature_verification_algorithms;
                verify_tls12_signature(message, certificate, signature, algorithms)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                let algorithms = &self.0.signature_verification_algorithms;
                verify_tls13_signature(message, certificate, signature, algorithms)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.0.signature_verification_algorithms.supported_schemes()
            }
        }
    };
}

verifier!(AnyCertificate, Ok(ServerCertVerified::assertion()));
verifier!(
    NoAuthorities,
    Err(rustls::Error::General(
        "this system has no trusted certificate authorities".to_owned()
    ))
);
