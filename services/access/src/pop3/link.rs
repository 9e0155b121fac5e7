//! The connection of a session: octets in, octets out, each within its time.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postino_net::{Connection, TlsAcceptor, TlsError, Wire};
use tokio::time::timeout;

/// What is sent under one time limit.
const PIECE: usize = 64 * 1024;
/// How long a client may take to hear goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why nothing more can be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    /// The client hung up.
    #[error("the client closed the connection")]
    ByClient,
    /// The client said nothing for too long.
    #[error("timed out")]
    Silent,
    /// The client does not read.
    #[error("the client does not read")]
    Stuck,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// There is no TLS after STLS.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

pub(super) struct Link {
    /// `None` only while, or after, a TLS handshake has failed.
    wire: Option<Wire>,
    write_timeout: Duration,
}

impl Link {
    pub(super) fn new(connection: Connection, write_timeout: Duration) -> Self {
        Self {
            wire: Some(Wire::new(connection)),
            write_timeout,
        }
    }

    fn wire(&mut self) -> io::Result<&mut Wire> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        self.wire.as_mut().ok_or_else(gone)
    }

    /// Waits for octets from the client. The wait can be dropped without loss.
    pub(super) async fn read(&mut self, silence: Duration) -> Result<BytesMut, Closed> {
        let wire = self.wire()?;
        let filled = timeout(silence, wire.fill()).await;
        match filled.map_err(|_| Closed::Silent)?? {
            0 => Err(Closed::ByClient),
            _ => Ok(wire.input().split()),
        }
    }

    /// Sends octets.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), Closed> {
        let limit = self.write_timeout;
        for piece in octets.chunks(PIECE) {
            let sent = timeout(limit, self.wire()?.send(piece)).await;
            sent.map_err(|_| Closed::Stuck)??;
        }
        if octets.is_empty() {
            return Ok(());
        }
        let flushed = timeout(limit, self.wire()?.flush()).await;
        Ok(flushed.map_err(|_| Closed::Stuck)??)
    }

    /// Shakes hands; the go-ahead has been sent. What the client sent ahead in plain text is
    /// thrown away (RFC 2595 section 4).
    pub(super) async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> Result<(), Closed> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let wire = self.wire.take().ok_or_else(gone)?;
        self.wire = Some(Box::pin(wire.accept_tls(acceptor)).await?);
        Ok(())
    }

    /// Closes, with TLS's own farewell.
    pub(super) async fn close(mut self) {
        if let Some(wire) = self.wire.take() {
            // Nobody is left to hear of a failure.
            let _ = timeout(FAREWELL, wire.close()).await;
        }
    }
}
