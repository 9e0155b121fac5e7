//! What the tests of the queue's shell run against: a store and a routing service in memory (the
//! real ones are other crates, which this one must not know; the end-to-end tests use them), and a
//! mail server on a real socket.

pub(crate) mod server;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use postino_client::Channels;
use postino_config::GrpcConfig;
use postino_net::Shutdown;
use postino_queue::{Clients, DeliveryQueue, QueueConfig};
use postino_telemetry::Registry;
use tokio::task::JoinHandle;

use store::{MemoryRouting, MemoryStore};

/// Settings with short times.
pub(crate) fn config() -> QueueConfig {
    let millis = postino_config::Duration::millis;
    let mut config = QueueConfig {
        min_backoff: millis(50),
        max_backoff: millis(100),
        jitter: 0.0,
        lease_ttl: millis(2000),
        lease_margin: millis(500),
        announce_interval: millis(50),
        announce_ttl: millis(1000),
        horizon: millis(1000),
        internal_retry: millis(20),
        ..QueueConfig::default()
    };
    config.remote.site_failed_cohorts = 1000;
    config
}

/// A queue at work.
pub(crate) struct Running {
    pub(crate) instance: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.task.await.expect("the queue ran");
    }
}

/// Starts a queue; with an endpoint, its service is served there within the process.
pub(crate) fn start(
    config: QueueConfig,
    store: &Arc<MemoryStore>,
    routing: &Arc<MemoryRouting>,
    channels: &Channels,
    endpoint: &str,
) -> Running {
    let clients = Clients {
        store: Arc::clone(store) as Arc<dyn postino_queue::ports::Store>,
        routing: Arc::clone(routing) as Arc<dyn postino_queue::ports::Routing>,
        channels: channels.clone(),
    };
    let hostname = "mx.example.org".parse().expect("domain");
    let registry = Registry::new();
    let queue = DeliveryQueue::new(config, hostname, endpoint.to_owned(), clients, &registry)
        .expect("a sound queue");
    let shutdown = Shutdown::new(Duration::from_secs(10));
    if !endpoint.is_empty() {
        let incoming = channels.listen_in_process(endpoint);
        let routes = tonic::service::Routes::new(queue.service().server(1 << 20));
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let config = GrpcConfig::default();
            postino_net::serve_grpc_incoming(incoming, routes, &config, stop).await
        });
    }
    let instance = queue.instance().to_owned();
    let task = tokio::spawn(queue.run(shutdown.clone()));
    Running {
        instance,
        shutdown,
        task,
    }
}

/// A queue of its own on a store.
pub(crate) fn start_one(
    config: QueueConfig,
    store: &Arc<MemoryStore>,
    routing: &Arc<MemoryRouting>,
) -> Running {
    start(
        config,
        store,
        routing,
        &Channels::new(GrpcConfig::default()),
        "",
    )
}

/// Waits for a condition, up to 20 s.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
