//! The store of one node: what the process starts, mounts and stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use postino_client::Channels;
use postino_config::{AuthConfig, SettingError};
use postino_proto::admin::v1::CredentialCost;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{AllocateNodeCommand, NodeState};
use postino_types::{NodeId, ShardId};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::apply::Applier;
use crate::cluster::{self, Cluster, ClusterError, ClusterParts, NodeIds};
use crate::config::StoreConfig;
use crate::db::{Db, DbError, Family, RoomWatch};
use crate::lead;
use crate::levels::Levels;
use crate::model::Rows;
use crate::model::directory::{self, NodeRow};
use crate::notify::Notifier;
use crate::placement;
use crate::raft::{CounterSnapshot, Group, GroupStatus, Proposal, ProposeError, RaftNode};
use crate::service::Context;
use crate::shards::Shards;
use crate::{command, raft};
use crate::{damage, disk};

/// How long a lead that comes to a node which stops may take to go again.
const SHUN: Duration = Duration::from_secs(1);

/// Why the store could not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] SettingError),
    /// The database cannot be opened.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The disk does not give back what was written, and no other nodes are known to do without it.
    #[error(
        "the database {path} is damaged ({what}), and no other nodes (store.join) say that every \
         shard has a leader among them: if they hold its replicas, move the data directory away and \
         let this node join as a new one (postino cluster join); otherwise restore a backup"
    )]
    Damaged {
        /// What was found.
        what: String,
        /// Where.
        path: PathBuf,
    },
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
    /// URL where other nodes and clients reach the [`Store::routes`] of this one; `channels` connect
    /// it to the others.
    ///
    /// A node that belongs to no cluster yet waits: see [`Cluster::init`] and
    /// [`crate::cluster::form`].
    pub async fn start(
        config: StoreConfig,
        directory: &Path,
        endpoint: String,
        channels: Channels,
    ) -> Result<Self, StoreError> {
        let levels = Levels::of_this_process();
        Self::start_at(levels, config, directory, endpoint, channels).await
    }

    /// The same with these feature levels.
    pub(crate) async fn start_at(
        levels: Levels,
        config: StoreConfig,
        directory: &Path,
        endpoint: String,
        channels: Channels,
    ) -> Result<Self, StoreError> {
        config.check()?;
        let config = Arc::new(config);
        let others = cluster::others(&config.join, &endpoint);
        let db = open(&config, directory, &endpoint, &others).await?;
        let notifier = Arc::new(Notifier::default());
        let applier = Applier::new(db.clone(), Arc::clone(&notifier), levels);
        let checksummer = applier.checksummer();
        let cluster = Cluster::open(ClusterParts {
            db: db.clone(),
            directory: directory.to_owned(),
            endpoint: endpoint.clone(),
            settings: config.raft.settings(),
            shard_count: config.shards,
            replicas: config.placement.replicas,
            machine: Arc::new(applier),
            levels,
            node_ids: Arc::new(DirectoryNodeIds(db.clone())),
        })
        .await?;
        let stop = CancellationToken::new();
        let room = RoomWatch::new(db.clone(), config.database.room());
        tokio::spawn(disk::watch(room, cluster.nodes(), stop.clone()));
        tokio::spawn(end_with_damage(db.damage(), db.path().to_owned()));
        tokio::spawn(end_with_failure(db.failure()));
        let (seeker, stopped) = (cluster.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = cluster::seek(&seeker, &endpoint, &others) => {}
            }
        });
        let shards = Shards::new(db, cluster.clone(), channels, config.forward_patience.get());
        let context = Context::new(config, shards, notifier, checksummer);
        tokio::spawn(look_after(context.clone(), cluster.nodes(), stop.clone()));
        Ok(Self {
            cluster,
            context,
            stop,
        })
    }

    /// The gRPC services, to be mounted on one server. `auth` says what new credentials cost; who
    /// makes one asks for that. `max_message` is the octets of one message, each way.
    pub fn routes(&self, auth: &AuthConfig, max_message: usize) -> Routes {
        let scram = auth.scram.then_some(auth.scram_iterations);
        let cost = CredentialCost {
            argon2_memory: auth.argon2.memory.get(),
            argon2_passes: auth.argon2.passes,
            argon2_lanes: auth.argon2.lanes,
            scram_iterations: scram.unwrap_or(0),
        };
        self.context.routes(&self.cluster, cost, max_message)
    }

    #[cfg(test)]
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// This node's part in the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    #[cfg(test)]
    pub(crate) fn shards(&self) -> &Shards {
        &self.context.shards
    }

    /// Whether it can serve now.
    pub fn readiness(&self) -> Readiness {
        let Some(node) = self.cluster.node() else {
            return Readiness::NoCluster;
        };
        let groups = node.groups().into_iter();
        // Of shards that it holds no replica of, it has to have heard.
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

    /// Gives every lead to other nodes, and from now on gives away those that come: before the
    /// node stops serving, so that clients are told where to go. Gives up at the deadline.
    pub async fn hand_over(&self, deadline: Duration) {
        self.context.placement.stop();
        let Some(node) = self.cluster.node() else {
            return;
        };
        node.transfer_leaderships(deadline).await;
        for group in node.groups() {
            tokio::spawn(shun_lead(group, self.stop.clone()));
        }
    }

    /// Stops: hands leads over to other nodes, then ends the groups. Everything that was
    /// acknowledged is on disk with or without it.
    pub async fn shutdown(&self, deadline: Duration) {
        self.stop.cancel();
        self.context.checksummer.close();
        if let Some(node) = self.cluster.node() {
            node.transfer_leaderships(deadline).await;
            node.shutdown().await;
        }
    }
}

