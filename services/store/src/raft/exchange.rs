//! One member of a group for another: the new one learns, catches up, and takes the
//! place of the old one in one joint change (Raft dissertation, section 4.3).
//!
//! Every step shows in the membership, so an exchange that was interrupted, at
//! whatever step and on whatever leader, goes on where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::BasicNode;
use openraft::async_runtime::watch::WatchReceiver;
use postino_types::NodeId;
use tokio::time::{sleep, timeout};

use super::NodeAddress;
use super::error::MembershipError;
use super::group::Group;
use super::membership::{CAUGHT_UP, Change, answering};

/// How long a member that was removed has to learn of it. One that does not will ask for
/// votes that nobody gives it.
const FAREWELL: Duration = Duration::from_secs(3);

/// How often it is looked who answers.
const LOOK: Duration = Duration::from_millis(100);

/// How long the lead may take to go to another node when its holder leaves.
const HAND_OVER: Duration = Duration::from_secs(3);

/// Who comes, and who leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Becomes a voter.
    pub coming: Option<NodeAddress>,
    /// Is a member no longer.
    pub leaving: Option<NodeId>,
}

/// How far an exchange came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchanged {
    /// To its end.
    Done,
    /// Not yet to its end: to be asked for again.
    UnderWay,
}

/// The members as they are.
pub(super) struct Members {
    me: u64,
    /// Two while a joint change is under way.
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeSet<u64>,
    /// Those that have answered lately, and this node.
    answering: BTreeSet<u64>,
    /// Those of the others that have nearly everything.
    near: BTreeSet<u64>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    AddLearner,
    /// Wait for the learner, then let it vote; the one that leaves stays for now, since it
    /// leads and there is nobody else to lead.
    Promote,
    /// Wait for the learner, and leave it one: with it the voters would be an even number, which
    /// bears no more failures. It votes when another one does.
    Learn,
    /// Wait for the learner, if there is one, then replace the voters in one joint change; this
    /// other learner comes to vote with it.
    Replace(Option<u64>),
    GiveLead,
    /// Complete a joint change that was interrupted.
    Settle,
    /// Drop the one that left, which only learns by now.
    Forget,
    Done,
    Refuse(&'static str),
}

impl Members {
    /// Another learner that could come to vote.
    fn companion(&self, coming: u64) -> Option<u64> {
        let mut others = self.near.intersection(&self.answering).copied();
        others.find(|id| *id != coming && self.nodes.contains(id) && !self.votes(*id))
    }

    /// Whether a node votes, in one of two configurations perhaps.
    fn votes(&self, id: u64) -> bool {
        self.configs.iter().any(|voters| voters.contains(&id))
    }

    /// Whether a node votes, and no joint change is under way.
    pub(super) fn have_settled_on(&self, id: u64) -> bool {
        self.configs.len() == 1 && self.votes(id)
    }
}

/// Decides the next step.
fn next(members: &Members, coming: Option<u64>, leaving: Option<u64>) -> Next {
    let Some(voters) = members.configs.last() else {
        return Next::Refuse("the group has no members");
    };
    let is_member = |id: u64| members.nodes.contains(&id);
    let votes = |id: u64| voters.contains(&id);
    if let Some(coming) = coming
        && !votes(coming)
    {
        // Otherwise it would be one more replica, not another one.
        if leaving.is_some_and(|leaving| !votes(leaving)) {
            return Next::Refuse("the node that shall leave does not vote");
        }
        if !is_member(coming) {
            return Next::AddLearner;
        }
        return match leaving {
            None if voters.len() % 2 == 1 => match members.companion(coming) {
                None => Next::Learn,
                companion => Next::Replace(companion),
            },
            Some(leaving) if leaving == members.me && voters.len() == 1 => Next::Promote,
            Some(leaving) if leaving == members.me => Next::GiveLead,
            _ => Next::Replace(None),
        };
    }
    match leaving {
        Some(leaving) if votes(leaving) => {
            if voters.len() == 1 {
                return Next::Refuse("the last voter cannot leave");
            }
            match leaving == members.me {
                true => Next::GiveLead,
                false => Next::Replace(None),
            }
        }
        _ if members.configs.len() > 1 => Next::Settle,
        Some(leaving) if is_member(leaving) => Next::Forget,
        _ => Next::Done,
    }
}

impl Group {
    /// Takes an exchange of members further, until it is done or `patience` is over. Only
    /// the leader can; when it is the one that leaves it gives the lead away, which is
    /// [`MembershipError::NotLeader`]: the new leader is to be asked then.
    pub async fn exchange(
        &self,
        exchange: &Exchange,
        patience: Duration,
    ) -> Result<Exchanged, MembershipError> {
        match timeout(patience, self.exchange_fully(exchange)).await {
            Ok(outcome) => outcome.map(|()| Exchanged::Done),
            Err(_) => Ok(Exchanged::UnderWay),
        }
    }

