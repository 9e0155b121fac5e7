//! One shard on this node: proposing commands, reading linearizably, knowing the leader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use postino_types::{NodeId, ShardId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::address::{AddressBook, NodeAddress};
use super::apply::Halted;
use super::barrier;
use super::batcher::{Batcher, Pending};
use super::error::{ProposeError, ReadError};
use super::log::SyncTimes;
use super::release::{Place, log_end};
use super::settings::RaftSettings;
use super::shipments::Shipments;
use super::types::{Config, Raft};
use crate::db::Room;

/// A command to be replicated and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The command, in the store's own encoding.
    pub command: Bytes,
    /// A body that goes with it, written beside the log and never through apply.
    pub body: Option<Bytes>,
    /// It makes room, or what is acknowledged depends on it: taken while the disk has little room,
    /// too.
    pub urgent: bool,
}

impl Proposal {
    /// A command without a body.
    pub fn new(command: impl Into<Bytes>) -> Self {
        Self {
            command: command.into(),
            body: None,
            urgent: false,
        }
    }

    /// The command with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The same, to be taken while the disk has little room, too.
    #[must_use]
    pub fn urgently(mut self, urgent: bool) -> Self {
        self.urgent = urgent;
        self
    }

    pub(crate) fn size(&self) -> usize {
        self.command.len() + self.body.as_ref().map_or(0, Bytes::len)
    }
}

/// A command that has been committed by a majority and applied on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The log index of its entry, which it may share with other commands.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What [`super::Machine::apply`] answered.
    pub answer: Bytes,
    /// How long the sync took that made the entry durable on this node; `None` if
    /// a majority of other nodes was faster.
    pub fsync: Option<Duration>,
}

/// Who leads a shard, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The highest term that this node has seen.
    pub term: u64,
    /// Its leader, if one is known.
    pub leader: Option<NodeAddress>,
    /// Whether that is this node.
    pub is_leader: bool,
}

/// One shard's state of affairs on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The shard.
    pub shard: ShardId,
    /// Who leads it.
    pub leadership: Leadership,
    /// The members that vote.
    pub voters: Vec<NodeAddress>,
    /// The members that only follow.
    pub learners: Vec<NodeAddress>,
    /// The last index in this node's log.
    pub last_index: u64,
    /// The last index applied on this node.
    pub applied_index: u64,
    /// The last index that is no longer in this node's log.
    pub purged_index: u64,
    /// Why this replica has stopped, if it has.
    pub halted: Option<String>,
    /// Where in the log the membership stands.
    pub membership_index: u64,
    /// Whether a change of the members is under way: the last one is not committed, or joint.
    pub changing: bool,
    /// How far the other members have come; only on the leader.
    pub progress: Vec<MemberProgress>,
}

/// How far a member has come, as the leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberProgress {
    /// The member.
    pub node: NodeId,
    /// The last index that it is known to have on disk.
    pub matched: u64,
    /// Bytes of a snapshot that it was sent so far; 0 when none is on its way.
    pub snapshot_bytes: u64,
}

/// One shard on this node. Clones share it.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    shard: ShardId,
    raft: Raft,
    settings: Arc<RaftSettings>,
    addresses: Arc<AddressBook>,
    halted: Halted,
    room: watch::Receiver<Room>,
    budget: Arc<Semaphore>,
    proposals: mpsc::UnboundedSender<Pending>,
    barriers: mpsc::UnboundedSender<barrier::Waiter>,
    leadership: watch::Receiver<Leadership>,
    shipments: Arc<Shipments>,
    /// Held while a snapshot of the shard is received.
    receiving: tokio::sync::Mutex<()>,
    /// Who leads, as other nodes said: for a shard that this node holds no replica of.
    heard: Mutex<Option<(u64, NodeAddress)>>,
    removed_at: Place,
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// What a proposal takes from the budget besides its bytes.
const OVERHEAD: usize = 256;

pub(crate) struct Parts {
    pub(crate) shard: ShardId,
    pub(crate) raft: Raft,
    pub(crate) settings: Arc<RaftSettings>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) halted: Halted,
    pub(crate) room: watch::Receiver<Room>,
    pub(crate) sync_times: Arc<SyncTimes>,
    pub(crate) shipments: Arc<Shipments>,
    /// The entry with which this node had ceased to be a member when it let its rows go.
    pub(crate) removed_at: Place,
    /// Ends when nothing of the replica writes any more.
    pub(crate) ended: mpsc::Receiver<()>,
}

