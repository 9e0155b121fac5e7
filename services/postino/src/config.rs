//! All settings: the services' own sections put together, and the layers they come from.

mod docs;
mod fit;
mod sample;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postino_access::AccessConfig;
use postino_client::{RoutingClientConfig, StoreClientConfig};
use postino_config::{AuthConfig, GrpcConfig, Layers, TlsConfig};
use postino_ingress::IngressConfig;
use postino_net::NetConfig;
use postino_queue::QueueConfig;
use postino_routing::RoutingConfig;
use postino_store::StoreConfig;
use postino_telemetry::TelemetryConfig;
use postino_types::Domain;
use serde::{Deserialize, Serialize};

use crate::admin::output;
use crate::cli::{DEFAULT_DATA, RunArgs};
use crate::listen::{Listen, ListenConfig};

/// Every setting of every role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// This host's name in greetings, trace headers and notifications; empty: the system's.
    pub(crate) hostname: String,
    /// Where data and `ports.json` are; empty: `postino-data`.
    pub(crate) data: PathBuf,
    pub(crate) listen: ListenConfig,
    pub(crate) store: StoreConfig,
    pub(crate) store_client: StoreClientConfig,
    pub(crate) routing: RoutingConfig,
    pub(crate) routing_client: RoutingClientConfig,
    pub(crate) queue: QueueConfig,
    pub(crate) ingress: IngressConfig,
    pub(crate) access: AccessConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) tls: TlsConfig,
    pub(crate) net: NetConfig,
    pub(crate) grpc: GrpcConfig,
    pub(crate) telemetry: TelemetryConfig,
}

impl Config {
    /// The settings of all layers: file, environment, `--set`, and the flags that have a name of
    /// their own, which win.
    pub(crate) fn load(arguments: &RunArgs) -> Result<Self> {
        let mut config = layered(arguments.config.as_deref(), &arguments.set)?;
        config.take_flags(arguments);
        config.check()?;
        Ok(config)
    }

    fn take_flags(&mut self, arguments: &RunArgs) {
        let listen = &mut self.listen;
        for (flag, setting) in [
            (arguments.smtp, &mut listen.smtp),
            (arguments.submission, &mut listen.submission),
            (arguments.submissions, &mut listen.submissions),
            (arguments.imap, &mut listen.imap),
            (arguments.imaps, &mut listen.imaps),
            (arguments.pop3, &mut listen.pop3),
            (arguments.pop3s, &mut listen.pop3s),
            (arguments.http, &mut listen.http),
            (arguments.admin, &mut listen.admin),
        ] {
            if let Some(address) = flag {
                *setting = Listen::At(address);
            }
        }
        if let Some(data) = &arguments.data {
            self.data.clone_from(data);
        }
        if let Some(hostname) = &arguments.hostname {
            self.hostname.clone_from(hostname);
        }
        if let Some(server) = arguments.dns {
            self.routing.dns = Some(server);
        }
        self.routing.routes.extend(arguments.route.iter().cloned());
    }

    /// Checks what the types cannot, before a port is bound.
    fn check(&self) -> Result<()> {
        self.name()?;
        self.store.check()?;
        self.store_client.check()?;
        self.routing.check()?;
        self.routing_client.check()?;
        self.queue.check()?;
        self.ingress.check()?;
        self.access.check()?;
        self.auth.check()?;
        self.tls.check()?;
        self.net.check()?;
        self.grpc.check()?;
        self.telemetry.check()?;
        fit::check(self)?;
        if let Listen::At(address) = self.listen.admin {
            self.grpc.check_bind(address)?;
        }
        Ok(())
    }

    /// This host's name.
    pub(crate) fn name(&self) -> Result<Domain> {
        if !self.hostname.is_empty() {
            return self
                .hostname
                .parse()
                .with_context(|| format!("hostname {:?}", self.hostname));
        }
        let system = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        // A system whose name is none in the DNS's sense still has this one.
        system
            .trim()
            .parse()
            .or_else(|_| "localhost".parse())
            .context("localhost")
    }

    /// The data directory.
    pub(crate) fn directory(&self) -> &Path {
        match self.data.as_os_str().is_empty() {
            true => Path::new(DEFAULT_DATA),
            false => &self.data,
        }
    }

    /// Where gRPC is served.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        match self.listen.admin {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        }
    }
}

fn layered(file: Option<&Path>, set: &[String]) -> Result<Config> {
    let mut layers = Layers::new();
    if let Some(file) = file {
        layers = layers.file(file)?;
    }
    layers = layers.environment(std::env::vars())?;
    for assignment in set {
        layers = layers.set(assignment)?;
    }
    Ok(layers.build()?)
}

/// `postino config default`.
pub(crate) fn print_default() -> Result<()> {
    output::line(&sample::sample()?.trim_end());
    Ok(())
}

/// `postino config check`.
pub(crate) fn check(file: Option<&Path>, set: &[String]) -> Result<()> {
    layered(file, set)?.check()?;
    output::line(&"the configuration is good");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() -> Result<()> {
        Config::default().check()
    }

    #[test]
    fn an_open_grpc_port_is_refused() {
        let mut config = Config::default();
        config.listen.admin = Listen::At(SocketAddr::from(([0, 0, 0, 0], 1)));
        assert!(
            config
                .check()
                .is_err_and(|error| error.to_string().contains("insecure"))
        );
    }
}
