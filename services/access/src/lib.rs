//! The access service: IMAP and POP3.
//!
//! It holds nothing that a reconnect to another process would miss: mail is read from and written
//! to the store, and what others did is heard of through the store's change stream. Each protocol
//! has its module; what both need of an account is in `account`.

mod account;
mod config;
#[cfg(test)]
mod fake_store;
mod imap;
mod login;
mod pop3;
mod store_error;
mod watch;

use std::sync::Arc;

use postino_client::StoreClient;
use postino_client::credential::Authenticator;
use postino_config::PlaintextPolicy;
use postino_net::{Listeners, NetConfig, Shutdown, TlsAcceptor};
use postino_telemetry::{Registry, Role, role};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use config::AccessConfig;
pub use imap::ImapConfig;
pub use pop3::Pop3Config;

use login::{Logins, PasswordLogins};

/// The ports of the service; those that are not there are not served.
#[derive(Debug, Default)]
pub struct AccessListeners {
    /// IMAP in plain text, with STARTTLS.
    pub imap: Option<TcpListener>,
    /// IMAP under TLS.
    pub imaps: Option<TcpListener>,
    /// POP3 in plain text, with STLS.
    pub pop3: Option<TcpListener>,
    /// POP3 under TLS.
    pub pop3s: Option<TcpListener>,
}

impl AccessListeners {
    /// Takes the ports named "imap", "imaps", "pop3" and "pop3s".
    pub fn take(listeners: &mut Listeners) -> Self {
        Self {
            imap: listeners.take("imap"),
            imaps: listeners.take("imaps"),
            pop3: listeners.take("pop3"),
            pop3s: listeners.take("pop3s"),
        }
    }
}

/// The services that this one calls.
#[derive(Clone)]
pub struct Clients {
    /// Mailboxes.
    pub store: StoreClient,
    /// Log-ins.
    pub authenticator: Authenticator,
}

/// What the process shares with all its services.
#[derive(Clone)]
pub struct Surroundings {
    /// The name that greetings give.
    pub hostname: String,
    /// Limits of connections.
    pub net: NetConfig,
    /// When a password may be sent without TLS.
    pub plaintext: PlaintextPolicy,
    /// The certificate. Without one there is no TLS, and the TLS ports are not served.
    pub tls: Option<TlsAcceptor>,
    /// Where metrics are kept.
    pub registry: Registry,
}

/// Serves IMAP and POP3 until the process stops and all sessions have ended.
pub async fn run(
    config: AccessConfig,
    listeners: AccessListeners,
    clients: Clients,
    surroundings: Surroundings,
    shutdown: Shutdown,
) {
    let Surroundings {
        hostname,
        net,
        plaintext,
        tls,
        registry,
    } = surroundings;
    let logins: Arc<dyn Logins> = Arc::new(PasswordLogins {
        authenticator: clients.authenticator,
        store: clients.store,
    });
    let imap = imap::Server::new(
        config.imap,
        plaintext,
        tls.clone(),
        Arc::clone(&logins),
        shutdown.clone(),
        &registry,
    );
    let pop3 = pop3::Server::new(
        config.pop3,
        hostname,
        plaintext,
        tls.clone(),
        logins,
        shutdown,
        &registry,
    );
    let mut tasks = JoinSet::new();
    if let Some(listener) = listeners.imap {
        tasks.spawn(role(
            Role::Access,
            Arc::clone(&imap).serve(listener, net.clone(), None),
        ));
    }
    if let Some(listener) = listeners.pop3 {
        tasks.spawn(role(
            Role::Access,
            Arc::clone(&pop3).serve(listener, net.clone(), None),
        ));
    }
    if tls.is_some() {
        if let Some(listener) = listeners.imaps {
            tasks.spawn(role(
                Role::Access,
                imap.serve(listener, net.clone(), tls.clone()),
            ));
        }
        if let Some(listener) = listeners.pop3s {
            tasks.spawn(role(Role::Access, pop3.serve(listener, net, tls)));
        }
    }
    tasks.join_all().await;
}
