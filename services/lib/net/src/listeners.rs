//! Ports, bound before anything else starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A port could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {name}: {error}")]
pub struct BindError {
    name: String,
    address: SocketAddr,
    error: std::io::Error,
}

/// Bound ports by name: "smtp", "imap", "http" …
#[derive(Debug, Default)]
pub struct Listeners {
    bound: BTreeMap<String, TcpListener>,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Listeners {
    /// No port yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds a port under a name, within tokio; port 0 takes a free one. Gives the address.
    pub fn bind(&mut self, name: &str, address: SocketAddr) -> Result<SocketAddr, BindError> {
        let error = |error| BindError {
            name: name.to_owned(),
            address,
            error,
        };
        let listener = listen(address).map_err(error)?;
        let local = listener.local_addr().map_err(error)?;
        self.bound.insert(name.to_owned(), listener);
        self.addresses.insert(name.to_owned(), local);
        Ok(local)
    }

    /// Hands a listener over to who serves it; `None` if it was not bound or is taken.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        self.bound.remove(name)
    }

    /// The address bound under a name, also after it was taken.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.get(name).copied()
    }

    /// All names with their addresses.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }
}

/// Connections that wait to be accepted at most; the system may cut it.
const BACKLOG: i32 = 1024;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_becomes_a_port_and_a_taken_one_is_refused() {
        let mut listeners = Listeners::new();
        let any = "127.0.0.1:0".parse().expect("an address");
        let address = listeners.bind("smtp", any).expect("bound");
        assert_ne!(address.port(), 0);
        let error = listeners.bind("imap", address).expect_err("in use");
        assert!(error.to_string().contains("imap"), "{error}");
        assert!(listeners.take("smtp").is_some());
        assert!(listeners.take("smtp").is_none());
        assert_eq!(listeners.address("smtp"), Some(address));
        assert_eq!(listeners.addresses().len(), 1);
    }
}
