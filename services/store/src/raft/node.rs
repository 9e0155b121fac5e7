use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use openraft::BasicNode;
use openraft::async_runtime::watch::WatchReceiver;
use postino_types::ShardId;

use super::address::{AddressBook, NodeAddress};
use super::apply::StateMachine;
use super::counters::Counters;
use super::error::RaftError;
use super::group::{Group, Parts};
use super::log::LogStore;
use super::machine::Machine;
use super::network::{Factory, Network};
use super::settings::RaftSettings;
use super::sync::{SyncQueue, SyncThread};
use super::types::Raft;
use crate::db::Db;
use crate::identity::Identity;

/// Every group of this node. Clones share it.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    endpoint: String,
    groups: Vec<Group>,
    network: Arc<Network>,
    counters: Arc<Counters>,
    /// Taken by the shutdown, which waits for the thread.
    sync: Mutex<Option<SyncThread>>,
}

/// What it takes to start a group.
struct Starter {
    db: Db,
    id: u64,
    settings: Arc<RaftSettings>,
    openraft: Arc<openraft::Config>,
    machine: Arc<dyn Machine>,
    network: Arc<Network>,
    addresses: Arc<AddressBook>,
    counters: Arc<Counters>,
    sync: SyncQueue,
}

impl RaftNode {
    /// Starts every group of the cluster that `identity` names: the control group
    /// and the mail shards. A group that this node has not been added to waits for
    /// its leader to come.
    ///
    /// `endpoint` is where other nodes reach the [`super::RaftService`] of this one.
    pub async fn start(
        db: Db,
        identity: Identity,
        endpoint: String,
        settings: RaftSettings,
        machine: Arc<dyn Machine>,
    ) -> Result<Self, RaftError> {
        let openraft = settings
            .openraft(identity.cluster.to_string())
            .map_err(|error| RaftError::Settings(error.to_string()))?;
        let settings = Arc::new(settings);
        let counters = Arc::new(Counters::default());
        let sync = SyncThread::start(db.clone(), Arc::clone(&counters))?;
        let addresses = Arc::new(AddressBook::default());
        let network = Arc::new(Network::new(
            &identity,
            endpoint.clone(),
            Arc::clone(&settings),
            Arc::clone(&addresses),
        ));
        let starter = Starter {
            db,
            id: identity.node.get(),
            settings,
            openraft: Arc::new(openraft),
            machine,
            network: Arc::clone(&network),
            addresses,
            counters: Arc::clone(&counters),
            sync: sync.queue(),
        };
        let mut groups = Vec::with_capacity(identity.shard_count as usize + 1);
        for shard in identity.shards() {
            groups.push(starter.start(shard).await?);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                identity,
                endpoint,
                groups,
                network,
                counters,
                sync: Mutex::new(Some(sync)),
            }),
        })
    }

    /// Makes this node the only member of every group that has no members yet.
    /// For the first node of a new cluster, and harmless to repeat there.
    pub async fn initialize(&self) -> Result<(), RaftError> {
        for group in &self.inner.groups {
            let failed = |reason: String| RaftError::Group {
                shard: group.shard(),
                reason,
            };
            let known = group.raft().is_initialized().await;
            if known.map_err(|error| failed(error.to_string()))? {
                continue;
            }
            let me = BasicNode::new(&self.inner.endpoint);
            let members = std::collections::BTreeMap::from([(self.inner.identity.node.get(), me)]);
            let initialized = group.raft().initialize(members).await;
            initialized.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// This node, as others reach it.
    pub fn address(&self) -> NodeAddress {
        NodeAddress {
            id: self.inner.identity.node,
            endpoint: self.inner.endpoint.clone(),
        }
    }

    /// The group of a shard; `None` if the cluster has no such shard.
    pub fn group(&self, shard: ShardId) -> Option<&Group> {
        self.inner.groups.get(usize::try_from(shard.get()).ok()?)
    }

    /// Every group, the control group first, then the mail shards in order.
    pub fn groups(&self) -> &[Group] {
        &self.inner.groups
    }

    /// What the log has done.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn network(&self) -> &Network {
        &self.inner.network
    }

    /// Hands over every lead that another node can take. For an orderly stop,
    /// before [`RaftNode::shutdown`]; gives up at the deadline.
    pub async fn transfer_leaderships(&self, deadline: Duration) {
        let transfers = self.inner.groups.iter().map(|group| async move {
            if let Err(error) = group.transfer_leadership(deadline).await {
                tracing::info!(shard = %group.shard(), %error, "kept the lead until the end");
            }
        });
        join_all(transfers).await;
    }

    /// Stops every group and the sync thread. What was acknowledged is on disk.
    pub async fn shutdown(&self) {
        self.inner.network.close();
        let stops = self.inner.groups.iter().map(|group| async move {
            if let Err(error) = group.raft().shutdown().await {
                tracing::error!(shard = %group.shard(), %error, "the group ended badly");
            }
        });
        join_all(stops).await;
        let sync = self
            .inner
            .sync
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Its end waits for a last sync.
        let _ = tokio::task::spawn_blocking(move || drop(sync)).await;
    }
}

impl Starter {
    async fn start(&self, shard: ShardId) -> Result<Group, RaftError> {
        let failed = |error: &dyn std::fmt::Display| RaftError::Group {
            shard,
            reason: error.to_string(),
        };
        let space = self.db.space(shard)?;
        let log = LogStore::new(
            self.db.clone(),
            space,
            self.sync.clone(),
            Arc::clone(&self.counters),
            self.settings.message_bytes,
        );
        let sync_times = log.sync_times();
        let state = StateMachine::new(self.db.clone(), space, Arc::clone(&self.machine));
        let halted = state.halted();
        let factory = Factory::new(Arc::clone(&self.network), shard);
        let openraft = Arc::clone(&self.openraft);
        let raft = Raft::new(self.id, openraft, factory, log, state)
            .await
            .map_err(|error| failed(&error))?;
        if only_voter(&raft, self.id) {
            // Nobody else can lead, so there is no reason to wait for silence.
            let asked = raft.trigger().elect(false).await;
            asked.map_err(|error| failed(&error))?;
        }
        Ok(Group::start(Parts {
            shard,
            raft,
            settings: Arc::clone(&self.settings),
            addresses: Arc::clone(&self.addresses),
            halted,
            sync_times,
        }))
    }
}

fn only_voter(raft: &Raft, id: u64) -> bool {
    let metrics = raft.metrics();
    let now = metrics.borrow_watched();
    now.membership_config.voter_ids().eq([id])
}
