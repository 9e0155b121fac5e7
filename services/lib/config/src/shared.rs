//! Settings that more than one service has.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Duration};

/// When a password may be sent without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaintextPolicy {
    /// From loopback addresses only.
    #[default]
    Loopback,
    /// Never.
    Never,
    /// From everywhere: for closed test networks.
    Always,
}

impl PlaintextPolicy {
    /// Whether a client at this address may authenticate without TLS.
    pub fn allows(self, peer: IpAddr) -> bool {
        match self {
            Self::Loopback => peer.to_canonical().is_loopback(),
            Self::Never => false,
            Self::Always => true,
        }
    }
}

/// The cost of an argon2id hash (RFC 9106 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Argon2Params {
    /// Memory of one hash.
    pub memory: ByteSize,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(19),
            passes: 2,
            lanes: 1,
        }
    }
}

/// Section `[auth]`: how passwords are made and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// When a password may be sent without TLS: "loopback", "never" or "always".
    pub plaintext: PlaintextPolicy,
    /// The cost of new hashes.
    pub argon2: Argon2Params,
    /// Whether new credentials hold SCRAM-SHA-256 keys.
    pub scram: bool,
    /// Iterations of the SCRAM keys (RFC 7677 section 4 asks for 4096 at least).
    pub scram_iterations: u32,
    /// Hashes computed at once; 0 takes the number of processors.
    pub concurrency: u32,
    /// Log-ins that may wait for a hash; more are told to come back.
    pub waiting: u32,
    /// How long a log-in may wait for its turn.
    pub wait: Duration,
    /// How long a success is remembered; 0s remembers none.
    pub cache_ttl: Duration,
    /// Successes that are remembered at most.
    pub cache_entries: u64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            plaintext: PlaintextPolicy::default(),
            argon2: Argon2Params::default(),
            scram: true,
            scram_iterations: 4096,
            concurrency: 0,
            waiting: 512,
            wait: Duration::secs(10),
            cache_ttl: Duration::secs(60),
            cache_entries: 100_000,
        }
    }
}

/// Section `[tls]`: the certificate that servers show. Both unset: one is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate, then its issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Section `[grpc]`: the connections of our services among themselves, both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Allows gRPC on addresses other than loopback, although it is neither encrypted nor
    /// authenticated yet.
    pub insecure: bool,
    /// Largest message, each way.
    pub max_message: ByteSize,
    /// HTTP/2 window of one stream.
    pub stream_window: ByteSize,
    /// HTTP/2 window of one connection.
    pub connection_window: ByteSize,
    /// Calls and streams open at once on one connection.
    pub max_streams: u32,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// Pings on a connection without traffic.
    pub keepalive_interval: Duration,
    /// A connection whose ping stays unanswered for so long is closed.
    pub keepalive_timeout: Duration,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            insecure: false,
            max_message: ByteSize::mib(16),
            stream_window: ByteSize::mib(1),
            connection_window: ByteSize::mib(8),
            max_streams: 100_000,
            connect_timeout: Duration::secs(2),
            keepalive_interval: Duration::secs(5),
            keepalive_timeout: Duration::secs(3),
        }
    }
}

/// gRPC was to be bound where others could reach it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "gRPC on {0} would be open to everyone who can reach it: it has no TLS and no authentication \
     yet. Bind a loopback address, or set grpc.insecure = true if the network is closed"
)]
pub struct InsecureBind(pub SocketAddr);

impl GrpcConfig {
    /// Checks that gRPC may be bound here: loopback, or `insecure` is set.
    pub fn check_bind(&self, address: SocketAddr) -> Result<(), InsecureBind> {
        match self.insecure || address.ip().to_canonical().is_loopback() {
            true => Ok(()),
            false => Err(InsecureBind(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_for_loopback_unless_set_otherwise() {
        let loopback: [IpAddr; 3] =
            ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|text| text.parse().expect("an address"));
        let remote: IpAddr = "192.0.2.1".parse().expect("an address");
        for peer in loopback {
            assert!(PlaintextPolicy::Loopback.allows(peer));
            assert!(!PlaintextPolicy::Never.allows(peer));
        }
        assert!(!PlaintextPolicy::Loopback.allows(remote));
        assert!(PlaintextPolicy::Always.allows(remote));
    }

    #[test]
    fn grpc_stays_on_loopback_and_the_refusal_names_the_setting() {
        let config = GrpcConfig::default();
        assert_eq!(
            config.check_bind("127.0.0.1:0".parse().expect("valid")),
            Ok(())
        );
        let open = "0.0.0.0:1".parse().expect("valid");
        let refusal = config.check_bind(open).expect_err("refused");
        assert!(refusal.to_string().contains("insecure = true"));
        assert_eq!(
            GrpcConfig {
                insecure: true,
                ..config
            }
            .check_bind(open),
            Ok(())
        );
    }
}
