//! Section `[listen]`: where each listener waits.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use postino_telemetry::Role;
use serde::{Deserialize, Serialize};

/// An address, or "off".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Listen {
    /// Not at all.
    Off,
    /// At this address; port 0 takes a free one.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => match text.parse() {
                Ok(address) => Ok(Self::At(address)),
                Err(_) => Err(format!("{text:?} is neither ADDRESS:PORT nor \"off\"")),
            },
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

/// Section `[listen]`: ADDRESS:PORT, or "off". A process opens those of its roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenConfig {
    /// SMTP for mail from other servers.
    pub(crate) smtp: Listen,
    /// SMTP for users, with STARTTLS.
    pub(crate) submission: Listen,
    /// SMTP for users, with TLS from the start.
    pub(crate) submissions: Listen,
    /// IMAP with STARTTLS.
    pub(crate) imap: Listen,
    /// IMAP with TLS from the start.
    pub(crate) imaps: Listen,
    /// POP3 with STLS.
    pub(crate) pop3: Listen,
    /// POP3 with TLS from the start.
    pub(crate) pop3s: Listen,
    /// HTTP: /healthz, /readyz, /metrics.
    pub(crate) http: Listen,
    /// gRPC: admin commands, and the other processes of the system.
    pub(crate) admin: Listen,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let loopback = |port: u16| Listen::At(SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            smtp: loopback(2525),
            submission: loopback(2587),
            submissions: loopback(2465),
            imap: loopback(2143),
            imaps: loopback(2993),
            pop3: loopback(2110),
            pop3s: loopback(2995),
            http: loopback(2080),
            admin: loopback(2090),
        }
    }
}

impl ListenConfig {
    /// The listeners that a process with these roles opens, gRPC left out.
    pub(crate) fn of(&self, roles: &[Role]) -> Vec<(&'static str, SocketAddr)> {
        let mut wanted = vec![("http", self.http)];
        if roles.contains(&Role::Ingress) {
            wanted.push(("smtp", self.smtp));
            wanted.push(("submission", self.submission));
            wanted.push(("submissions", self.submissions));
        }
        if roles.contains(&Role::Access) {
            wanted.push(("imap", self.imap));
            wanted.push(("imaps", self.imaps));
            wanted.push(("pop3", self.pop3));
            wanted.push(("pop3s", self.pop3s));
        }
        let on = |(name, listen)| match listen {
            Listen::Off => None,
            Listen::At(address) => Some((name, address)),
        };
        wanted.into_iter().filter_map(on).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        let text = "[::1]:25";
        assert_eq!(
            text.parse::<Listen>().map(|listen| listen.to_string()),
            Ok(text.into())
        );
        assert!("25".parse::<Listen>().is_err());
    }

    #[test]
    fn a_process_opens_what_its_roles_need() {
        let mut config = ListenConfig {
            pop3: Listen::Off,
            ..ListenConfig::default()
        };
        let names = |config: &ListenConfig, role| -> Vec<&str> {
            config
                .of(&[role])
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(
            names(&config, Role::Access),
            ["http", "imap", "imaps", "pop3s"]
        );
        config.http = Listen::Off;
        assert!(names(&config, Role::Queue).is_empty());
    }
}