    /// Calls an exchange off: the learner goes again, unless it has come to vote; a joint
    /// change is completed. Harmless to repeat.
    pub async fn call_off(&self, exchange: &Exchange) -> Result<(), MembershipError> {
        let members = self.members()?;
        if members.configs.len() > 1 {
            return self.settle().await;
        }
        let Some(coming) = exchange.coming.as_ref().map(|node| node.id.get()) else {
            return Ok(());
        };
        match members.nodes.contains(&coming) && !members.votes(coming) {
            true => {
                self.change(Change::RemoveNodes(BTreeSet::from([coming])))
                    .await
            }
            false => Ok(()),
        }
    }

    /// Completes a joint change: one that changes nothing more does.
    async fn settle(&self) -> Result<(), MembershipError> {
        self.change(Change::AddVoterIds(BTreeSet::new())).await
    }

    async fn exchange_fully(&self, exchange: &Exchange) -> Result<(), MembershipError> {
        let coming = exchange.coming.as_ref().map(|node| node.id.get());
        let leaving = exchange.leaving.map(NodeId::get);
        let one = |id: Option<u64>| id.into_iter().collect::<BTreeSet<u64>>();
        loop {
            let step = next(&self.members()?, coming, leaving);
            tracing::debug!(shard = %self.shard(), ?exchange, ?step, "members change");
            match step {
                Next::AddLearner => {
                    let node = exchange.coming.iter();
                    let node = node.map(|node| (node.id.get(), BasicNode::new(&node.endpoint)));
                    self.change(Change::AddNodes(node.collect::<BTreeMap<_, _>>()))
                        .await?;
                }
                Next::Promote => {
                    self.all_caught_up(coming).await?;
                    self.majority_answers(&one(coming), &BTreeSet::new())
                        .await?;
                    self.change(Change::AddVoterIds(one(coming))).await?;
                }
                Next::Learn => return self.all_caught_up(coming).await,
                Next::Replace(companion) => {
                    self.all_caught_up(coming).await?;
                    let (coming, leaving) = (&one(coming) | &one(companion), one(leaving));
                    self.majority_answers(&coming, &leaving).await?;
                    let both = vec![Change::AddVoterIds(coming), Change::RemoveVoters(leaving)];
                    self.change(Change::Batch(both)).await?;
                }
                Next::Settle => self.settle().await?,
                Next::GiveLead => {
                    self.transfer_leadership(HAND_OVER).await?;
                    let leader = self.leader();
                    return Err(MembershipError::NotLeader { leader });
                }
                Next::Forget => {
                    if let Some(leaving) = leaving {
                        // It stops campaigning once it knows. A dead one never will.
                        let _ = timeout(FAREWELL, self.knows_membership(leaving)).await;
                    }
                    self.change(Change::RemoveNodes(one(leaving))).await?;
                }
                Next::Done => return Ok(()),
                Next::Refuse(why) => return Err(MembershipError::Senseless(why)),
            }
        }
    }

    async fn all_caught_up(&self, coming: Option<u64>) -> Result<(), MembershipError> {
        match coming {
            Some(coming) if coming != *self.raft().node_id() => self.caught_up(coming).await,
            _ => Ok(()),
        }
    }

