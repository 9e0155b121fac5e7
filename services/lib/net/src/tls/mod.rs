//! TLS of our servers: TLS 1.2 and 1.3 by rustls.

mod certificate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postino_config::TlsConfig;
use rustls::ServerConfig;

use crate::Connection;

/// Why TLS does not work.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the certificate cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is there, but holds no certificate or key.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not go together, or one is set without the other.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The connection has TLS already.
    #[error("TLS is already active")]
    AlreadyActive,
    /// The handshake took too long.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// The handshake failed, or the connection broke.
    #[error("TLS handshake: {0}")]
    Handshake(#[from] std::io::Error),
}

/// Accepts TLS with one certificate; clones share it.
#[derive(Clone)]
pub struct TlsAcceptor {
    acceptor: tokio_rustls::TlsAcceptor,
    timeout: Duration,
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// With the configured certificate, or with a self-signed one for `hostname` that is kept in
    /// `data/tls/`. `timeout` limits a handshake. Reads and writes files.
    pub fn load(
        config: &TlsConfig,
        data: &Path,
        hostname: &str,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => certificate::self_signed(&data.join("tls"), hostname)?,
            _ => {
                let reason = "tls.certificate and tls.key must be set together";
                return Err(TlsError::Certificate(reason.to_owned()));
            }
        };
        let (chain, key) = certificate::read(&certificate, &key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let wrong = |error: rustls::Error| TlsError::Certificate(error.to_string());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(wrong)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(wrong)?;
        Ok(Self {
            acceptor: Arc::new(server).into(),
            timeout,
        })
    }

    /// Shakes hands as the server.
    pub async fn accept(&self, connection: Connection) -> Result<Connection, TlsError> {
        let (stream, peer, local) = connection.into_plain().ok_or(TlsError::AlreadyActive)?;
        let handshake = tokio::time::timeout(self.timeout, self.acceptor.accept(stream));
        match handshake.await {
            Ok(stream) => Ok(Connection::server_tls(stream?, peer, local)),
            Err(_) => Err(TlsError::Timeout),
        }
    }
}
