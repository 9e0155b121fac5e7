//! The accept loop: connections under limits, one task each, drained in the end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::proxy::{self, Proxied};
use crate::{Connection, ConnectionLimits, NetConfig, Shutdown, TlsAcceptor};

/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// After a failed accept, such as for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// How one listener takes connections.
#[derive(Debug, Clone)]
pub struct Acceptor {
    /// Limits, PROXY protocol, timeouts.
    pub config: NetConfig,
    /// TLS from the first octet on; `None`: plain text, maybe `STARTTLS` later.
    pub implicit_tls: Option<TlsAcceptor>,
    /// What a client is told, in plain text, before it is turned away for the limits:
    /// `421 4.3.2 …\r\n`, `* BYE …\r\n`. Empty, and under implicit TLS: nothing.
    pub busy: Bytes,
}

/// Accepts connections and runs `session` on each, in a task of its own that works for the
/// caller's role. Ends when stopping has begun and all sessions have ended or were aborted.
///
/// Sessions are expected to watch `shutdown` and to end in order.
pub async fn serve_sessions<S, F>(
    listener: TcpListener,
    acceptor: Acceptor,
    shutdown: Shutdown,
    session: S,
) where
    S: Fn(Connection) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let limits = ConnectionLimits::new(acceptor.config.connections, acceptor.config.per_address);
    let acceptor = Arc::new(acceptor);
    let sessions = TaskTracker::new();
    while let Some(accepted) = shutdown.until_begun(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (acceptor, limits) = (Arc::clone(&acceptor), limits.clone());
        let (session, until) = (session.clone(), shutdown.clone());
        sessions.spawn(postino_telemetry::in_current_role(async move {
            // The future of the session is boxed only once the connection is ready, so that a
            // handshake does not carry it along.
            until
                .drain(run(stream, peer, &acceptor, &limits, session))
                .await;
        }));
    }
    drop(listener);
    sessions.close();
    sessions.wait().await;
}

async fn run<S, F>(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: &Acceptor,
    limits: &ConnectionLimits,
    session: S,
) where
    S: Fn(Connection) -> F,
    F: Future<Output = ()>,
{
    let connection = match prepare(stream, peer, acceptor).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%peer, %error, "connection lost at its start"),
    };
    let peer = connection.peer_address();
    let permit = match limits.admit(peer.ip()) {
        Ok(permit) => permit,
        Err(refusal) => {
            tracing::warn!(%peer, %refusal, "connection turned away");
            return turn_away(connection, acceptor).await;
        }
    };
    let connection = match &acceptor.implicit_tls {
        None => connection,
        Some(tls) => match Box::pin(tls.accept(connection)).await {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!(%peer, %error, "no TLS"),
        },
    };
    session(connection).await;
    drop(permit);
}

/// Sets the socket up and learns the client's address.
async fn prepare(
    mut stream: TcpStream,
    peer: SocketAddr,
    acceptor: &Acceptor,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(acceptor.config.keepalive.get());
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let trusted = &acceptor.config.proxy_protocol_from;
    let ip = peer.ip().to_canonical();
    if !trusted.iter().any(|network| network.contains(&ip)) {
        return Connection::plain(stream);
    }
    let header = Box::pin(proxy::read_header(&mut stream));
    match tokio::time::timeout(acceptor.config.proxy_timeout.get(), header).await {
        Ok(Ok(Proxied::Client(client, local))) => {
            Ok(Connection::with_addresses(stream, client, local))
        }
        Ok(Ok(Proxied::Local)) => Connection::plain(stream),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn turn_away(mut connection: Connection, acceptor: &Acceptor) {
    if acceptor.implicit_tls.is_none() && !acceptor.busy.is_empty() {
        let farewell = async {
            connection.write_all(&acceptor.busy).await?;
            connection.shutdown().await
        };
        // Who does not read it is gone anyway.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}
