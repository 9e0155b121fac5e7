//! Who is in a group: adding a node, handing over the lead. Replacing one is in `exchange`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardToLeader, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::{BasicNode, ChangeMembers, Instant as _};
use postino_types::NodeId;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::NodeAddress;
use super::address::AddressBook;
use super::error::MembershipError;
use super::group::Group;
use super::release::Place;
use super::types::Config;

/// Entries that a learner may be behind when it is made a voter.
pub(crate) const CAUGHT_UP: u64 = 16;

/// A change of the members, in openraft's words.
pub(super) type Change = ChangeMembers<u64, BasicNode>;

/// How long a successor has before it, or another one, is asked to take the lead.
const ONE_TRY: Duration = Duration::from_millis(300);

/// The leader that openraft points to, at the address that it last announced.
pub(crate) fn forward(
    to: &ForwardToLeader<Config>,
    addresses: &AddressBook,
) -> Option<NodeAddress> {
    let id = NodeId::new(to.leader_id?);
    let recorded = to.leader_node.as_ref().map_or("", |node| &node.addr);
    let endpoint = addresses.resolve(id, recorded);
    (!endpoint.is_empty()).then_some(NodeAddress { id, endpoint })
}

impl Group {
    /// Makes `node` a voter of this group: adds it as a learner, waits until it has
    /// caught up, promotes it. Harmless to repeat. Only the leader can do it.
    pub async fn enlist(
        &self,
        node: NodeAddress,
        deadline: Duration,
    ) -> Result<(), MembershipError> {
        let work = async {
            let id = node.id.get();
            if self.members()?.have_settled_on(id) {
                return self.confirm_leader().await;
            }
            let learner = BTreeMap::from([(id, BasicNode::new(node.endpoint))]);
            self.change(Change::AddNodes(learner)).await?;
            self.caught_up(id).await?;
            self.change(Change::AddVoterIds(BTreeSet::from([id]))).await
        };
        timeout(deadline, work)
            .await
            .map_err(|_| MembershipError::Timeout)?
    }

