//! What the control group has recorded, what is to be recorded, and the picture that rows and
//! reports make together.

use std::collections::BTreeMap;

use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{NodeState, RecordNodeCommand, RecordReplicasCommand};
use postino_types::{NodeId, ShardId};
use tonic::Status;

use super::picture::{Node, Picture, Replica, Shard, Standing};
use super::reports::Heard;
use crate::db::{DbError, Space};
use crate::model::Rows;
use crate::model::directory::{self, MoveRow, NodeRow, ReplicasRow};
use crate::raft::CAUGHT_UP;
use crate::service::Context;
use crate::shards::broken;

/// The node that made the cluster, which never asked for its id.
const FIRST_NODE: NodeId = NodeId::new(1);

/// The rows of placement.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) nodes: BTreeMap<NodeId, NodeRow>,
    pub(super) replicas: BTreeMap<ShardId, ReplicasRow>,
    pub(super) moves: BTreeMap<ShardId, MoveRow>,
}

impl Facts {
    /// What this node has of the control group. The leader has nearly everything.
    pub(super) async fn look(context: &Context) -> Result<Self, Status> {
        let look =
            |snapshot: &crate::db::Snapshot<'_>, space| Self::read(snapshot, space).map_err(broken);
        context.shards.look(ShardId::CONTROL, look).await
    }

    fn read(rows: &impl Rows, space: Space) -> Result<Self, DbError> {
        let nodes = directory::all_nodes(rows, space)?.into_iter();
        let replicas = directory::all_replicas(rows, space)?.into_iter();
        let moves = directory::all_moves(rows, space)?.into_iter();
        Ok(Self {
            nodes: nodes.map(|(id, row)| (NodeId::new(id), row)).collect(),
            replicas: replicas.map(|(id, row)| (ShardId::new(id), row)).collect(),
            moves: moves.map(|(id, row)| (ShardId::new(id), row)).collect(),
        })
    }

    pub(super) fn state(&self, node: NodeId) -> NodeState {
        let row = self.nodes.get(&node);
        row.map_or(NodeState::Unspecified, NodeRow::standing)
    }

    /// What the reports say and the rows do not.
    pub(super) fn news(&self, heard: &Heard) -> Vec<Kind> {
        let mut news = Vec::new();
        for (id, report) in &heard.nodes {
            let Some(node) = &report.node else { continue };
            let row = match self.nodes.get(id) {
                Some(row) => Some(row),
                None if *id == FIRST_NODE => None,
                // Whoever has an id has a row.
                None => continue,
            };
            let known = row.is_some_and(|row| {
                let joined = row.standing() != NodeState::Joining;
                joined && row.endpoint == node.endpoint && row.zone == report.zone
            });
            let removed = self.state(*id) == NodeState::Removed;
            if known || removed || !heard.is_alive(*id) {
                continue;
            }
            let state = match self.state(*id) {
                NodeState::Joining => NodeState::Active,
                _ => NodeState::Unspecified,
            };
            news.push(Kind::RecordNode(RecordNodeCommand {
                node: id.get(),
                endpoint: node.endpoint.clone(),
                zone: Some(report.zone.clone()),
                state: state.into(),
            }));
        }
        for shard in heard.shards() {
            let Some((_, group)) = heard.leader(shard) else {
                continue;
            };
            let recorded = self.recorded_index(shard);
            if group.changing || group.membership_index <= recorded {
                continue;
            }
            let ids = |nodes: &[postino_proto::cluster::v1::Node]| {
                nodes.iter().map(|node| node.id).collect()
            };
            news.push(Kind::RecordReplicas(RecordReplicasCommand {
                shard: shard.get(),
                membership_index: group.membership_index,
                voters: ids(&group.voters),
                learners: ids(&group.learners),
            }));
        }
        news
    }

    /// Nodes that have lost their disks: another one came in their place, which lives, and they do
    /// not. They are drained, and removed once they hold nothing. With what each becomes.
    pub(super) fn superseded(&self, heard: &Heard) -> Vec<Kind> {
        let lives =
            |id: &NodeId, row: &NodeRow| heard.is_alive(*id) && row.standing() == NodeState::Active;
        let came = self.nodes.iter().filter(|(id, row)| lives(id, row));
        // One that came in between may never have got so far.
        let before = |row: &NodeRow| Some(NodeId::new(row.replaces)).filter(|id| id.get() != 0);
        let gone = came.flat_map(|(_, row)| {
            std::iter::successors(before(row), |id| before(self.nodes.get(id)?))
        });
        let next = gone.filter(|id| !heard.is_alive(*id)).filter_map(|gone| {
            let state = match self.state(gone) {
                NodeState::Active | NodeState::Joining => NodeState::Draining,
                NodeState::Draining if !self.is_needed(gone, heard) => NodeState::Removed,
                _ => return None,
            };
            Some(Kind::RecordNode(RecordNodeCommand {
                node: gone.get(),
                state: state.into(),
                ..RecordNodeCommand::default()
            }))
        });
        next.collect()
    }

