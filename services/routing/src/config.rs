//! Section `[routing]`.

use std::net::{IpAddr, SocketAddr};

use postino_config::{Duration, SettingError};
use postino_types::EmailAddress;
use serde::{Deserialize, Serialize};

use crate::transport::{TransportError, Transports};

/// Section `[routing]`: who is local, and where other mail goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    /// The transport map: "DOMAIN=HOST:PORT" for one domain, ".DOMAIN=HOST:PORT" for all below it,
    /// "*=HOST:PORT" for all other domains (a smart host). HOST is looked up by address, not by MX.
    pub routes: Vec<String>,
    /// Name server, ADDR:PORT; without it those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<SocketAddr>,
    /// Where mail for a postmaster goes that has no account, alias or catch-all of its own; unset:
    /// to the oldest account there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postmaster: Option<String>,
    /// Addresses under which the world reaches this server: hosts that have one of them are
    /// ourselves, and get no mail from us.
    pub own_addresses: Vec<IpAddr>,
    /// How deep aliases may lead to aliases.
    pub alias_depth: usize,
    /// Most targets of one address after aliases.
    pub alias_targets: usize,
    /// The port of hosts that the DNS names; other than 25 for tests only.
    pub smtp_port: u16,
    /// Which addresses of hosts are used.
    pub address_families: AddressFamilies,
    /// Most MX hosts of one domain; the least preferred ones are left out.
    pub max_hosts: usize,
    /// Most addresses of one host.
    pub max_addresses: usize,
    /// A plan is used at least so long, however short its records live.
    pub min_ttl: Duration,
    /// A plan is used at most so long, however long its records live.
    pub max_ttl: Duration,
    /// How long a failed look-up is not tried again.
    pub failure_ttl: Duration,
    /// Domains whose plan is kept.
    pub cached_domains: u64,
    /// How long one DNS server may take to answer one try.
    pub dns_timeout: Duration,
    /// Tries of one question.
    pub dns_attempts: usize,
    /// How long one look-up may take in all.
    pub lookup_timeout: Duration,
    /// Look-ups at once; more of them wait.
    pub max_lookups: usize,
}

/// Which addresses of hosts are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamilies {
    /// IPv6 and IPv4, in turn.
    #[default]
    Both,
    /// IPv4 only: for networks without IPv6.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            dns: None,
            postmaster: None,
            own_addresses: Vec::new(),
            alias_depth: 10,
            alias_targets: 1000,
            smtp_port: crate::site::SMTP_PORT,
            address_families: AddressFamilies::Both,
            max_hosts: 20,
            max_addresses: 8,
            min_ttl: Duration::secs(5),
            max_ttl: Duration::hours(1),
            failure_ttl: Duration::secs(5),
            cached_domains: 100_000,
            dns_timeout: Duration::secs(5),
            dns_attempts: 2,
            lookup_timeout: Duration::secs(30),
            max_lookups: 256,
        }
    }
}

/// A setting of `[routing]` that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RoutingConfigError {
    /// In `routes`.
    #[error("routing.routes: {0}")]
    Route(#[from] TransportError),
    /// Not an address.
    #[error("routing.postmaster: {0}")]
    Postmaster(postino_types::AddressError),
    /// A number that cannot work.
    #[error(transparent)]
    Range(#[from] SettingError),
}

/// The settings after they are checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The transport map.
    pub transports: Transports,
    /// Where a postmaster's mail goes.
    pub postmaster: Option<EmailAddress>,
}

impl RoutingConfig {
    /// Checks every setting; to be called before anything starts.
    pub fn check(&self) -> Result<Checked, RoutingConfigError> {
        let rules = [
            (self.alias_targets > 0, "alias_targets must not be 0"),
            (self.max_hosts > 0, "max_hosts must not be 0"),
            (self.max_addresses > 0, "max_addresses must not be 0"),
            (self.max_lookups > 0, "max_lookups must not be 0"),
            (self.smtp_port > 0, "smtp_port must not be 0"),
            (
                self.min_ttl <= self.max_ttl,
                "min_ttl must not be longer than max_ttl",
            ),
            (
                self.dns_timeout > Duration::default(),
                "dns_timeout must not be 0",
            ),
            (
                self.lookup_timeout > Duration::default(),
                "lookup_timeout must not be 0",
            ),
        ];
        postino_config::check("routing", &rules)?;
        let postmaster = self.postmaster.as_deref().map(str::parse).transpose();
        Ok(Checked {
            transports: Transports::parse(&self.routes)?,
            postmaster: postmaster.map_err(RoutingConfigError::Postmaster)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_mistakes_are_named() {
        assert!(RoutingConfig::default().check().is_ok());
        let bad = |change: fn(&mut RoutingConfig)| {
            let mut config = RoutingConfig::default();
            change(&mut config);
            config.check().expect_err("a mistake").to_string()
        };
        assert!(bad(|c| c.routes.push("x".into())).starts_with("routing.routes: "));
        assert!(bad(|c| c.postmaster = Some("x".into())).starts_with("routing.postmaster: "));
        assert!(bad(|c| c.max_hosts = 0).starts_with("routing.max_hosts "));
        assert!(bad(|c| c.min_ttl = Duration::days(2)).starts_with("routing.min_ttl "));
    }
}