impl Group {
    pub(crate) fn start(parts: Parts) -> Self {
        let (proposals, queue) = mpsc::unbounded_channel();
        let batcher = Batcher {
            raft: parts.raft.clone(),
            settings: Arc::clone(&parts.settings),
            sync_times: parts.sync_times,
            addresses: Arc::clone(&parts.addresses),
        };
        tokio::spawn(batcher.run(queue));
        let (barriers, queue) = mpsc::unbounded_channel();
        let addresses = Arc::clone(&parts.addresses);
        tokio::spawn(barrier::run(parts.raft.clone(), addresses, queue));
        let leadership = watch_leadership(&parts.raft, Arc::clone(&parts.addresses));
        let budget = parts.settings.queued_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                shard: parts.shard,
                raft: parts.raft,
                settings: parts.settings,
                addresses: parts.addresses,
                halted: parts.halted,
                room: parts.room,
                budget: Arc::new(Semaphore::new(budget)),
                proposals,
                barriers,
                leadership,
                shipments: parts.shipments,
                receiving: tokio::sync::Mutex::default(),
                heard: Mutex::default(),
                removed_at: parts.removed_at,
                ended: tokio::sync::Mutex::new(parts.ended),
            }),
        }
    }

    /// Ends the replica. What was acknowledged is on disk.
    pub(super) async fn end(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(shard = %self.inner.shard, %error, "the group ended badly");
        }
    }

    /// Returns when nothing of the replica writes any more.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent; it ends with the last sender.
        let _ = self.inner.ended.lock().await.recv().await;
    }

    /// Whether this node must vote for nobody, nor lead: it let its rows go, and its log does not
    /// reach yet what it had when it ceased to be a member.
    pub(super) fn is_mute(&self) -> bool {
        log_end(&self.inner.raft) < self.inner.removed_at
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    pub(super) fn settings(&self) -> &RaftSettings {
        &self.inner.settings
    }

    pub(crate) fn addresses(&self) -> &AddressBook {
        &self.inner.addresses
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.inner.shard
    }

    /// Has a command committed by a majority and applied here, and returns its answer.
    ///
    /// Proposals that wait at the same time share an entry and a sync. Dropping
    /// the future does not take the command back.
    pub async fn propose(&self, proposal: Proposal) -> Result<Applied, ProposeError> {
        let room = *self.inner.room.borrow();
        if !(room.is_ample() || proposal.urgent && room == Room::Low) {
            return Err(ProposeError::DiskFull);
        }
        let size = proposal.size();
        let limit = self.inner.settings.proposal_bytes;
        if size > limit {
            return Err(ProposeError::TooLarge { size, limit });
        }
        let needed = size.saturating_add(OVERHEAD);
        let permits = u32::try_from(needed.min(self.inner.settings.queued_bytes));
        let permits = permits.map_err(|_| ProposeError::TooLarge { size, limit })?;
        let budget = Arc::clone(&self.inner.budget);
        let budget = budget
            .try_acquire_many_owned(permits)
            .map_err(|_| ProposeError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            proposal,
            answer,
            budget,
        };
        let queued = self.inner.proposals.send(pending);
        queued.map_err(|_| ProposeError::Stopped)?;
        // The batcher answers everything that it takes, unless the runtime ends.
        answered.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Returns once a read on this node sees every write that was acknowledged, on
    /// whatever node, before this call. Only the leader can do it; callers that wait
    /// at the same time share one round, and a group of one node asks nobody.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        let (waiter, passed) = oneshot::channel();
        let queued = self.inner.barriers.send(waiter);
        queued.map_err(|_| ReadError::Stopped)?;
        passed.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// An index that a replica must have applied for a read on it to see every write that was
    /// acknowledged before this call. Only the leader can tell.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        self.read_barrier().await?;
        Ok(self.applied_index())
    }

    /// Returns once this replica has applied `index`.
    pub async fn applied(&self, index: u64) -> Result<(), ReadError> {
        let mut metrics = self.inner.raft.data_metrics();
        while metrics
            .borrow_watched()
            .last_applied
            .is_none_or(|applied| applied.index < index)
        {
            let changed = metrics.changed().await;
            changed.map_err(|_| ReadError::Stopped)?;
        }
        Ok(())
    }

    fn applied_index(&self) -> u64 {
        let metrics = self.inner.raft.data_metrics();
        let applied = metrics.borrow_watched().last_applied;
        applied.map_or(0, |id| id.index)
    }

    /// Whether this node holds a replica of the shard, as far as it knows.
    pub fn is_member(&self) -> bool {
        let metrics = self.inner.raft.server_metrics();
        let now = metrics.borrow_watched();
        now.membership_config
            .membership()
            .get_node(&now.id)
            .is_some()
    }

    /// Whether this node's disk has room for anything new.
    pub fn has_room(&self) -> bool {
        self.inner.room.borrow().is_ample()
    }

    /// Whether this node believes that it leads the shard.
    pub fn is_leader(&self) -> bool {
        self.inner.leadership.borrow().is_leader
    }

    /// The leader that this node knows of: as its own replica sees it, or as it heard, whichever
    /// is of the later term.
    pub fn leader(&self) -> Option<NodeAddress> {
        self.known_leader().map(|(_, leader)| leader)
    }

    /// The leader that this node knows of, and its term.
    pub fn known_leader(&self) -> Option<(u64, NodeAddress)> {
        let own = self.inner.leadership.borrow().clone();
        let heard = self.heard().clone();
        match heard {
            Some((term, leader))
                if term > own.term || (term == own.term && own.leader.is_none()) =>
            {
                Some((term, leader))
            }
            _ => own.leader.map(|leader| (own.term, leader)),
        }
    }

    /// Takes down who leads, as another node said. A replica knows better, unless it was left
    /// behind.
    pub fn hear(&self, term: u64, leader: NodeAddress) {
        let mut heard = self.heard();
        if heard.as_ref().is_none_or(|(known, _)| *known <= term) {
            *heard = Some((term, leader));
        }
    }

    fn heard(&self) -> MutexGuard<'_, Option<(u64, NodeAddress)>> {
        self.inner
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn receiving(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.receiving
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// This node's view of the shard.
    pub fn status(&self) -> GroupStatus {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow_watched();
        let membership = now.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let member = |(id, node): (&u64, &openraft::BasicNode)| NodeAddress {
            id: NodeId::new(*id),
            endpoint: self.inner.addresses.resolve(NodeId::new(*id), &node.addr),
        };
        let (voters, learners): (Vec<_>, Vec<_>) =
            membership.nodes().partition(|(id, _)| voters.contains(id));
        let progress = now.replication.iter().flatten();
        let progress = progress
            .filter(|(id, _)| **id != now.id)
            .map(|(id, matched)| {
                let node = NodeId::new(*id);
                MemberProgress {
                    node,
                    matched: matched.as_ref().map_or(0, |matched| matched.index),
                    snapshot_bytes: self.inner.shipments.sent(self.inner.shard, node),
                }
            });
        let committed = now.committed_membership_config.log_id();
        let effective = now.membership_config.log_id();
        let halted = self.inner.halted.get().cloned();
        let stopped = now.running_state.as_ref().err().map(ToString::to_string);
        GroupStatus {
            shard: self.inner.shard,
            leadership: self.inner.leadership.borrow().clone(),
            voters: voters.into_iter().map(member).collect(),
            learners: learners.into_iter().map(member).collect(),
            last_index: now.last_log_index.unwrap_or(0),
            applied_index: now.last_applied.map_or(0, |id| id.index),
            purged_index: now.purged.map_or(0, |id| id.index),
            halted: halted.or(stopped),
            membership_index: effective.as_ref().map_or(0, |id| id.index),
            changing: effective != committed || membership.get_joint_config().len() > 1,
            progress: progress.collect(),
        }
    }
}

/// Follows openraft's metrics for as long as the group runs.
fn watch_leadership(raft: &Raft, addresses: Arc<AddressBook>) -> watch::Receiver<Leadership> {
    let mut metrics = raft.server_metrics();
    let (sender, receiver) = watch::channel(Leadership::default());
    tokio::spawn(async move {
        loop {
            let now = leadership(&metrics.borrow_watched(), &addresses);
            sender.send_if_modified(|known| {
                let changed = *known != now;
                *known = now;
                changed
            });
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { break },
                () = sender.closed() => break,
            }
        }
        // A group that has stopped leads nothing.
        sender.send_modify(|known| {
            known.is_leader = false;
            known.leader = None;
        });
    });
    receiver
}

fn leadership(now: &RaftServerMetrics<Config>, addresses: &AddressBook) -> Leadership {
    let leader = now.current_leader.and_then(|id| {
        let membership = now.membership_config.membership();
        let recorded = membership.get_node(&id).map_or("", |node| &node.addr);
        let endpoint = addresses.resolve(NodeId::new(id), recorded);
        (!endpoint.is_empty()).then_some(NodeAddress {
            id: NodeId::new(id),
            endpoint,
        })
    });
    Leadership {
        term: now.vote.leader_id.term,
        leader,
        is_leader: now.state == ServerState::Leader,
    }
}
