//! The Raft groups of this node: started together, on one database and one sync thread.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::future::join_all;
use openraft::BasicNode;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::RaftLogStorage;
use postino_types::ShardId;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::address::{AddressBook, NodeAddress};
use super::apply::StateMachine;
use super::counters::Counters;
use super::error::RaftError;
use super::group::{Group, Parts};
use super::log::LogStore;
use super::machine::Machine;
use super::network::{Factory, Network};
use super::purge::Purger;
use super::release::{Place, removed_at, unmute};
use super::retention::{Extent, Retention};
use super::settings::RaftSettings;
use super::sync::{SyncQueue, SyncThread};
use super::types::Raft;
use crate::db::Db;
use crate::identity::Identity;

/// Groups that may take the place of others before somebody hears of it.
const RENEWED: usize = 2048;

/// Every group of this node. Clones share it.
#[derive(Clone)]
pub struct RaftNode {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    identity: Identity,
    endpoint: String,
    groups: Vec<RwLock<Group>>,
    pub(super) starter: Starter,
    /// Held while a replica is let go.
    pub(super) releasing: tokio::sync::Mutex<()>,
    /// Groups that have taken the place of others.
    renewed: broadcast::Sender<Group>,
    network: Arc<Network>,
    db: Db,
    receiving: Arc<Semaphore>,
    counters: Arc<Counters>,
    /// Taken by the shutdown, which waits for the thread.
    sync: Mutex<Option<SyncThread>>,
}

