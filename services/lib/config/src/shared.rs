//! Settings that more than one service has.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Duration, SettingError, check};

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

impl AuthConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let argon2 = &self.argon2;
        // RFC 9106 section 3.1: 8 KiB for each lane at least, less than 4 TiB in all.
        let lanes = u64::from(argon2.lanes) * 8 * 1024;
        let rules = [
            (
                (1..1 << 24).contains(&argon2.lanes),
                "argon2.lanes must be between 1 and 16777215",
            ),
            (argon2.passes > 0, "argon2.passes must not be 0"),
            (
                (lanes..1 << 42).contains(&argon2.memory.get()),
                "argon2.memory must be 8 KiB for each lane at least, and less than 4 TiB",
            ),
            // RFC 7677 section 4.
            (
                !self.scram || self.scram_iterations >= 4096,
                "scram_iterations must be 4096 at least",
            ),
            (self.waiting > 0, "waiting must not be 0"),
            (self.wait > Duration::default(), "wait must not be 0"),
        ];
        check("auth", &rules)
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

impl TlsConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let both = self.certificate.is_some() == self.key.is_some();
        check("tls", &[(both, "certificate and tls.key go together")])
    }
}

/// Section `[grpc]`: the connections of our services among themselves, both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Allows gRPC on addresses other than loopback, although it is neither encrypted nor
    /// authenticated yet.
    pub insecure: bool,
    /// `HOST:PORT` by which other processes reach this one; a name that stays, if its address does
    /// not. Empty: the address that is bound.
    pub advertise: String,
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
            advertise: String::new(),
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
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        // RFC 9113 section 6.9.1: a window is at most 2^31-1 octets.
        let window = |size: ByteSize| (1 << 16..1 << 31).contains(&size.get());
        let rules = [
            (
                self.advertise.is_empty() || is_authority(&self.advertise),
                "advertise must be HOST:PORT",
            ),
            (
                self.max_message >= ByteSize::mib(1),
                "max_message must be 1 MiB at least",
            ),
            (
                window(self.stream_window),
                "stream_window must be between 64 KiB and 2 GiB",
            ),
            (
                window(self.connection_window),
                "connection_window must be between 64 KiB and 2 GiB",
            ),
            (self.max_streams > 0, "max_streams must not be 0"),
            (self.connect_timeout > zero, "connect_timeout must not be 0"),
            (
                self.keepalive_interval > zero,
                "keepalive_interval must not be 0",
            ),
            (
                self.keepalive_timeout > zero,
                "keepalive_timeout must not be 0",
            ),
        ];
        check("grpc", &rules)
    }

    /// Checks that gRPC may be bound here: loopback, or `insecure` is set.
    pub fn check_bind(&self, address: SocketAddr) -> Result<(), InsecureBind> {
        match self.insecure || address.ip().to_canonical().is_loopback() {
            true => Ok(()),
            false => Err(InsecureBind(address)),
        }
    }
}

/// Whether a text is HOST:PORT; an IPv6 address stands in brackets (RFC 3986 section 3.2.2).
fn is_authority(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_is_fine = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
            !host.is_empty() && host.bytes().all(letter)
        }
    };
    host_is_fine && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_address_names_a_host_and_a_port() {
        for good in [
            "store-0.store.mail.svc:2090",
            "10.0.0.1:1",
            "[fd00::7]:2090",
        ] {
            assert!(is_authority(good), "{good}");
        }
        for bad in [
            "store-0",
            "http://a:1",
            "a:0",
            ":1",
            "fd00::7:2090",
            "a:70000",
            "[a]:1",
        ] {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    #[test]
    fn defaults_are_sound_and_half_a_certificate_is_none() {
        assert_eq!(AuthConfig::default().check(), Ok(()));
        assert_eq!(GrpcConfig::default().check(), Ok(()));
        assert_eq!(TlsConfig::default().check(), Ok(()));
        let half = TlsConfig {
            certificate: Some("certificate.pem".into()),
            key: None,
        };
        let error = half.check().expect_err("no key").to_string();
        assert_eq!(error, "tls.certificate and tls.key go together");
    }

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
