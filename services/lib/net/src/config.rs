//! Settings of the network.

use ipnet::IpNet;
use postino_config::{Duration, SettingError};
use serde::{Deserialize, Serialize};

/// Section `[net]`: connections of mail clients, for every protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetConfig {
    /// Connections of one listener.
    pub connections: usize,
    /// Connections of one listener from one address (IPv6: one /64).
    pub per_address: usize,
    /// Networks whose connections start with a PROXY header (version 1 or 2); empty: none.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How long the PROXY header may take.
    pub proxy_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Silence after which TCP asks whether the client is still there.
    pub keepalive: Duration,
    /// How long sessions may go on once the process is to stop.
    pub drain: Duration,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_address: 1_000,
            proxy_protocol_from: Vec::new(),
            proxy_timeout: Duration::secs(5),
            handshake_timeout: Duration::secs(30),
            keepalive: Duration::mins(2),
            drain: Duration::secs(20),
        }
    }
}

impl NetConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            (self.connections > 0, "connections must not be 0"),
            (self.per_address > 0, "per_address must not be 0"),
            (self.proxy_timeout > zero, "proxy_timeout must not be 0"),
            (
                self.handshake_timeout > zero,
                "handshake_timeout must not be 0",
            ),
            (self.keepalive > zero, "keepalive must not be 0"),
        ];
        postino_config::check("net", &rules)
    }
}