    /// Returns once those who come, and a majority of the voters to be, have answered lately: a
    /// change must not leave the group to members that are away.
    async fn majority_answers(
        &self,
        coming: &BTreeSet<u64>,
        leaving: &BTreeSet<u64>,
    ) -> Result<(), MembershipError> {
        loop {
            let members = self.members()?;
            let voters = members.configs.last().cloned().unwrap_or_default();
            let after = &(&voters | coming) - leaving;
            let answering = &members.answering;
            if coming.is_subset(answering) && (&after & answering).len() > after.len() / 2 {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Returns once a member has the entry of the present membership.
    async fn knows_membership(&self, id: u64) -> Result<(), MembershipError> {
        let mut metrics = self.raft().metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                let wanted = now.membership_config.log_id().as_ref().map(|id| id.index);
                let matched = now.replication.as_ref().and_then(|all| all.get(&id));
                let Some(matched) = matched else {
                    return Ok(());
                };
                if matched.as_ref().map(|id| id.index) >= wanted {
                    return Ok(());
                }
            }
            let changed = metrics.changed().await;
            changed.map_err(|_| MembershipError::Stopped)?;
        }
    }

    /// The members, as the leader knows them.
    pub(super) fn members(&self) -> Result<Members, MembershipError> {
        if !self.is_leader() {
            let leader = self.leader();
            return Err(MembershipError::NotLeader { leader });
        }
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let membership = now.membership_config.membership();
        let last = now.last_log_index.unwrap_or(0);
        let matched = now.replication.iter().flatten();
        let near = matched.filter(|(_, matched)| {
            let matched = matched.as_ref();
            matched.is_some_and(|matched| matched.index + CAUGHT_UP >= last)
        });
        Ok(Members {
            me: now.id,
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, _)| *id).collect(),
            answering: answering(&now, self.patience()),
            near: near.map(|(id, _)| *id).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(configs: &[&[u64]], learners: &[u64]) -> Members {
        let configs: Vec<BTreeSet<u64>> = configs
            .iter()
            .map(|voters| voters.iter().copied().collect())
            .collect();
        let voters = configs.iter().flatten().copied();
        Members {
            me: 1,
            nodes: voters.chain(learners.iter().copied()).collect(),
            answering: learners.iter().copied().collect(),
            near: learners.iter().copied().collect(),
            configs,
        }
    }

    #[test]
    fn each_step_follows_from_the_members() {
        let refuse_gone = Next::Refuse("the node that shall leave does not vote");
        let refuse_last = Next::Refuse("the last voter cannot leave");
        let one: &[u64] = &[1];
        let three: &[u64] = &[1, 2, 3];
        let after: &[u64] = &[1, 2, 4];
        // Voters, learners, who comes, who leaves (0: nobody); what is next. Node 1 leads.
        type Row<'a> = (&'a [&'a [u64]], &'a [u64], u64, u64, Next);
        let table: [Row<'_>; 21] = [
            (&[three], &[], 4, 3, Next::AddLearner),
            (&[three], &[4], 4, 3, Next::Replace(None)),
            (&[three, after], &[], 4, 3, Next::Settle),
            (&[after], &[3], 4, 3, Next::Forget),
            (&[after], &[], 4, 3, Next::Done),
            // Without one that comes, or one that leaves.
            (&[one], &[], 2, 0, Next::AddLearner),
            (&[one], &[2], 2, 0, Next::Learn),
            (&[one], &[2, 3], 3, 0, Next::Replace(Some(2))),
            (&[&[1, 2]], &[3], 3, 0, Next::Replace(None)),
            (&[&[1, 2]], &[], 2, 0, Next::Done),
            (&[three], &[], 0, 3, Next::Replace(None)),
            (&[&[1, 2]], &[3], 0, 3, Next::Forget),
            (&[one], &[], 0, 1, refuse_last),
            // The leader leaves: a single one lets the other vote first.
            (&[three], &[4], 4, 1, Next::GiveLead),
            (&[three], &[], 4, 1, Next::AddLearner),
            (&[one], &[2], 2, 1, Next::Promote),
            (&[&[1, 2]], &[], 2, 1, Next::GiveLead),
            (&[three], &[], 0, 1, Next::GiveLead),
            // A request of another time.
            (&[&[1, 2]], &[], 4, 3, refuse_gone.clone()),
            (&[&[1, 2]], &[3], 4, 3, refuse_gone),
            (&[], &[], 4, 3, Next::Refuse("the group has no members")),
        ];
        for (configs, learners, coming, leaving, expected) in table {
            let id = |id: u64| Some(id).filter(|id| *id != 0);
            let found = next(&members(configs, learners), id(coming), id(leaving));
            assert_eq!(
                found, expected,
                "{configs:?} {learners:?} {coming} {leaving}"
            );
        }
    }
}
