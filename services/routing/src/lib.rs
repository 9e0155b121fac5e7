//! Routing: who is local, and where does a domain's mail go.
//!
//! The decisions are pure: [`plan`] from DNS records, [`expansion`] from directory entries,
//! [`transport`] from the settings. [`planner`] and [`service`] fetch what they decide from.

pub mod config;
pub mod directory;
pub mod dns;
pub mod expansion;
mod metrics;
pub mod plan;
pub mod planner;
pub mod records;
mod routing;
mod service;
pub mod site;
pub mod transport;

pub use config::{RoutingConfig, RoutingConfigError};
pub use metrics::Metrics;
pub use routing::{RoutingError, StoreRouting, routing};
pub use service::RoutingService;
