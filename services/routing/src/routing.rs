//! The service as the product runs it: the store's directory, and the DNS.

use postino_client::DirectoryCache;
use postino_telemetry::Registry;
use postino_types::Domain;

use crate::config::{RoutingConfig, RoutingConfigError};
use crate::dns::{DnsSetupError, Resolver};
use crate::expansion::Rules;
use crate::metrics::Metrics;
use crate::plan::{Bounds, Ourselves};
use crate::planner::{Planner, Ttls};
use crate::service::RoutingService;

/// Routing on the store's directory and the DNS.
pub type StoreRouting = RoutingService<DirectoryCache, Resolver>;

/// Why routing cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] RoutingConfigError),
    /// The resolver cannot be set up.
    #[error(transparent)]
    Dns(#[from] DnsSetupError),
}

/// Puts the service together; `RoutingService::server` mounts it. It has no task of its own: it
/// works when it is called, within tokio. `hostname` is our own name.
pub fn routing(
    config: &RoutingConfig,
    hostname: &Domain,
    directory: DirectoryCache,
    registry: &Registry,
) -> Result<StoreRouting, RoutingError> {
    let checked = config.check()?;
    let ourselves = Ourselves {
        hostname: hostname.as_str().to_owned(),
        addresses: config.own_addresses.clone(),
    };
    let bounds = Bounds {
        hosts: config.max_hosts,
        addresses: config.max_addresses,
        port: config.smtp_port,
    };
    let ttls = Ttls {
        min: config.min_ttl.get(),
        max: config.max_ttl.get(),
        failure: config.failure_ttl.get(),
    };
    if checked.postmaster.is_none() {
        tracing::warn!(
            "routing.postmaster is not set: mail for postmaster is put off unless the domain has \
             such an account or alias"
        );
    }
    let rules = Rules {
        hostname: hostname.as_str().to_owned(),
        own_addresses: config.own_addresses.clone(),
        postmaster: checked.postmaster,
        depth: config.alias_depth,
        targets: config.alias_targets,
    };
    let planner = Planner::new(
        Resolver::new(config)?,
        checked.transports,
        ourselves,
        bounds,
        ttls,
        config.cached_domains,
    );
    Ok(RoutingService::new(
        directory,
        planner,
        rules,
        Metrics::new(registry),
    ))
}
