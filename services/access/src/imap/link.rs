//! The two directions of a connection: events in, buffered responses out.

use std::io;
use std::time::Duration;

use postino_imap::{Event, Limits, Receiver};
use postino_net::{Connection, TlsAcceptor, TlsError, TlsInfo, Wire};
use tokio::time::timeout;

/// Responses are sent when so many octets wait, or when there is nothing to read.
const SEND_AT: usize = 32 * 1024;
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
    /// There is no TLS after STARTTLS.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The octets of a literal did not all come from the store, so the stream cannot go on.
    #[error("a literal was cut off")]
    CutOff,
}

/// A connection.
pub(super) struct Link {
    /// `None` only while, or after, a TLS handshake has failed.
    wire: Option<Wire>,
    receiver: Receiver,
    out: Vec<u8>,
    write_timeout: Duration,
}

impl Link {
    pub(super) fn new(connection: Connection, limits: Limits, write_timeout: Duration) -> Self {
        Self {
            wire: Some(Wire::new(connection)),
            receiver: Receiver::new(limits),
            out: Vec::new(),
            write_timeout,
        }
    }

    /// What TLS agreed on; `None` in plain text.
    pub(super) fn tls(&self) -> Option<&TlsInfo> {
        self.wire.as_ref().and_then(|wire| wire.connection().tls())
    }

    /// Where responses are written to.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    fn wire(&mut self) -> io::Result<&mut Wire> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        self.wire.as_mut().ok_or_else(gone)
    }

    /// The next event, if it is here already.
    pub(super) fn ready_event(&mut self) -> Option<Event> {
        self.receiver.next_event()
    }

    /// The next event, within a time of silence. If nothing is left to be sent, the wait can be
    /// dropped without loss.
    pub(super) async fn event(&mut self, silence: Duration) -> Result<Event, Closed> {
        loop {
            if let Some(event) = self.receiver.next_event() {
                return Ok(event);
            }
            self.flush().await?;
            self.receiver.shrink();
            self.out = Vec::new();
            let wire = self.wire()?;
            let filled = timeout(silence, wire.fill()).await;
            if filled.map_err(|_| Closed::Silent)?? == 0 {
                return Err(Closed::ByClient);
            }
            let input = wire.input().split();
            self.receiver.input().unsplit(input);
        }
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        self.send(&out).await?;
        out.clear();
        self.out = out;
        let limit = self.write_timeout;
        let flushed = timeout(limit, self.wire()?.flush()).await;
        Ok(flushed.map_err(|_| Closed::Stuck)??)
    }

    /// Sends what was written if it is much; a long response calls this now and then.
    pub(super) async fn pace(&mut self) -> Result<(), Closed> {
        match self.out.len() >= SEND_AT {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Writes the octets of a literal, past the buffer if they are many.
    pub(super) async fn put_content(&mut self, octets: &[u8]) -> Result<(), Closed> {
        if self.out.len() + octets.len() < SEND_AT {
            self.out.extend_from_slice(octets);
            return Ok(());
        }
        self.flush().await?;
        self.send(octets).await
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Closed> {
        let limit = self.write_timeout;
        for piece in octets.chunks(PIECE) {
            let sent = timeout(limit, self.wire()?.send(piece)).await;
            sent.map_err(|_| Closed::Stuck)??;
        }
        Ok(())
    }

    /// Sends the rest and closes.
    pub(super) async fn close(mut self) {
        if timeout(FAREWELL, self.flush())
            .await
            .is_ok_and(|sent| sent.is_ok())
            && let Some(wire) = self.wire.take()
        {
            // Nobody is left to hear of a failure.
            let _ = timeout(FAREWELL, wire.close()).await;
        }
    }

    /// Sends what was written, whose end is the go-ahead, and shakes hands. What the client sent
    /// ahead in plain text is thrown away (RFC 3501 section 6.2.1).
    pub(super) async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> Result<(), Closed> {
        self.flush().await?;
        self.receiver.discard_input();
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let wire = self.wire.take().ok_or_else(gone)?;
        self.wire = Some(Box::pin(wire.accept_tls(acceptor)).await?);
        Ok(())
    }
}
