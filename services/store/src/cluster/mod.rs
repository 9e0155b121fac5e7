//! How store nodes become one cluster: by explicit acts.
//!
//! A node whose directory is empty belongs to no cluster; it serves
//! `postino.cluster.v1` and waits. [`Cluster::init`] makes a cluster of it alone.
//! Any further node comes in through `AddMember` on the leader of the control
//! group (`admission`), which has the control group allocate an id that was never
//! used, gives the new node its identity (`Adopt`), and, for the first few nodes, has
//! the leader of every group add it as a learner, wait, and promote it (`Enlist`).
//!
//! [`form`] is what `postino cluster init` does, from outside. A node that joins a running cluster
//! (`Placement/Join`) gets its id and its identity in the same way, and its replicas as
//! `placement` sees fit. One that was told whom to ask (`store.join`) does so by itself (`seek`);
//! if it serves at the address of another node, it takes that one's place.

mod admission;
mod form;
mod peers;
mod restore;
mod seek;
mod service;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use postino_types::NodeId;
use tokio::sync::{Mutex, watch};
use tonic::Status;

pub use form::form;
pub(crate) use peers::Peers;
pub use restore::RestoreError;
pub(crate) use seek::{do_without, others, seek};
pub(crate) use service::{group_out, membership_status, node_in, node_out};

use crate::db::{Db, DbError};
use crate::identity::{Identity, IdentityError};
use crate::levels::Levels;
use crate::raft::{
    Group, Machine, NodeAddress, ProposeError, RaftError, RaftNode, RaftService, RaftSettings,
};

/// Allocates node ids; the directory implements it with a command of its own.
pub trait NodeIds: Send + Sync + 'static {
    /// Proposes the registration of a node that serves at `endpoint` to the control
    /// group, and returns its id: one that no node ever had, made from the index of
    /// the log entry and the number of the command in it, so greater than 1, which
    /// is the first node's.
    fn allocate(
        &self,
        control: Group,
        endpoint: String,
    ) -> BoxFuture<'static, Result<NodeId, ProposeError>>;

    /// Why a node that has an id may not be taken in: it was removed, or is being drained.
    fn refusal(&self, node: NodeId) -> Result<Option<String>, DbError>;
}

/// Says whether the node at an endpoint may be taken in.
pub type Gate = Arc<dyn Fn(String) -> BoxFuture<'static, Result<(), Status>> + Send + Sync>;

/// What a node needs to take part in a cluster.
pub struct ClusterParts {
    /// The node's database.
    pub db: Db,
    /// The data directory, in which the database lies.
    pub directory: PathBuf,
    /// Where other nodes reach this one, a URL.
    pub endpoint: String,
    /// How the groups behave.
    pub settings: RaftSettings,
    /// The mail shards of a cluster that this node makes.
    pub shard_count: u32,
    /// Replicas that each group gets.
    pub replicas: u32,
    /// The state of the groups.
    pub machine: Arc<dyn Machine>,
    /// The feature levels that this process supports.
    pub levels: Levels,
    /// Who allocates node ids.
    pub node_ids: Arc<dyn NodeIds>,
}

/// Why a node could not join or make a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its groups.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// Half of a backup is in it.
    #[error(
        "a restore was interrupted on this node: repeat it, or empty the node's data directory"
    )]
    Restoring,
}

/// This node's part in the cluster. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    parts: ClusterParts,
    raft_service: RaftService,
    peers: Peers,
    node: watch::Sender<Option<RaftNode>>,
    /// One change of identity, and one admission, at a time.
    changing: Arc<Mutex<()>>,
    gate: OnceLock<Gate>,
}

impl Cluster {
    /// Opens the node: starts its groups if it belongs to a cluster.
    pub async fn open(parts: ClusterParts) -> Result<Self, ClusterError> {
        let identity = Identity::load(&parts.db, &parts.directory)?;
        let peers = Peers::load(parts.db.clone());
        let cluster = Self {
            inner: Arc::new(Inner {
                parts,
                raft_service: RaftService::new(),
                peers,
                node: watch::Sender::new(None),
                changing: Arc::default(),
                gate: OnceLock::new(),
            }),
        };
        if let Some(identity) = identity {
            cluster.start(identity).await?;
        }
        Ok(cluster)
    }

