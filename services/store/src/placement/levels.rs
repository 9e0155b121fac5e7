//! To which feature level shards can be raised: the highest that every node supports.

use postino_proto::store::v1::NodeState;
use postino_types::ShardId;

use super::facts::Facts;
use super::reports::Heard;
use crate::levels::MARKS;

/// A level, and the shards that are to be raised to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raise {
    pub(super) level: u32,
    pub(super) shards: Vec<ShardId>,
}

/// What is to be raised now, if anything. A node that is silent may come back with an older build,
/// so all have to be there. The control group comes first: no node is taken in that does not
/// support its level.
pub(super) fn next(facts: &Facts, heard: &Heard) -> Option<Raise> {
    let nodes = facts.nodes.keys();
    let nodes = nodes.filter(|node| facts.state(**node) != NodeState::Removed);
    let supported = nodes.map(|node| {
        let report = heard.nodes.get(node).filter(|_| heard.is_alive(*node));
        report.map_or(0, |report| report.highest_level)
    });
    // The command that raises is itself of the first level that there is anything to raise to.
    let level = supported.min().filter(|level| *level >= MARKS)?;
    let below = |shard: &ShardId| {
        let leader = heard.leader(*shard);
        leader.is_some_and(|(_, group)| group.level < level)
    };
    let mut shards: Vec<ShardId> = heard.shards().into_iter().filter(below).collect();
    if shards.first().is_some_and(|shard| shard.is_control()) {
        shards.truncate(1);
    }
    (!shards.is_empty()).then_some(Raise { level, shards })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postino_proto::cluster::v1::{Group, Node, ReportRequest};
    use postino_types::NodeId;
    use tokio::time::Instant;

    use super::*;
    use crate::model::directory::NodeRow;
    use crate::placement::reports::Reports;

    /// Nodes 1, 2 … that support up to these levels (0: silent); node 1 leads shards of these.
    fn cluster(highest: &[u32], shards: &[u32]) -> (Facts, Heard) {
        let (now, reports) = (Instant::now(), Reports::default());
        let mut facts = Facts::default();
        for (id, highest) in (1..).zip(highest) {
            let row = NodeRow {
                state: NodeState::Active.into(),
                ..NodeRow::default()
            };
            facts.nodes.insert(NodeId::new(id), row);
            let node = Node {
                id,
                endpoint: String::new(),
            };
            let group = |(shard, level): (u32, &u32)| Group {
                shard,
                level: *level,
                leader: (id == 1).then(|| node.clone()),
                ..Group::default()
            };
            let report = ReportRequest {
                node: Some(node.clone()),
                highest_level: *highest,
                groups: (0..).zip(shards).map(group).collect(),
                ..ReportRequest::default()
            };
            if *highest > 0 {
                reports.take(report, now);
            }
        }
        (facts, reports.heard(now, Duration::from_secs(5)))
    }

    fn raised(highest: &[u32], shards: &[u32]) -> Option<(u32, Vec<u32>)> {
        let (facts, heard) = cluster(highest, shards);
        let raise = next(&facts, &heard)?;
        let shards = raise.shards.iter().map(|shard| shard.get());
        Some((raise.level, shards.collect()))
    }

    #[test]
    fn shards_rise_once_every_node_supports_it() {
        assert_eq!(raised(&[2, 2, 1], &[1, 1]), None);
        assert_eq!(raised(&[2, 2, 0], &[1, 1]), None);
        assert_eq!(raised(&[1, 1, 1], &[0, 1]), None);
        assert_eq!(raised(&[2, 3, 2], &[1, 1, 1]), Some((2, vec![0])));
        assert_eq!(raised(&[2, 3, 2], &[2, 1, 2, 0]), Some((2, vec![1, 3])));
        assert_eq!(raised(&[2, 2, 2], &[2, 2]), None);
    }

    #[test]
    fn a_node_that_was_removed_holds_nothing_back() {
        let (mut facts, heard) = cluster(&[2, 2, 1], &[1]);
        let removed = facts.nodes.get_mut(&NodeId::new(3)).unwrap();
        removed.state = NodeState::Removed.into();
        assert!(next(&facts, &heard).is_some());
    }
}
