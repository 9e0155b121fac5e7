//! The gRPC services of the store: check the request, find the shard, propose or read, answer.
//! What a call changes is in `apply`.

/// Hands a call on unless this node leads the control group; evaluates to the group and the message
/// if it does. The call is named with who makes its client: `admin_at.add_domain`.
macro_rules! control_or_forward {
    ($context:expr, $request:expr, $client:ident.$method:ident) => {{
        let group = $context.shards.group(postino_types::ShardId::CONTROL)?;
        if !group.is_leader() {
            let request = $crate::service::forwarded($context, &group, $request)?;
            let leader = $context.shards.leader_endpoint(&group)?;
            return $context.$client(&leader)?.$method(request).await;
        }
        (group, $request.into_inner())
    }};
}
pub(crate) use control_or_forward;

mod admin;
mod admin_queue;
mod announce;
mod backup;
mod body;
mod change;
mod checksums;
mod convert;
mod directory;
mod intake;
mod lease;
mod mailboxes;
mod mailstore;
mod messages;
mod mover;
mod pages;
mod propose;
mod saga;
mod spool;
mod transfer;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use postino_proto::admin::v1::CredentialCost;
use postino_proto::admin::v1::admin_server::AdminServer;
use postino_proto::admin::v1::backup_server::BackupServer;
use postino_proto::cluster::v1::placement_server::PlacementServer;
use postino_proto::store::v1::checksums_server::ChecksumsServer;
use postino_proto::store::v1::directory_server::DirectoryServer;
use postino_proto::store::v1::mail_store_server::MailStoreServer;
use postino_proto::store::v1::shards_server::ShardsServer;
use postino_proto::store::v1::spool_server::SpoolServer;
use postino_proto::store::v1::transfer_server::TransferServer;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::checksum::Checksummer;
use crate::cluster::Cluster;
use crate::config::StoreConfig;
use crate::notify::Notifier;
use crate::placement::Placement;
use crate::raft::{Group, Pacer};
use crate::shards::{Shards, elsewhere};
pub(crate) use lease::Leases;

/// What the services share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<StoreConfig>,
    pub(crate) shards: Shards,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) reaper: Arc<tokio::sync::Notify>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) checksummer: Arc<Checksummer>,
    announced: Arc<announce::Announced>,
    backups: Arc<Pacer>,
    maildrops: Arc<watch::Maildrops>,
    mover: Arc<mover::Mover>,
    upload_memory: Arc<Semaphore>,
    credential_cost: CredentialCost,
}

impl Context {
    pub(crate) fn new(
        config: Arc<StoreConfig>,
        shards: Shards,
        notifier: Arc<Notifier>,
        checksummer: Arc<Checksummer>,
    ) -> Self {
        let memory = config.upload_memory.as_usize().min(Semaphore::MAX_PERMITS);
        Self {
            shards,
            notifier,
            checksummer,
            leases: Arc::default(),
            reaper: Arc::default(),
            placement: Arc::default(),
            announced: Arc::default(),
            backups: Arc::new(Pacer::new(config.backup.rate.get())),
            maildrops: Arc::default(),
            mover: Arc::new(mover::Mover::new(config.placement.account_rate.get())),
            upload_memory: Arc::new(Semaphore::new(memory)),
            credential_cost: CredentialCost::default(),
            config,
        }
    }

    /// All services of a store node; `cost` is what new credentials cost, `limit` the octets of a
    /// message.
    pub(crate) fn routes(&self, cluster: &Cluster, cost: CredentialCost, limit: usize) -> Routes {
        let context = Self {
            credential_cost: cost,
            ..self.clone()
        };
        let mut routes = Routes::default();
        macro_rules! add {
            ($($server:ident),*) => {$(
                routes = routes.add_service(
                    $server::new(context.clone())
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
            BackupServer,
            PlacementServer,
            ShardsServer,
            TransferServer,
            ChecksumsServer
        );
        routes
            .add_service(cluster.clone().into_server())
            .add_service(cluster.raft_service().into_server())
    }

    /// The id of the cluster that this node belongs to.
    pub(crate) fn cluster_id(&self) -> Result<Bytes, Status> {
        Ok(self.shards.node()?.identity().cluster.to_bytes())
    }

    /// Fails unless this node belongs to the cluster with this id.
    pub(crate) fn check_cluster(&self, id: &[u8]) -> Result<(), Status> {
        self.shards.cluster().running_in(id).map(drop)
    }

    pub(crate) async fn advance_sagas(&self) {
        saga::advance_all(self).await;
    }

    pub(crate) async fn move_accounts(&self) {
        mover::conduct(self).await;
    }
}

/// Milliseconds of Unix time by this node's clock.
pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// On a call that was handed on: it is not handed on again.
const FORWARDED: &str = "postino-forwarded";

/// A call that is to be handed on to the node that leads the group.
pub(crate) fn forwarded<T>(
    context: &Context,
    group: &Group,
    request: Request<T>,
) -> Result<Request<T>, Status> {
    if request.metadata().contains_key(FORWARDED) {
        return Err(elsewhere(group));
    }
    let mut onward = context.shards.onward(request.into_inner());
    let mark = tonic::metadata::MetadataValue::from_static("1");
    onward.metadata_mut().insert(FORWARDED, mark);
    Ok(onward)
}

/// A part of a request that protobuf lets be missing.
fn required<T>(part: Option<T>, what: &'static str) -> Result<T, Status> {
    part.ok_or_else(|| Status::invalid_argument(format!("{what} is missing")))
}