    /// Asks `gate` before a node is taken in. A second gate is ignored.
    pub fn guard(&self, gate: Gate) {
        let _ = self.inner.gate.set(gate);
    }

    /// Makes a new cluster of this one node; `shard_count` 0 takes the setting.
    pub async fn init(&self, shard_count: u32) -> Result<Identity, ClusterError> {
        let _changing = self.inner.changing.lock().await;
        let shard_count = match shard_count {
            0 => self.inner.parts.shard_count,
            count => count,
        };
        let identity = Identity::first(shard_count)?;
        self.check_not_restoring()?;
        identity.store(&self.inner.parts.db, &self.inner.parts.directory)?;
        self.start(identity).await?;
        Ok(identity)
    }

    /// Takes on an identity in an existing cluster. Harmless to repeat.
    pub(crate) async fn adopt(
        &self,
        identity: Identity,
        peers: Vec<NodeAddress>,
    ) -> Result<(), ClusterError> {
        // Whoever asks holds up others meanwhile: it asks again rather than wait.
        let changing = Arc::clone(&self.inner.changing).try_lock_owned();
        let _changing = changing.map_err(|_| ClusterError::Restoring)?;
        self.inner.peers.learn(peers);
        let known = self.node().map(|node| *node.identity());
        if known == Some(identity) {
            return Ok(());
        }
        self.check_not_restoring()?;
        identity.store(&self.inner.parts.db, &self.inner.parts.directory)?;
        self.start(identity).await
    }

    /// Whether a backup is being taken in, or was when the node last ran.
    pub(crate) fn is_restoring(&self) -> bool {
        self.check_not_restoring().is_err()
    }

    fn check_not_restoring(&self) -> Result<(), ClusterError> {
        let under_way = restore::is_under_way(&self.inner.parts.db).map_err(IdentityError::from)?;
        match under_way {
            true => Err(ClusterError::Restoring),
            false => Ok(()),
        }
    }

    async fn start(&self, identity: Identity) -> Result<(), ClusterError> {
        let parts = &self.inner.parts;
        let node = RaftNode::start(
            parts.db.clone(),
            identity,
            parts.endpoint.clone(),
            parts.settings.clone(),
            Arc::clone(&parts.machine),
        )
        .await?;
        self.inner.raft_service.attach(node.clone());
        // Only the node that made the cluster has this id. If it was interrupted
        // before all groups had their first member, it goes on here.
        if identity.node == FIRST_NODE {
            node.initialize().await?;
        }
        tracing::info!(%identity, "the store node has started");
        self.inner.node.send_replace(Some(node));
        Ok(())
    }

    /// The feature levels that this process supports.
    pub(crate) fn levels(&self) -> Levels {
        self.inner.parts.levels
    }

    /// The other nodes, as this one last heard.
    pub(crate) fn peers(&self) -> &Peers {
        &self.inner.peers
    }

    /// Whether a node is being brought in just now.
    pub(crate) fn is_admitting(&self) -> bool {
        self.inner.changing.try_lock().is_err()
    }

    /// The running node; `None` while it belongs to no cluster.
    pub fn node(&self) -> Option<RaftNode> {
        self.inner.node.borrow().clone()
    }

    /// The running node, as it comes.
    pub fn nodes(&self) -> watch::Receiver<Option<RaftNode>> {
        self.inner.node.subscribe()
    }

    /// The gRPC service that other nodes' groups speak to.
    pub fn raft_service(&self) -> RaftService {
        self.inner.raft_service.clone()
    }
}

/// The node that made the cluster.
const FIRST_NODE: NodeId = NodeId::new(1);

#[cfg(test)]
mod tests;
