//! What all POP3 sessions of the process share.

use std::sync::Arc;

use bytes::Bytes;
use postino_config::PlaintextPolicy;
use postino_net::{Acceptor, Connection, NetConfig, Shutdown, TlsAcceptor, serve_sessions};
use postino_telemetry::Registry;
use tokio::net::TcpListener;

use super::Pop3Config;
use super::metrics::Metrics;
use super::session::Session;
use crate::login::Logins;

/// What all POP3 sessions of the process share.
pub(crate) struct Server {
    pub(super) config: Pop3Config,
    /// The name that greetings give.
    pub(super) hostname: String,
    pub(super) plaintext: PlaintextPolicy,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) logins: Arc<dyn Logins>,
    pub(super) shutdown: Shutdown,
    pub(super) metrics: Metrics,
}

impl Server {
    pub(crate) fn new(
        config: Pop3Config,
        hostname: String,
        plaintext: PlaintextPolicy,
        tls: Option<TlsAcceptor>,
        logins: Arc<dyn Logins>,
        shutdown: Shutdown,
        registry: &Registry,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            hostname,
            plaintext,
            tls,
            logins,
            shutdown,
            metrics: Metrics::new(registry),
        })
    }

    /// Serves one listener until the process stops.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        net: NetConfig,
        implicit_tls: Option<TlsAcceptor>,
    ) {
        let acceptor = Acceptor {
            config: net,
            implicit_tls,
            busy: Bytes::from_static(b"-ERR [SYS/TEMP] too many connections\r\n"),
        };
        let shutdown = self.shutdown.clone();
        let session = move |connection| Arc::clone(&self).session(connection);
        serve_sessions(listener, acceptor, shutdown, session).await;
    }

    async fn session(self: Arc<Self>, connection: Connection) {
        let metrics = self.metrics.clone();
        metrics.sessions.inc();
        Session::new(self, connection).run().await;
        metrics.sessions.dec();
    }
}
