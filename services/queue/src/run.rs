//! The running queue: its parts put together, started, and stopped in order.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use postino_client::{Channels, QueueClient};
use postino_config::SettingError;
use postino_net::{ClientTls, ClientTlsError, Shutdown};
use postino_telemetry::{Registry, Role, role};
use postino_types::Domain;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::QueueConfig;
use crate::leases::{Leases, Work};
use crate::local::Local;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::peers::{Identity, Peers, announce, leave};
use crate::ports::{Routing, Store};
use crate::remote::{Remote, SessionSettings};
use crate::service::QueueService;
use crate::settle::SettleSettings;
use crate::shard::{ShardSettings, work_shard};
use crate::sites::{SiteSettings, Sites};
use crate::work::Desk;

/// Who the queue talks to.
#[derive(Clone)]
pub struct Clients {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Routing.
    pub routing: Arc<dyn Routing>,
    /// Connections to other queue processes.
    pub channels: Channels,
}

/// Why the queue cannot run.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] SettingError),
    /// Our host name is no name that EHLO can give.
    #[error("the host name cannot be used in EHLO")]
    Hostname,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
}

/// A queue that is put together and not running yet.
pub struct DeliveryQueue {
    config: QueueConfig,
    clients: Clients,
    identity: Identity,
    remote: Arc<Remote>,
    desk: Arc<Desk>,
    view: watch::Sender<Peers>,
    metrics: Metrics,
}

/// How long a process that stops tries to tell its peers.
const FAREWELL: Duration = Duration::from_secs(1);

impl DeliveryQueue {
    /// Puts the queue together. `hostname` is what we call ourselves in EHLO and notifications;
    /// `endpoint` is where other queue processes reach this one's gRPC, empty if there are none.
    pub fn new(
        config: QueueConfig,
        hostname: Domain,
        endpoint: String,
        clients: Clients,
        registry: &Registry,
    ) -> Result<Self, QueueError> {
        config.check()?;
        let identity = Identity {
            instance: instance(&hostname).into(),
            endpoint,
        };
        let view = watch::Sender::new(Peers::alone(&identity));
        let metrics = Metrics::new(registry);
        let (store, routing) = (Arc::clone(&clients.store), Arc::clone(&clients.routing));
        let retry = config.internal_retry.get();
        let tls = ClientTls::new(config.remote.tls_timeout.get())?;
        let remote = Arc::new(Remote {
            store: Arc::clone(&store),
            routing: Arc::clone(&routing),
            sites: Arc::new(Sites::new(SiteSettings {
                limits: config.site_limits(),
                connections: config.remote.connections,
                waiting: config.remote.site_waiting,
                idle: config.remote.idle.get(),
            })),
            peers: view.subscribe(),
            queue: QueueClient::new(clients.channels.clone()),
            session: SessionSettings::new(&config.remote, &hostname, tls)?,
            config: config.remote.clone(),
            terms: config.terms(),
            retry,
            schedule: config.schedule(),
            metrics: metrics.clone(),
        });
        let desk = Arc::new(Desk {
            local: Local::new(
                Arc::clone(&store),
                config.local_deliveries,
                config.local_memory.get(),
                retry,
            ),
            remote: Arc::clone(&remote),
            notifier: Notifier {
                store: Arc::clone(&store),
                routing,
                hostname,
                schedule: config.schedule(),
                returned_letter: config.returned_letter.get(),
                returned_header: config.returned_header.get(),
                metrics: metrics.clone(),
            },
            store,
            schedule: config.schedule(),
            internal_retry: retry,
            metrics: metrics.clone(),
        });
        Ok(Self {
            config,
            clients,
            identity,
            remote,
            desk,
            view,
            metrics,
        })
    }

    /// The gRPC service that other queue processes call.
    pub fn service(&self) -> QueueService {
        QueueService::new(Arc::clone(&self.remote))
    }

    /// The name under which this process holds leases.
    pub fn instance(&self) -> &str {
        &self.identity.instance
    }

    /// Works the queue until `shutdown` begins; then ends what is under way and gives the leases
    /// back, within the drain time.
    pub async fn run(self, shutdown: Shutdown) {
        role(Role::Queue, self.run_for_role(shutdown)).await;
    }

    async fn run_for_role(self, shutdown: Shutdown) {
        let draining = CancellationToken::new();
        let leases = self.leases();
        let announcing = announce(
            Arc::clone(&self.clients.store),
            self.identity.clone(),
            self.config.clone(),
            self.view.clone(),
        );
        // Aborted with the last line: both run without end.
        let mut background = JoinSet::new();
        let announcing = background.spawn(postino_telemetry::in_current_role(announcing));
        background.spawn(postino_telemetry::in_current_role(
            Arc::clone(&self.remote).close_idle(),
        ));
        let working = leases.run(draining.clone());
        let working = tokio::spawn(postino_telemetry::in_current_role(working));
        let abort = working.abort_handle();
        shutdown.begun().await;
        tracing::info!("the queue stops");
        draining.cancel();
        if shutdown.drain(working).await.is_none() {
            tracing::warn!("attempts under way are broken off; they will be made again");
            abort.abort();
        }
        announcing.abort();
        let farewell = leave(&*self.clients.store, &self.identity);
        // Its only loss is that peers learn it later, so it is not waited for long.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        // Polite, and not waited for: an answer to QUIT is worth nothing.
        let _ = self.remote.close_all().now_or_never();
    }

    fn leases(&self) -> Leases {
        let active = Arc::new(Semaphore::new(self.config.active_letters));
        let (desk, settings) = (Arc::clone(&self.desk), self.shard_settings());
        let metrics = self.metrics.clone();
        let work: Work = Arc::new(move |lease, leave| {
            let (desk, active) = (Arc::clone(&desk), Arc::clone(&active));
            let held = Held::new(&metrics);
            async move {
                work_shard(desk, active, settings, lease, leave).await;
                drop(held);
            }
            .boxed()
        });
        Leases {
            store: Arc::clone(&self.clients.store),
            holder: Arc::clone(&self.identity.instance),
            terms: self.config.terms(),
            interval: self.config.announce_interval.get(),
            peers: self.view.subscribe(),
            work,
        }
    }

    fn shard_settings(&self) -> ShardSettings {
        let config = &self.config;
        ShardSettings {
            horizon: config.horizon.get(),
            page: config.page,
            waiting: config.waiting_letters,
            handover: config.handover.get(),
            retry: config.internal_retry.get(),
            settle: SettleSettings {
                letters: config.settle_letters,
                size: config.settle_size.as_usize(),
                delay: config.settle_delay.get(),
                retry: config.internal_retry.get() / 5,
            },
        }
    }
}

/// Counts a shard while it is held.
struct Held(Metrics);

impl Held {
    fn new(metrics: &Metrics) -> Self {
        metrics.shards.inc();
        Self(metrics.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.shards.dec();
    }
}

/// A name that no other start of any process has.
fn instance(hostname: &Domain) -> String {
    format!(
        "{hostname}/{}/{:016x}",
        std::process::id(),
        fastrand::u64(..)
    )
}
