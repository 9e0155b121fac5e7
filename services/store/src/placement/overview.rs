//! What operators see: nodes, shards, moves, from rows and reports.

use postino_proto::cluster::v1::{
    Group, MoveOverview, NodeOverview, Overview, Progress, ReplicaOverview, ShardOverview,
};
use postino_proto::store::v1::NodeState;
use postino_types::{NodeId, ShardId};

use super::facts::Facts;
use super::reports::Heard;

/// Everything at once. Removed nodes are left out.
pub(super) fn overview(told_by: NodeId, facts: &Facts, heard: &Heard) -> Overview {
    let shards: Vec<ShardOverview> = heard
        .shards()
        .into_iter()
        .map(|shard| shard_overview(shard, heard))
        .collect();
    let nodes = facts.nodes.iter();
    let nodes = nodes.filter(|(_, row)| row.standing() != NodeState::Removed);
    let nodes = nodes.map(|(id, row)| {
        let report = heard.nodes.get(id);
        let told = report.and_then(|report| report.node.as_ref());
        let count = |of: &dyn Fn(&ShardOverview) -> bool| {
            let count = shards.iter().filter(|shard| of(shard)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let holds = |shard: &ShardOverview| {
            let mut replicas = shard.replicas.iter();
            replicas.any(|replica| replica.node == id.get())
        };
        NodeOverview {
            node: id.get(),
            endpoint: told.map_or_else(|| row.endpoint.clone(), |node| node.endpoint.clone()),
            zone: row.zone.clone(),
            state: row.standing().into(),
            alive: heard.is_alive(*id),
            stopping: report.is_some_and(|report| report.stopping),
            leads: count(&|shard| shard.leader == id.get()),
            replicas: count(&holds),
            full: report.is_some_and(|report| report.full),
            lowest_level: report.map_or(0, |report| report.lowest_level),
            highest_level: report.map_or(0, |report| report.highest_level),
        }
    });
    let nodes = nodes.collect();
    let moves = facts.moves.iter().map(|(shard, row)| {
        let group = heard.leader(*shard).map(|(_, group)| group);
        MoveOverview {
            shard: shard.get(),
            from: row.from,
            to: row.to,
            cause: row.cause,
            started_ms: row.started_ms,
            matched: group.map_or(0, |group| progress(group, row.to).matched),
            snapshot_bytes: group.map_or(0, |group| progress(group, row.to).snapshot_bytes),
            last_index: group.map_or(0, |group| group.last_index),
            r#move: row.id,
        }
    });
    Overview {
        told_by: told_by.get(),
        nodes,
        moves: moves.collect(),
        shards,
    }
}

fn shard_overview(shard: ShardId, heard: &Heard) -> ShardOverview {
    let Some((leader, group)) = heard.leader(shard) else {
        return ShardOverview {
            shard: shard.get(),
            ..ShardOverview::default()
        };
    };
    let replica = |node: u64, voter: bool| {
        let told = heard.of(NodeId::new(node), shard);
        let known = match node == leader.get() {
            true => group.last_index,
            false => progress(group, node).matched,
        };
        ReplicaOverview {
            node,
            voter,
            applied_index: told.map_or(0, |told| told.applied_index),
            lag: group.last_index.saturating_sub(known),
            halted: told.map_or_else(String::new, |told| told.halted.clone()),
        }
    };
    let voters = group.voters.iter().map(|node| replica(node.id, true));
    let learners = group.learners.iter().map(|node| replica(node.id, false));
    ShardOverview {
        shard: shard.get(),
        term: group.term,
        leader: leader.get(),
        last_index: group.last_index,
        replicas: voters.chain(learners).collect(),
        changing: group.changing,
        level: group.level,
    }
}

/// How far a member has come, as the leader of its shard says.
pub(super) fn progress(group: &Group, node: u64) -> Progress {
    let mut all = group.progress.iter();
    all.find(|progress| progress.node == node)
        .copied()
        .unwrap_or_default()
}
