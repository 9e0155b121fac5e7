//! What all sessions of the process share.

use std::sync::Arc;

use bytes::Bytes;
use postino_net::{Acceptor, Connection, Shutdown, TlsAcceptor, plaintext_allowed, serve_sessions};
use postino_smtp::server::{AuthOffer, PlaintextAuth, Role, Settings, TlsOffer};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::session::Session;
use crate::{Clients, IngressConfig, Surroundings};

/// Which port a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// From other servers.
    Exchange,
    /// From users.
    Submission,
    /// From users, with TLS from the start.
    Submissions,
}

/// What all sessions of the process share.
pub(crate) struct Server {
    pub(crate) config: IngressConfig,
    pub(crate) clients: Clients,
    pub(crate) surroundings: Surroundings,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
}

impl Server {
    pub(crate) fn new(
        config: IngressConfig,
        clients: Clients,
        surroundings: Surroundings,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let metrics = Metrics::new(&surroundings.registry);
        Arc::new(Self {
            config,
            clients,
            surroundings,
            shutdown,
            metrics,
        })
    }

    /// Serves one port until the process stops.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, port: Port) {
        let hostname = &self.surroundings.hostname;
        let acceptor = Acceptor {
            config: self.surroundings.net.clone(),
            implicit_tls: match port {
                Port::Submissions => self.surroundings.tls.clone(),
                Port::Exchange | Port::Submission => None,
            },
            busy: Bytes::from(format!("421 4.3.2 {hostname} Too many connections\r\n")),
        };
        let shutdown = self.shutdown.clone();
        let session = move |connection| Arc::clone(&self).session(connection, port);
        serve_sessions(listener, acceptor, shutdown, session).await;
    }

    async fn session(self: Arc<Self>, connection: Connection, port: Port) {
        let metrics = self.metrics.clone();
        metrics.sessions.inc();
        Session::run(self, connection, port).await;
        metrics.sessions.dec();
    }

    /// The certificate, for STARTTLS.
    pub(crate) fn tls(&self) -> Option<&TlsAcceptor> {
        self.surroundings.tls.as_ref()
    }

    /// How the machine behaves on a connection.
    pub(crate) fn settings(&self, connection: &Connection, port: Port) -> Settings {
        let policy = self.surroundings.plaintext;
        let peer = connection.peer_address();
        Settings {
            hostname: self.surroundings.hostname.to_string(),
            role: match port {
                Port::Exchange => Role::Exchange,
                Port::Submission | Port::Submissions => Role::Submission,
            },
            tls: match self.surroundings.tls {
                Some(_) => TlsOffer::Offered,
                None => TlsOffer::Unavailable,
            },
            auth: match port {
                Port::Exchange => AuthOffer::Unavailable,
                Port::Submission | Port::Submissions => AuthOffer::Offered,
            },
            plaintext_auth: match plaintext_allowed(policy, peer, None) {
                true => PlaintextAuth::Allowed,
                false => PlaintextAuth::Refused,
            },
            limits: self.config.limits(),
        }
    }
}
