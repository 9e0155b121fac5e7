//! Sockets: everything between a sans-IO protocol machine and the network.
//!
//! - [`Shutdown`] tells all tasks to finish, and until when.
//! - [`Listeners`] are bound before anything starts; port 0 is allowed.
//! - [`serve_sessions`] accepts connections under limits and runs a session on each.
//! - [`Connection`] is one client, in plain text or TLS; [`Wire`] adds buffers that exist only
//!   while there is something in them, and `STARTTLS`.
//! - [`tls`] loads certificates or makes one; [`ClientTls`] is the other side, for outbound mail.
//! - [`serve_grpc`] and [`serve_http`] run our own services and the health endpoint.

mod accept;
mod client_tls;
mod config;
mod connection;
mod grpc;
mod http;
mod limits;
mod listeners;
mod proxy;
mod shutdown;
pub mod tls;
mod wire;

pub use accept::{Acceptor, serve_sessions};
pub use client_tls::{ClientTls, ClientTlsError, Verification};
pub use config::NetConfig;
pub use connection::{Connection, TlsInfo};
pub use grpc::{ServeError, bind_grpc, serve_grpc, serve_grpc_incoming};
pub use http::{HttpService, Readiness, serve_http};
pub use limits::{ConnectionLimits, Permit, Refusal};
pub use listeners::{BindError, Listeners};
pub use shutdown::Shutdown;
pub use tls::{TlsAcceptor, TlsError};
pub use wire::Wire;

use std::net::SocketAddr;

use postino_config::PlaintextPolicy;

/// Whether a client may send its password over this connection: TLS, or as the policy says.
pub fn plaintext_allowed(policy: PlaintextPolicy, peer: SocketAddr, tls: Option<&TlsInfo>) -> bool {
    tls.is_some() || policy.allows(peer.ip())
}
