//! The gRPC services of the store: check the request, find the shard, propose or read, answer.
//! What a call changes is in `apply`.

mod admin;
mod admin_queue;
mod announce;
mod body;
mod change;
mod convert;
mod directory;
mod intake;
mod lease;
mod mailboxes;
mod mailstore;
mod messages;
mod pages;
mod propose;
mod saga;
mod spool;
mod watch;

use std::sync::Arc;

use postino_proto::admin::v1::admin_server::AdminServer;
use postino_proto::store::v1::directory_server::DirectoryServer;
use postino_proto::store::v1::mail_store_server::MailStoreServer;
use postino_proto::store::v1::shards_server::ShardsServer;
use postino_proto::store::v1::spool_server::SpoolServer;
use tokio::sync::Semaphore;
use tonic::service::Routes;

use crate::cluster::Cluster;
use crate::config::StoreConfig;
use crate::notify::Notifier;
use crate::shards::Shards;
pub(crate) use lease::Leases;

/// What the services share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) shards: Shards,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) reaper: Arc<tokio::sync::Notify>,
    announced: Arc<announce::Announced>,
    maildrops: Arc<watch::Maildrops>,
    upload_memory: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(config: Arc<StoreConfig>, shards: Shards, notifier: Arc<Notifier>) -> Self {
        let memory = config.upload_memory.as_usize().min(Semaphore::MAX_PERMITS);
        Self {
            shards,
            notifier,
            leases: Arc::default(),
            reaper: Arc::default(),
            announced: Arc::default(),
            maildrops: Arc::default(),
            upload_memory: Arc::new(Semaphore::new(memory)),
            config,
        }
    }

    /// All services of a store node.
    pub(crate) fn routes(&self, cluster: &Cluster) -> Routes {
        let limit = self.config.grpc_message_limit.as_usize();
        let mut routes = Routes::default();
        macro_rules! add {
            ($($server:ident),*) => {$(
                routes = routes.add_service(
                    $server::new(self.clone())
                        .max_decoding_message_size(limit)
                        .max_encoding_message_size(limit),
                );
            )*};
        }
        add!(
            SpoolServer,
            MailStoreServer,
            DirectoryServer,
            AdminServer,
            ShardsServer
        );
        routes
            .add_service(cluster.clone().into_server())
            .add_service(cluster.raft_service().into_server())
    }

    pub(crate) async fn advance_sagas(&self) {
        saga::advance_all(self).await;
    }
}

/// Milliseconds of Unix time by this node's clock.
pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// A part of a request that protobuf lets be missing.
fn required<T>(part: Option<T>, what: &'static str) -> Result<T, tonic::Status> {
    part.ok_or_else(|| tonic::Status::invalid_argument(format!("{what} is missing")))
}
