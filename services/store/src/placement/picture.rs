//! The cluster as the planner sees it.

use std::collections::BTreeMap;

use postino_proto::store::v1::MoveCause;
use postino_types::{NodeId, ShardId};

/// Nodes, and the shards on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Picture {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
}

/// A node that is not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) zone: String,
    pub(crate) standing: Standing,
    /// It reports, and is not about to stop.
    pub(crate) alive: bool,
    /// Its disk has no room for anything new.
    pub(crate) full: bool,
}

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes replicas and leads.
    Active,
    /// It has none and gets none yet.
    Joining,
    /// Its replicas move away.
    Draining,
}

/// A shard, as its leader told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shard {
    /// `None`: not known; then nothing about the shard is certain.
    pub(crate) leader: Option<NodeId>,
    pub(crate) replicas: BTreeMap<NodeId, Replica>,
    /// Its members are changing, or about to.
    pub(crate) changing: bool,
}

/// A member of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) voter: bool,
    /// It works, and has nearly everything that the leader has.
    pub(crate) caught_up: bool,
}

/// A replica to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) shard: ShardId,
    /// `None`: the shard gets one more.
    pub(crate) from: Option<NodeId>,
    /// `None`: the shard gets one less.
    pub(crate) to: Option<NodeId>,
    pub(crate) cause: MoveCause,
}

/// A lead to be given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) shard: ShardId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

impl Picture {
    /// Whether a node may get replicas and leads.
    pub(crate) fn takes(&self, node: NodeId) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|node| node.alive && !node.full && node.standing == Standing::Active)
    }

    /// Nodes that replicas may be on in the long run, whether they are up or not.
    pub(crate) fn active(&self) -> usize {
        let active = |node: &&Node| node.standing == Standing::Active;
        self.nodes.values().filter(active).count()
    }

    pub(crate) fn is_draining(&self, node: NodeId) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|node| node.standing == Standing::Draining)
    }

    pub(crate) fn zone(&self, node: NodeId) -> &str {
        self.nodes.get(&node).map_or("", |node| &node.zone)
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.alive)
    }

    /// Voters that could vote at once, and hold what they would have to.
    pub(crate) fn fit_voters(&self, shard: &Shard) -> usize {
        let fit = shard
            .replicas
            .iter()
            .filter(|(node, replica)| replica.voter && replica.caught_up && self.is_alive(**node));
        fit.count()
    }
}

impl Shard {
    pub(crate) fn voters(&self) -> impl Iterator<Item = NodeId> {
        let voters = self.replicas.iter().filter(|(_, replica)| replica.voter);
        voters.map(|(node, _)| *node)
    }

    /// Members that only follow.
    pub(crate) fn learners(&self) -> impl Iterator<Item = NodeId> {
        let learners = self.replicas.iter().filter(|(_, replica)| !replica.voter);
        learners.map(|(node, _)| *node)
    }
}