    /// Whether a node holds a replica, or may: of shards without a leader nothing is known.
    fn is_needed(&self, node: NodeId, heard: &Heard) -> bool {
        let picture = self.picture(heard);
        let mut shards = picture.shards.values();
        let held = |shard: &Shard| shard.leader.is_none() || shard.replicas.contains_key(&node);
        shards.any(held)
            || self.replicas.values().any(|row| row.has(node.get()))
            || self.moves.values().any(|row| row.concerns(node.get()))
    }

    /// Shards of which a node has rows, as it reported, though it is no member, and none of whose
    /// replicas goes there.
    pub(super) fn left(&self, node: NodeId, heard: &Heard) -> Vec<ShardId> {
        let has_left = |shard: &ShardId| {
            let own = heard.of(node, *shard);
            let member = self.replicas.get(shard);
            let moving = self.moves.get(shard);
            own.is_some_and(|own| own.last_index > 0)
                && member.is_some_and(|row| !row.has(node.get()))
                && moving.is_none_or(|row| !row.concerns(node.get()))
        };
        heard.shards().into_iter().filter(has_left).collect()
    }

    fn recorded_index(&self, shard: ShardId) -> u64 {
        let row = self.replicas.get(&shard);
        row.map_or(0, |row| row.membership_index)
    }

    /// The cluster, for the planner.
    pub(super) fn picture(&self, heard: &Heard) -> Picture {
        let nodes = self.nodes.iter().filter_map(|(id, row)| {
            let standing = match row.standing() {
                NodeState::Joining => Standing::Joining,
                NodeState::Draining => Standing::Draining,
                NodeState::Removed => return None,
                NodeState::Active | NodeState::Unspecified => Standing::Active,
            };
            let stopping = heard.nodes.get(id).is_some_and(|report| report.stopping);
            let node = Node {
                zone: row.zone.clone(),
                standing,
                alive: heard.is_alive(*id) && !stopping,
                full: heard.nodes.get(id).is_some_and(|report| report.full),
            };
            Some((*id, node))
        });
        let shards = heard.shards().into_iter();
        Picture {
            nodes: nodes.collect(),
            shards: shards.map(|id| (id, self.shard(id, heard))).collect(),
        }
    }

    fn shard(&self, id: ShardId, heard: &Heard) -> Shard {
        let Some((leader, group)) = heard.leader(id) else {
            return Shard::default();
        };
        let matched: BTreeMap<u64, u64> = group
            .progress
            .iter()
            .map(|progress| (progress.node, progress.matched))
            .collect();
        let halted = |node: u64| {
            let own = heard.of(NodeId::new(node), id);
            own.is_some_and(|own| !own.halted.is_empty())
        };
        let caught_up = |node: u64| {
            let matched = matched.get(&node).copied().unwrap_or(0);
            let near = node == leader.get() || matched + CAUGHT_UP >= group.last_index;
            near && !halted(node)
        };
        let member = |node: &postino_proto::cluster::v1::Node, voter| {
            let replica = Replica {
                voter,
                caught_up: caught_up(node.id),
            };
            (NodeId::new(node.id), replica)
        };
        let voters = group.voters.iter().map(|node| member(node, true));
        let learners = group.learners.iter().map(|node| member(node, false));
        Shard {
            leader: Some(leader),
            replicas: voters.chain(learners).collect(),
            // A report that is older than the last move tells of what was.
            changing: group.changing
                || self.moves.contains_key(&id)
                || group.membership_index < self.recorded_index(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: NodeState, replaces: u64) -> NodeRow {
        NodeRow {
            state: state.into(),
            replaces,
            ..NodeRow::default()
        }
    }

    #[test]
    fn who_was_there_before_is_drained_and_then_removed() {
        use NodeState::{Active, Draining, Joining, Removed};
        let facts = |two, three| {
            let rows = [
                (1, row(Active, 0)),
                (2, row(two, 0)),
                (3, row(three, 2)),
                (4, row(Active, 3)),
            ];
            Facts {
                nodes: rows.map(|(id, row)| (NodeId::new(id), row)).into(),
                ..Facts::default()
            }
        };
        let planned = |facts: &Facts, alive: &[u64]| -> Vec<(u64, NodeState)> {
            let heard = Heard::of_living(alive);
            let kinds = facts.superseded(&heard).into_iter();
            kinds
                .map(|kind| match kind {
                    Kind::RecordNode(command) => (command.node, command.state()),
                    kind => panic!("{kind:?}"),
                })
                .collect()
        };
        let lost = facts(Active, Joining);
        assert_eq!(planned(&lost, &[1, 4]), [(3, Draining), (2, Draining)]);
        // Not before the new one is there, nor while the old one is.
        assert_eq!(planned(&lost, &[1]), []);
        assert_eq!(planned(&lost, &[1, 2, 4]), [(3, Draining)]);
        let empty = facts(Draining, Removed);
        assert_eq!(planned(&empty, &[1, 4]), [(2, Removed)]);
        let mut holding = empty;
        let replicas = ReplicasRow {
            voters: vec![1, 2, 4],
            ..ReplicasRow::default()
        };
        holding.replicas.insert(ShardId::new(1), replicas);
        assert_eq!(planned(&holding, &[1, 4]), []);
    }
}