/// What it takes to start a group.
pub(super) struct Starter {
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
        // Nobody receives a snapshot yet: these files are of an earlier process.
        db.clear_sorted_files()?;
        let settings = Arc::new(settings);
        let counters = Arc::new(Counters::default());
        let sync = SyncThread::start(db.clone(), Arc::clone(&counters))?;
        let addresses = Arc::new(AddressBook::default());
        // This node too may have come back elsewhere than the membership says.
        addresses.announce(identity.node, &endpoint);
        let network = Arc::new(Network::new(
            &identity,
            endpoint.clone(),
            Arc::clone(&settings),
            Arc::clone(&addresses),
        ));
        tokio::spawn(sweep(db.clone(), network.closed()));
        let receiving = Arc::new(Semaphore::new(settings.snapshots_at_once));
        let starter = Starter {
            db: db.clone(),
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
            groups.push(RwLock::new(starter.start(shard).await?));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                identity,
                endpoint,
                groups,
                starter,
                releasing: tokio::sync::Mutex::default(),
                renewed: broadcast::Sender::new(RENEWED),
                network,
                db,
                receiving,
                counters,
                sync: Mutex::new(Some(sync)),
            }),
        })
    }

    /// Makes this node the only member of every group that has no members yet.
    /// For the first node of a new cluster, and harmless to repeat there.
    pub async fn initialize(&self) -> Result<(), RaftError> {
        for group in self.groups() {
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
    pub fn group(&self, shard: ShardId) -> Option<Group> {
        let place = usize::try_from(shard.get()).ok()?;
        self.inner.groups.get(place).map(current)
    }

    /// Every group, the control group first, then the mail shards in order.
    pub fn groups(&self) -> Vec<Group> {
        self.inner.groups.iter().map(current).collect()
    }

    /// Puts a group in the place of the one of its shard that has ended.
    pub(super) fn replace(&self, group: Group) {
        let place = usize::try_from(group.shard().get()).unwrap_or(usize::MAX);
        if let Some(old) = self.inner.groups.get(place) {
            *old.write().unwrap_or_else(PoisonError::into_inner) = group.clone();
        }
        // Without a listener there is nobody to tell.
        let _ = self.inner.renewed.send(group);
    }

    /// Groups that take the place of others from now on.
    pub(crate) fn renewed(&self) -> broadcast::Receiver<Group> {
        self.inner.renewed.subscribe()
    }

    /// What the log has done.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn network(&self) -> &Network {
        &self.inner.network
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Of which a snapshot that is received takes one.
    pub(crate) fn receiving(&self) -> &Semaphore {
        &self.inner.receiving
    }

    /// Hands over every lead that another node can take. For an orderly stop,
    /// before [`RaftNode::shutdown`]; gives up at the deadline.
    pub async fn transfer_leaderships(&self, deadline: Duration) {
        let transfers = self.groups().into_iter().map(|group| async move {
            if let Err(error) = group.transfer_leadership(deadline).await {
                tracing::info!(shard = %group.shard(), %error, "kept the lead until the end");
            }
        });
        join_all(transfers).await;
    }

    /// Stops every group and the sync thread. What was acknowledged is on disk.
    pub async fn shutdown(&self) {
        self.inner.network.close();
        let groups = self.groups();
        join_all(groups.iter().map(Group::end)).await;
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

fn current(group: &RwLock<Group>) -> Group {
    group.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Starter {
    pub(super) async fn start(&self, shard: ShardId) -> Result<Group, RaftError> {
        let failed = |error: &dyn std::fmt::Display| RaftError::Group {
            shard,
            reason: error.to_string(),
        };
        self.machine
            .accepts(self.db.space(shard)?)
            .map_err(|halt| failed(&halt))?;
        let retention = Arc::new(Retention::new(Extent {
            entries: self.settings.log_entries,
            bytes: self.settings.log_bytes,
        }));
        let (alive, ended) = mpsc::channel(1);
        let mut log = LogStore::new(
            self.db.clone(),
            shard,
            self.sync.clone(),
            Arc::clone(&self.counters),
            Arc::clone(&retention),
            self.settings.message_bytes,
            alive.clone(),
        );
        let found = log.get_log_state().await?.last_log_id;
        let removed_at = removed_at(&self.db, shard)?;
        let is_mute = found.map_or(Place::default(), Place::from) < removed_at;
        let sync_times = log.sync_times();
        let state = StateMachine::new(
            self.db.clone(),
            shard,
            Arc::clone(&self.machine),
            self.sync.clone(),
            alive,
        );
        let halted = state.halted();
        let factory = Factory {
            network: Arc::clone(&self.network),
            shard,
            retention: Arc::clone(&retention),
        };
        let openraft = openraft::Config {
            enable_elect: !is_mute,
            ..openraft::Config::clone(&self.openraft)
        };
        let openraft = Arc::new(openraft);
        let raft = Raft::new(self.id, openraft, factory, log, state)
            .await
            .map_err(|error| failed(&error))?;
        let purger = Purger {
            raft: raft.clone(),
            shard,
            retention,
        };
        let found = found.map_or(0, |id| id.index);
        tokio::spawn(purger.run(self.db.clone(), found, self.network.closed()));
        if is_mute {
            tokio::spawn(unmute(raft.clone(), removed_at));
        } else if only_voter(&raft, self.id) {
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
            room: self.db.room(),
            sync_times,
            shipments: self.network.shipments(),
            removed_at,
            ended,
        }))
    }
}

/// Sweeps generations that are no longer: those that an earlier process left, then those that
/// go while this one runs.
async fn sweep(db: Db, closed: CancellationToken) {
    loop {
        let swept = db.clone();
        match tokio::task::spawn_blocking(move || swept.sweep()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(swept)) => tracing::info!(swept, "old generations of shards are gone"),
            Ok(Err(error)) => tracing::error!(%error, "old generations of shards stay"),
            Err(error) => tracing::error!(%error, "the sweep ended badly"),
        }
        tokio::select! {
            () = closed.cancelled() => return,
            () = db.sweep_due() => {}
        }
    }
}

fn only_voter(raft: &Raft, id: u64) -> bool {
    let metrics = raft.metrics();
    let now = metrics.borrow_watched();
    now.membership_config.voter_ids().eq([id])
}
