//! Which leads should go to which node, so that all nodes lead as many shards as possible alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use postino_types::{NodeId, ShardId};

use super::picture::{Lead, Picture};

/// The next leads to be given away, `limit` at most.
///
/// A lead can only go to a voter that is up, takes leads and has caught up. So evening out is a
/// matter of paths: from a node that leads too many shards over nodes that pass one on, to a node
/// that leads at least two fewer. When there is no such path, no distribution is more even.
pub(crate) fn spread(picture: &Picture, limit: usize) -> Vec<Lead> {
    let mut leads = Leads::of(picture);
    let mut given = Vec::new();
    while given.len() < limit
        && let Some(path) = leads.path()
    {
        // Half a path would only shift the load; a first one that is too long goes as a whole.
        if !given.is_empty() && given.len() + path.len() > limit {
            break;
        }
        for lead in path {
            leads.give(lead);
            given.push(lead);
        }
    }
    given
}

/// Who leads what, and who else could.
struct Leads {
    /// The shards that may change their leader, with the nodes that could lead them.
    shards: BTreeMap<ShardId, (NodeId, BTreeSet<NodeId>)>,
    /// How many shards a node leads.
    counts: BTreeMap<NodeId, usize>,
    /// The nodes that take leads.
    takers: BTreeSet<NodeId>,
}

impl Leads {
    fn of(picture: &Picture) -> Self {
        let takers = picture.nodes.keys().copied();
        let takers: BTreeSet<NodeId> = takers.filter(|node| picture.takes(*node)).collect();
        let mut counts: BTreeMap<NodeId, usize> = takers.iter().map(|node| (*node, 0)).collect();
        let mut shards = BTreeMap::new();
        for (id, shard) in &picture.shards {
            let Some(leader) = shard.leader else { continue };
            *counts.entry(leader).or_default() += 1;
            if shard.changing {
                continue;
            }
            let could = shard.replicas.iter().filter(|(node, replica)| {
                replica.voter && replica.caught_up && takers.contains(node)
            });
            let could = could.map(|(node, _)| *node).collect();
            shards.insert(*id, (leader, could));
        }
        Self {
            shards,
            counts,
            takers,
        }
    }

    /// How much a node leads; one that should lead nothing at all leads too much in any case.
    fn load(&self, node: NodeId) -> usize {
        let count = self.counts.get(&node).copied().unwrap_or(0);
        match self.takers.contains(&node) {
            true => count,
            false if count == 0 => 0,
            false => usize::MAX,
        }
    }

    /// The shortest way to make it more even, from the node that leads most.
    fn path(&self) -> Option<Vec<Lead>> {
        let mut starts: Vec<NodeId> = self.counts.keys().copied().collect();
        starts.sort_by_key(|node| std::cmp::Reverse(self.load(*node)));
        starts.into_iter().find_map(|start| self.path_from(start))
    }

    fn path_from(&self, start: NodeId) -> Option<Vec<Lead>> {
        let enough = self.load(start).checked_sub(2)?;
        let mut came_by: BTreeMap<NodeId, Lead> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(node) = waiting.pop_front() {
            for (shard, (leader, could)) in &self.shards {
                if *leader != node {
                    continue;
                }
                for to in could.iter().copied() {
                    if to == start || to == node || came_by.contains_key(&to) {
                        continue;
                    }
                    let lead = Lead {
                        shard: *shard,
                        from: node,
                        to,
                    };
                    came_by.insert(to, lead);
                    waiting.push_back(to);
                }
            }
        }
        let reached = came_by.keys().copied();
        let goal = reached
            .filter(|node| self.load(*node) <= enough)
            .min_by_key(|node| self.load(*node))?;
        // From the end on, so that a node has one to spare before it gets another.
        let mut path = Vec::new();
        let mut at = goal;
        while let Some(lead) = came_by.get(&at) {
            path.push(*lead);
            at = lead.from;
        }
        Some(path)
    }

    fn give(&mut self, lead: Lead) {
        if let Some((leader, _)) = self.shards.get_mut(&lead.shard) {
            *leader = lead.to;
        }
        if let Some(count) = self.counts.get_mut(&lead.from) {
            *count = count.saturating_sub(1);
        }
        *self.counts.entry(lead.to).or_default() += 1;
    }
}
