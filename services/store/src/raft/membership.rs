//! Who is in a group: adding a node, handing over the lead.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardToLeader, RaftError};
use openraft::{BasicNode, ChangeMembers};
use postino_types::NodeId;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::NodeAddress;
use super::address::AddressBook;
use super::error::MembershipError;
use super::group::Group;
use super::types::{Config, Raft};

/// Entries that a learner may be behind when it is made a voter.
const CAUGHT_UP: u64 = 16;

/// One step of a node into a group.
enum Change {
    AddLearner(u64, BasicNode),
    Promote(u64),
}

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
            let raft = self.raft();
            let voter = raft.voter_ids().any(|voter| voter == id);
            if voter {
                return self.confirm_leader().await;
            }
            let learner = BasicNode::new(node.endpoint);
            self.change(Change::AddLearner(id, learner)).await?;
            self.caught_up(id).await?;
            self.change(Change::Promote(id)).await?;
            Ok(())
        };
        timeout(deadline, work)
            .await
            .map_err(|_| MembershipError::Timeout)?
    }

    /// Makes one change, after whatever change is under way: a new leader has to
    /// commit the last one first.
    async fn change(&self, change: Change) -> Result<(), MembershipError> {
        loop {
            let changed = match &change {
                Change::AddLearner(id, node) => {
                    self.raft().add_learner(*id, node.clone(), true).await
                }
                Change::Promote(id) => {
                    let promotion = ChangeMembers::AddVoterIds(BTreeSet::from([*id]));
                    self.raft().change_membership(promotion, true).await
                }
            };
            match changed {
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

    async fn caught_up(&self, id: u64) -> Result<(), MembershipError> {
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

    /// Hands the lead to another voter, the one that is furthest, and waits until
    /// this node no longer leads. Does nothing if it does not lead, or is alone.
    pub async fn transfer_leadership(&self, deadline: Duration) -> Result<(), MembershipError> {
        let deadline = Instant::now() + deadline;
        let mut leadership = self.leadership();
        while self.is_leader() {
            let Some(to) = best_successor(self.raft()) else {
                return Ok(());
            };
            let asked = self.raft().trigger().transfer_leader(to).await;
            asked.map_err(|_| MembershipError::Stopped)?;
            // A successor that is a little behind refuses; it is asked again.
            let again = sleep(Duration::from_millis(300));
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
}

fn best_successor(raft: &Raft) -> Option<u64> {
    let metrics = raft.metrics();
    let now = metrics.borrow_watched();
    let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
    let matched = now.replication.as_ref()?;
    matched
        .iter()
        .filter(|(id, _)| **id != now.id && voters.contains(id))
        .max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index))
        .map(|(id, _)| *id)
}