/// Opens the database; a damaged one is put aside, if the others of the cluster do without it.
async fn open(
    config: &StoreConfig,
    directory: &Path,
    endpoint: &str,
    others: &[String],
) -> Result<Db, StoreError> {
    let path = directory.join("db");
    let settings = config.database.settings();
    let known = damage::known(&path).map_err(DbError::from)?;
    let what = match known {
        Some(what) => what,
        None => match Db::open(&path, &settings) {
            Err(error) if error.is_damage() => error.to_string(),
            opened => return Ok(opened?),
        },
    };
    tracing::error!(what, "the database is damaged");
    if !cluster::do_without(endpoint, others).await {
        return Err(StoreError::Damaged { what, path });
    }
    damage::set_aside(directory, &path).map_err(DbError::from)?;
    Ok(Db::open(&path, &settings)?)
}

/// Ends the process when the disk is found to be damaged, so that nothing of it is served; the next
/// start puts the database aside, or says what to do.
async fn end_with_damage(damage: watch::Receiver<Option<String>>, database: PathBuf) {
    if damage::found(damage, &database).await {
        std::process::abort();
    }
}

/// Ends the process when a write failed, as on a disk that somebody else has filled: openraft stops a
/// group whose log or state could not be written, for good, and what the database has is only known
/// by reading it again. Whoever starts processes here starts this one again until there is room.
async fn end_with_failure(mut failure: watch::Receiver<Option<String>>) {
    // When the database is closed, no write fails any more.
    if let Ok(why) = failure.wait_for(Option::is_some).await {
        let why = why.as_deref().unwrap_or_default();
        tracing::error!(why, "the database takes no writes; ending the process");
        std::process::abort();
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
    let Some(node) = node else { return };
    let renewed = node.renewed();
    for group in node.groups() {
        tokio::spawn(lead::run(context.clone(), group, stop.clone()));
    }
    tokio::join!(
        look_after_renewed(&context, renewed, &stop),
        placement::report(context.clone(), node, stop.clone())
    );
}

/// Does the same for groups that take the place of others.
async fn look_after_renewed(
    context: &Context,
    mut renewed: broadcast::Receiver<Group>,
    stop: &CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            group = renewed.recv() => match group {
                Ok(group) => drop(tokio::spawn(lead::run(context.clone(), group, stop.clone()))),
                Err(_) => return,
            },
        }
    }
}

/// Gives the lead of a group away whenever it comes, until the node stops.
async fn shun_lead(group: Group, stop: CancellationToken) {
    let mut leadership = group.leadership();
    let shun = async {
        while leadership.wait_for(|now| now.is_leader).await.is_ok() {
            if group.transfer_leadership(SHUN).await.is_err() || group.is_leader() {
                // Nobody takes it, or nobody yet.
                tokio::time::sleep(SHUN).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = shun => {}
    }
}

/// Node ids from the directory.
struct DirectoryNodeIds(Db);

impl NodeIds for DirectoryNodeIds {
    fn allocate(
        &self,
        control: Group,
        endpoint: String,
    ) -> BoxFuture<'static, Result<NodeId, ProposeError>> {
        Box::pin(async move {
            let command = Kind::AllocateNode(AllocateNodeCommand { endpoint });
            let proposal = Proposal::new(command::encode(command)).urgently(true);
            let raft::Applied { answer, .. } = control.propose(proposal).await?;
            match command::decode_answer(answer) {
                Ok(Answer::Node(allocated)) => Ok(NodeId::new(allocated.node)),
                // Allocation is never refused.
                _ => Err(ProposeError::Unknown),
            }
        })
    }

    fn refusal(&self, node: NodeId) -> Result<Option<String>, DbError> {
        let (snapshot, space) = self.0.view(ShardId::CONTROL)?;
        let row: Option<NodeRow> =
            snapshot.row(Family::Directory, directory::node(space, node.get()))?;
        Ok(match row.map(|row| row.standing()) {
            Some(NodeState::Removed) => Some(format!(
                "that node was removed as node {node}: empty its directory, so that it gets a new id"
            )),
            Some(NodeState::Draining) => Some(format!(
                "node {node} is being drained: postino cluster drain {node} --undo keeps it"
            )),
            _ => None,
        })
    }
}
