//! The store of one node: what the process starts, mounts and stops.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use postino_proto::store::v1::AllocateNodeCommand;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_types::{NodeId, ShardId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::apply::{self, Applier};
use crate::cluster::{Cluster, ClusterError, ClusterParts, NodeIds};
use crate::config::{StoreConfig, StoreConfigError};
use crate::db::{Db, DbError};
use crate::lead;
use crate::notify::Notifier;
use crate::raft::{CounterSnapshot, Group, GroupStatus, Proposal, ProposeError, RaftNode};
use crate::service::Context;
use crate::shards::Shards;
use crate::{command, raft};

/// How often a checksum is taken anew when the shard changes meanwhile.
const CHECKSUM_TRIES: u32 = 5;

/// Why the store could not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] StoreConfigError),
    /// The database cannot be opened.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The node's part in the cluster cannot be taken up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Whether the store can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It has an identity, and every group knows a leader.
    Ready,
    /// It belongs to no cluster yet.
    NoCluster,
    /// These shards have no leader that this node knows of.
    NoLeader(Vec<u32>),
}

/// The store of one node. Clones share it.
#[derive(Clone)]
pub struct Store {
    cluster: Cluster,
    context: Context,
    stop: CancellationToken,
}

impl Store {
    /// Opens the store that lies in `directory`, which is made if it is missing. `endpoint` is the
    /// URL where other nodes and clients reach the [`Store::routes`] of this one.
    ///
    /// A node that belongs to no cluster yet waits: see [`Cluster::init`] and
    /// [`crate::cluster::form`].
    pub async fn start(
        config: StoreConfig,
        directory: &Path,
        endpoint: String,
    ) -> Result<Self, StoreError> {
        config.validate()?;
        let config = Arc::new(config);
        let db = Db::open(&directory.join("db"), &config.database.settings())?;
        let notifier = Arc::new(Notifier::default());
        let cluster = Cluster::open(ClusterParts {
            db: db.clone(),
            directory: directory.to_owned(),
            endpoint,
            settings: config.raft.settings(),
            shard_count: config.shards,
            machine: Arc::new(Applier::new(db.clone(), Arc::clone(&notifier))),
            node_ids: Arc::new(DirectoryNodeIds),
        })
        .await?;
        let shards = Shards::new(db, cluster.clone(), config.forward_patience.get());
        let context = Context::new(config, shards, notifier);
        let stop = CancellationToken::new();
        tokio::spawn(look_after(context.clone(), cluster.nodes(), stop.clone()));
        Ok(Self {
            cluster,
            context,
            stop,
        })
    }

    /// The gRPC services, to be mounted on one server.
    pub fn routes(&self) -> Routes {
        self.context.routes(&self.cluster)
    }

    /// This node's part in the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether it can serve now.
    pub fn readiness(&self) -> Readiness {
        let Some(node) = self.cluster.node() else {
            return Readiness::NoCluster;
        };
        let groups = node.groups().iter();
        let headless = groups.filter(|group| group.leader().is_none());
        match headless
            .map(|group| group.shard().get())
            .collect::<Vec<_>>()
        {
            shards if shards.is_empty() => Readiness::Ready,
            shards => Readiness::NoLeader(shards),
        }
    }

    /// Waits until it can serve.
    pub async fn ready(&self) {
        while self.readiness() != Readiness::Ready {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the log has done since the start, and how the groups stand; for metrics.
    pub fn statistics(&self) -> (CounterSnapshot, Vec<GroupStatus>) {
        let Some(node) = self.cluster.node() else {
            return Default::default();
        };
        let groups = node.groups().iter().map(Group::status).collect();
        (node.counters().snapshot(), groups)
    }

    /// A checksum of a shard's state on this node and the log index that it belongs to, to compare
    /// replicas; `None` if the shard changed all the while.
    pub async fn checksum(&self, shard: ShardId) -> Result<Option<(u64, String)>, DbError> {
        let index = || {
            let node = self.cluster.node();
            let group = node.and_then(|node| node.group(shard).cloned());
            group.map_or(0, |group| group.status().applied_index)
        };
        for _ in 0..CHECKSUM_TRIES {
            let before = index();
            let db = self.context.shards.db().clone();
            let sum = tokio::task::spawn_blocking(move || apply::checksum(&db, shard)).await;
            let sum = sum.map_err(DbError::corrupt)??;
            if index() == before {
                return Ok(Some((before, sum.to_hex().to_string())));
            }
        }
        Ok(None)
    }

    /// Stops: hands leads over to other nodes, then ends the groups. Everything that was
    /// acknowledged is on disk with or without it.
    pub async fn shutdown(&self, deadline: Duration) {
        self.stop.cancel();
        if let Some(node) = self.cluster.node() {
            node.transfer_leaderships(deadline).await;
            node.shutdown().await;
        }
    }
}

/// Starts what leaders do, once the node has its groups.
async fn look_after(
    context: Context,
    mut nodes: watch::Receiver<Option<RaftNode>>,
    stop: CancellationToken,
) {
    let node = tokio::select! {
        () = stop.cancelled() => return,
        node = nodes.wait_for(Option::is_some) => match node {
            Ok(node) => node.clone(),
            Err(_) => return,
        },
    };
    for group in node.iter().flat_map(RaftNode::groups) {
        tokio::spawn(lead::run(context.clone(), group.clone(), stop.clone()));
    }
}

/// Node ids from the directory.
struct DirectoryNodeIds;

impl NodeIds for DirectoryNodeIds {
    fn allocate(
        &self,
        control: Group,
        endpoint: String,
    ) -> BoxFuture<'static, Result<NodeId, ProposeError>> {
        Box::pin(async move {
            let command = Kind::AllocateNode(AllocateNodeCommand { endpoint });
            let proposal = Proposal::new(command::encode(command));
            let raft::Applied { answer, .. } = control.propose(proposal).await?;
            match command::decode_answer(answer) {
                Ok(Answer::Node(allocated)) => Ok(NodeId::new(allocated.node)),
                // Allocation is never refused.
                _ => Err(ProposeError::Unknown),
            }
        })
    }
}
