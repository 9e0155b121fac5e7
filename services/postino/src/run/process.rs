//! One process: what its roles share, put up before any of them starts.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use postino_client::credential::{Authenticator, Checker};
use postino_client::{Channels, DirectoryCache, RoutingClient, StoreClient};
use postino_net::{HttpService, Listeners, Readiness, TlsAcceptor, bind_grpc, serve_http};
use postino_telemetry::{Guard, Registry, Role};
use postino_types::Domain;

use super::directory::DataDirectory;
use super::grpc::Grpc;
use super::tiers::{Place, Tiers};
use super::{access, descriptors, grpc, ingress, queue, routing, store};
use crate::config::Config;
use crate::ports::{Ports, PortsFile};

/// How often is tried to reach the store, and how often at most its nodes are asked for.
const LOOK: Duration = Duration::from_millis(100);

/// What the roles of a process share.
pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) roles: Vec<Role>,
    pub(crate) hostname: Domain,
    pub(crate) data: DataDirectory,
    pub(crate) listeners: Listeners,
    /// Where this process's gRPC answers, a URL.
    pub(crate) endpoint: Option<String>,
    pub(crate) channels: Channels,
    pub(crate) store: StoreClient,
    pub(crate) routing: RoutingClient,
    pub(crate) directory: DirectoryCache,
    pub(crate) registry: Registry,
    pub(crate) readiness: Readiness,
    pub(crate) tiers: Tiers,
    authenticator: OnceLock<Authenticator>,
    telemetry: Guard,
}

impl Process {
    /// Starts logs, binds every port, and makes the clients; nothing is served yet.
    pub(crate) async fn prepare(mut config: Config, roles: Vec<Role>) -> Result<Self> {
        let telemetry = postino_telemetry::init(&roles, &config.telemetry)?;
        descriptors::raise_limit();
        let hostname = config.name()?;
        let data = DataDirectory::open(config.directory())
            .with_context(|| format!("{}", config.directory().display()))?;
        PortsFile::forget(data.path())?;
        let mut listeners = Listeners::new();
        let mut endpoint = None;
        if let Some(address) = config.admin() {
            let bound = bind_grpc(&mut listeners, "admin", address, &config.grpc)?;
            endpoint = Some(match config.grpc.advertise.as_str() {
                "" => format!("http://{bound}"),
                name => format!("http://{name}"),
            });
        }
        for (name, address) in config.listen.of(&roles) {
            listeners.bind(name, address)?;
        }
        // A role that is here is asked here, unless the configuration names others.
        if roles.contains(&Role::Store) && config.store_client.endpoints.is_empty() {
            config.store_client.endpoints.extend(endpoint.clone());
        }
        if roles.contains(&Role::Routing) && config.routing_client.endpoints.is_empty() {
            config.routing_client.endpoints.extend(endpoint.clone());
        }
        let channels = Channels::new(config.grpc.clone());
        let store = StoreClient::new(config.store_client.clone(), channels.clone());
        let routing = RoutingClient::new(config.routing_client.clone(), channels.clone());
        Ok(Self {
            directory: DirectoryCache::new(store.clone()),
            tiers: Tiers::new(config.net.drain.get()),
            registry: Registry::new(),
            readiness: Readiness::new(),
            config,
            roles,
            hostname,
            data,
            listeners,
            endpoint,
            channels,
            store,
            routing,
            authenticator: OnceLock::new(),
            telemetry,
        })
    }

    fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Starts every role.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let mut grpc = Grpc::default();
        if self.has(Role::Store) {
            store::start(self, &mut grpc).await.context("store")?;
        }
        if self.has(Role::Routing) {
            routing::start(self, &mut grpc).context("routing")?;
        }
        if self.has(Role::Queue) {
            queue::start(self, &mut grpc).context("queue")?;
        }
        grpc::serve(self, grpc)?;
        if self.has(Role::Ingress) {
            ingress::start(self).context("ingress")?;
        }
        if self.has(Role::Access) {
            access::start(self).context("access")?;
        }
        self.watch_store();
        self.serve_http();
        Ok(())
    }

    /// Where every listener got its port.
    pub(crate) fn ports(&self) -> Ports {
        self.listeners.addresses().clone()
    }

    /// The certificate of the servers.
    pub(crate) fn tls(&self) -> Result<TlsAcceptor> {
        let timeout = self.config.net.handshake_timeout.get();
        let hostname = self.hostname.to_string();
        Ok(TlsAcceptor::load(
            &self.config.tls,
            self.data.path(),
            &hostname,
            timeout,
        )?)
    }

    /// Checks log-ins; all roles share its caches and limits.
    pub(crate) fn authenticator(&self) -> Result<Authenticator> {
        if let Some(authenticator) = self.authenticator.get() {
            return Ok(authenticator.clone());
        }
        let made = Authenticator::new(self.directory.clone(), Checker::new(&self.config.auth)?);
        Ok(self.authenticator.get_or_init(|| made).clone())
    }

    /// Ready is who has reached the store once. From then on the process keeps up with the nodes
    /// that there are, also while it has nothing to ask: those it started with may all be gone
    /// when it does.
    fn watch_store(&mut self) {
        let (store, readiness) = (self.store.clone(), self.readiness.clone());
        let refresh = self.config.store_client.topology_refresh.get().max(LOOK);
        let shutdown = self.tiers.shutdown(Place::Base);
        readiness.wait_for("the store");
        self.tiers.spawn(Place::Base, "readiness", async move {
            let reached = async {
                while store.topology().await.is_err() {
                    tokio::time::sleep(LOOK).await;
                }
                readiness.ready("the store");
                loop {
                    tokio::time::sleep(refresh).await;
                    // Looks at what is known, which is asked for anew when it is old.
                    let _ = store.mail_shards().await;
                }
            };
            shutdown.until_begun(reached).await;
            anyhow::Ok(())
        });
    }

    fn serve_http(&mut self) {
        let Some(listener) = self.listeners.take("http") else {
            return;
        };
        let service = HttpService {
            readiness: self.readiness.clone(),
            metrics: self.registry.clone(),
        };
        let shutdown = self.tiers.shutdown(Place::Base);
        self.tiers
            .spawn(Place::Base, "http", serve_http(listener, service, shutdown));
    }

    /// Runs until it is told to stop, and stops in order.
    pub(crate) async fn until_stopped(self, file: PortsFile) -> Result<()> {
        let outcome = self.tiers.until_stopped().await;
        drop(file);
        self.telemetry.shutdown().await;
        outcome
    }
}