    /// Makes one change, after whatever change is under way: a new leader has to
    /// commit the last one first. Voters that are removed stay as learners.
    pub(super) async fn change(&self, change: Change) -> Result<(), MembershipError> {
        loop {
            match self.raft().change_membership(change.clone(), true).await {
                Ok(_) => return Ok(()),
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_)
                    | ChangeMembershipError::UncommittedLeaderLog(_),
                ))) => sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(self.membership_error(error)),
            }
        }
    }

    /// What this node believes of the members may be old news unless it leads.
    async fn confirm_leader(&self) -> Result<(), MembershipError> {
        self.read_barrier().await.map_err(|error| match error {
            super::ReadError::NotLeader { leader } => MembershipError::NotLeader { leader },
            super::ReadError::NoQuorum => MembershipError::Timeout,
            super::ReadError::Stopped => MembershipError::Stopped,
        })
    }

    /// The entry of the membership, if a node is no part of it and it is committed; only the leader
    /// can tell. `None` if the node is a member, or may be.
    pub(crate) async fn without(&self, node: NodeId) -> Result<Option<Place>, MembershipError> {
        self.confirm_leader().await?;
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let effective = &now.membership_config;
        let settled = effective.log_id() == now.committed_membership_config.log_id()
            && effective.membership().get_joint_config().len() == 1;
        let member = effective.membership().get_node(&node.get()).is_some();
        let place = effective.log_id().filter(|_| settled && !member);
        Ok(place.map(Place::from))
    }

    /// Returns once a member has nearly everything that this node, the leader, has.
    pub(super) async fn caught_up(&self, id: u64) -> Result<(), MembershipError> {
        let mut metrics = self.raft().metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                let Some(replication) = &now.replication else {
                    return Err(MembershipError::NotLeader { leader: None });
                };
                let matched = replication.get(&id).cloned().flatten();
                let last = now.last_log_index.unwrap_or(0);
                if matched.is_some_and(|matched| matched.index + CAUGHT_UP >= last) {
                    return Ok(());
                }
            }
            let changed = metrics.changed().await;
            changed.map_err(|_| MembershipError::Stopped)?;
        }
    }

    fn membership_error(
        &self,
        error: RaftError<Config, ClientWriteError<Config>>,
    ) -> MembershipError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                MembershipError::NotLeader {
                    leader: forward(&to, self.addresses()),
                }
            }
            RaftError::APIError(error) => MembershipError::Refused(error.to_string()),
            RaftError::Fatal(_) => MembershipError::Stopped,
        }
    }

    /// Hands the lead to another voter that answers and whose disk has room, one of those that
    /// are furthest, and waits until this node no longer leads. Does nothing if it does not lead,
    /// or if there is nobody else.
    pub async fn transfer_leadership(&self, deadline: Duration) -> Result<(), MembershipError> {
        let chosen = |tries| {
            let best = self.best_successors();
            // Different shards choose different ones, so that a node that goes does not leave all
            // its leads to one other.
            let first = self.shard().get() as usize + tries;
            best.get(first % best.len().max(1)).copied()
        };
        self.hand_over(chosen, deadline).await
    }

    /// Hands the lead to this voter, and waits until this node no longer leads. Does
    /// nothing if it does not lead, or if that node does not vote or does not answer.
    pub async fn give_lead(&self, to: NodeId, deadline: Duration) -> Result<(), MembershipError> {
        let chosen = |_| {
            let others = self.other_voters().into_iter();
            others.map(|(id, _)| id).find(|id| *id == to.get())
        };
        self.hand_over(chosen, deadline).await
    }

    async fn hand_over(
        &self,
        choose: impl Fn(usize) -> Option<u64>,
        deadline: Duration,
    ) -> Result<(), MembershipError> {
        let deadline = Instant::now() + deadline;
        let mut leadership = self.leadership();
        let mut tries = 0;
        while self.is_leader() {
            let Some(to) = choose(tries) else {
                return Ok(());
            };
            tries += 1;
            let asked = self.raft().trigger().transfer_leader(to).await;
            asked.map_err(|_| MembershipError::Stopped)?;
            // A successor that is a little behind refuses; it is asked again.
            let again = sleep(ONE_TRY);
            let handed_over = leadership.wait_for(|now| !now.is_leader);
            let wait = async {
                tokio::select! {
                    now = handed_over => now.map(drop).map_err(|_| MembershipError::Stopped),
                    () = again => Ok(()),
                }
            };
            timeout_at(deadline, wait)
                .await
                .map_err(|_| MembershipError::Timeout)??;
        }
        Ok(())
    }

    /// The voters that have most of the log, of those whose disk has room.
    fn best_successors(&self) -> Vec<u64> {
        let mut others = self.other_voters();
        others.retain(|(id, _)| !self.addresses().has_full_disk(NodeId::new(*id)));
        let furthest = others.iter().map(|(_, index)| *index).max().flatten();
        let near = |index: Option<u64>| {
            index == furthest || index.map(|index| index + CAUGHT_UP) >= furthest
        };
        let best = others.into_iter().filter(|(_, index)| near(*index));
        best.map(|(id, _)| id).collect()
    }

    /// The other voters that answer, and how much of the log they have; none unless this node
    /// leads.
    fn other_voters(&self) -> Vec<(u64, Option<u64>)> {
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let answering = answering(&now, self.patience());
        let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
        let matched = now.replication.iter().flatten();
        matched
            .filter(|(id, _)| **id != now.id && voters.contains(id) && answering.contains(id))
            .map(|(id, matched)| (*id, matched.as_ref().map(|id| id.index)))
            .collect()
    }

    /// After how long without an answer a member is taken to be away.
    pub(super) fn patience(&self) -> Duration {
        let settings = self.settings();
        settings.election_max + settings.heartbeat * 2
    }
}

/// The members that a leader has heard of for `patience`, and itself.
pub(super) fn answering(now: &RaftMetrics<Config>, patience: Duration) -> BTreeSet<u64> {
    let heard = now.heartbeat.iter().flatten();
    let lately = heard.filter(|(_, at)| at.is_some_and(|at| at.elapsed() < patience));
    lately.map(|(id, _)| *id).chain([now.id]).collect()
}
