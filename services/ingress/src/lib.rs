//! SMTP in: letters from other servers, and from users who submit them.
//!
//! Each connection has a task that drives the machine of `postino-smtp` ([`session`]): it asks
//! routing who the recipients are, streams the body into the store while it is scanned, and says
//! `250` only after the store has letter and envelope on disk at a majority. It keeps nothing that
//! a crash could lose.

mod config;
mod metrics;
mod received;
mod server;
mod session;

use std::sync::Arc;

use postino_client::credential::Authenticator;
use postino_client::{RoutingClient, StoreClient};
use postino_config::PlaintextPolicy;
use postino_net::{Listeners, NetConfig, Shutdown, TlsAcceptor};
use postino_telemetry::{Registry, Role, role};
use postino_types::Domain;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use config::{FromCheck, IngressConfig};

use server::{Port, Server};

/// The ports of the service; those that are not there are not served.
#[derive(Debug, Default)]
pub struct IngressListeners {
    /// SMTP for mail from other servers, with STARTTLS.
    pub smtp: Option<TcpListener>,
    /// SMTP for users, with STARTTLS.
    pub submission: Option<TcpListener>,
    /// SMTP for users, with TLS from the start (RFC 8314 section 3.3).
    pub submissions: Option<TcpListener>,
}

impl IngressListeners {
    /// Takes the ports named "smtp", "submission" and "submissions".
    pub fn take(listeners: &mut Listeners) -> Self {
        Self {
            smtp: listeners.take("smtp"),
            submission: listeners.take("submission"),
            submissions: listeners.take("submissions"),
        }
    }
}

/// The services that this one calls.
#[derive(Clone)]
pub struct Clients {
    /// The spool.
    pub store: StoreClient,
    /// Recipients and senders.
    pub routing: RoutingClient,
    /// Log-ins.
    pub authenticator: Authenticator,
}

/// What the process shares with all its services.
#[derive(Clone)]
pub struct Surroundings {
    /// The name of this host in greetings and trace headers.
    pub hostname: Domain,
    /// Limits of connections.
    pub net: NetConfig,
    /// When a password may be sent without TLS.
    pub plaintext: PlaintextPolicy,
    /// The certificate. Without one there is no TLS, and the TLS port is not served.
    pub tls: Option<TlsAcceptor>,
    /// Where metrics are kept.
    pub registry: Registry,
}

/// Serves SMTP until the process stops and all sessions have ended.
pub async fn run(
    config: IngressConfig,
    listeners: IngressListeners,
    clients: Clients,
    surroundings: Surroundings,
    shutdown: Shutdown,
) {
    let tls = surroundings.tls.is_some();
    let server = Server::new(config, clients, surroundings, shutdown);
    let mut tasks = JoinSet::new();
    for (listener, port) in [
        (listeners.smtp, Port::Exchange),
        (listeners.submission, Port::Submission),
        (listeners.submissions.filter(|_| tls), Port::Submissions),
    ] {
        if let Some(listener) = listener {
            tasks.spawn(role(
                Role::Ingress,
                Arc::clone(&server).serve(listener, port),
            ));
        }
    }
    tasks.join_all().await;
}
