//! Which replicas should move: shards that have too few, nodes that are drained, zones that hold
//! two of a shard, nodes that hold more than others.

use std::collections::{BTreeMap, BTreeSet};

use postino_proto::store::v1::MoveCause;
use postino_types::{NodeId, ShardId};

use super::picture::{Move, Picture, Shard};

/// The next moves, `limit` at most, one for a shard at most. What is needed comes before what is
/// only better.
pub(crate) fn moves(picture: &Picture, wanted: usize, limit: usize) -> Vec<Move> {
    let mut sketch = Sketch::of(picture, wanted);
    let mut moves = Vec::new();
    while moves.len() < limit {
        let Some(next) = sketch.needed().or_else(|| sketch.better()) else {
            break;
        };
        sketch.note(next);
        moves.push(next);
    }
    moves
}

/// How many replicas a shard should have: as many as are wanted and there are nodes for, and no
/// even number, which would bear no more failures than the odd one below it.
fn target(wanted: usize, active: usize) -> usize {
    let most = wanted.min(active);
    match most % 2 {
        0 => most.saturating_sub(1).max(1),
        _ => most,
    }
}

/// The picture, with the moves taken that are planned so far.
struct Sketch<'a> {
    picture: &'a Picture,
    wanted: usize,
    target: usize,
    /// Replicas on each node, with those that are on their way.
    counts: BTreeMap<NodeId, usize>,
    /// Shards that may not be touched any more.
    busy: BTreeSet<ShardId>,
}

impl<'a> Sketch<'a> {
    fn of(picture: &'a Picture, wanted: usize) -> Self {
        let mut counts: BTreeMap<NodeId, usize> =
            picture.nodes.keys().map(|node| (*node, 0)).collect();
        for shard in picture.shards.values() {
            for node in shard.replicas.keys() {
                *counts.entry(*node).or_default() += 1;
            }
        }
        let unknown = picture
            .shards
            .iter()
            .filter(|(_, shard)| shard.changing || shard.leader.is_none());
        Self {
            picture,
            wanted,
            target: target(wanted, picture.active()),
            counts,
            busy: unknown.map(|(id, _)| *id).collect(),
        }
    }

    fn note(&mut self, planned: Move) {
        self.busy.insert(planned.shard);
        if let Some(from) = planned.from {
            let count = self.counts.entry(from).or_default();
            *count = count.saturating_sub(1);
        }
        if let Some(to) = planned.to {
            *self.counts.entry(to).or_default() += 1;
        }
    }

    fn count(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or(0)
    }

    fn free(&self) -> impl Iterator<Item = (ShardId, &'a Shard)> {
        let free = self.picture.shards.iter();
        free.filter(|(id, _)| !self.busy.contains(id))
            .map(|(id, shard)| (*id, shard))
    }

    /// Zones that a shard is in, without one of its replicas.
    fn zones_without(&self, shard: &Shard, left_out: Option<NodeId>) -> BTreeSet<&'a str> {
        let kept = shard.replicas.keys().filter(|node| {
            // A replica that is about to go is in no zone any more.
            Some(**node) != left_out && !self.picture.is_draining(**node)
        });
        kept.map(|node| self.picture.zone(*node)).collect()
    }

    /// The best node for one more replica of a shard, or for the one in place of `leaving`: in a
    /// zone that has none, then with the fewest replicas.
    fn home(&self, shard: &Shard, leaving: Option<NodeId>) -> Option<NodeId> {
        let zones = self.zones_without(shard, leaving);
        let nodes = self.picture.nodes.keys().copied();
        nodes
            .filter(|node| self.picture.takes(*node) && !shard.replicas.contains_key(node))
            .min_by_key(|node| {
                let shared = zones.contains(self.picture.zone(*node));
                (shared, self.count(*node), *node)
            })
    }

    /// Whether a shard still has a majority that could vote at once when one voter has left, and
    /// perhaps another one, which has caught up by then, is in its place.
    fn bears_the_loss(&self, shard: &Shard, leaving: NodeId, coming: Option<NodeId>) -> bool {
        let mut staying = shard.clone();
        staying.replicas.remove(&leaving);
        let coming = usize::from(coming.is_some());
        let voters = staying.voters().count() + coming;
        self.picture.fit_voters(&staying) + coming > voters / 2
    }

    fn needed(&self) -> Option<Move> {
        self.drained()
            .or_else(|| self.missing())
            .or_else(|| self.surplus())
    }

    /// A replica on a node that is being drained: replaced if there is a node for it, dropped if
    /// the others do without it.
    fn drained(&self) -> Option<Move> {
        self.free().find_map(|(id, shard)| {
            let draining = |node: &NodeId| self.picture.is_draining(*node);
            let from = shard.replicas.keys().copied().find(draining)?;
            let to = self.home(shard, Some(from));
            let learner = shard
                .replicas
                .get(&from)
                .is_some_and(|replica| !replica.voter);
            // A node that is only away, and back soon, is worth the wait.
            let enough = to.is_some() || shard.voters().count() > self.target;
            (learner || (enough && self.bears_the_loss(shard, from, to))).then_some(Move {
                shard: id,
                from: Some(from),
                to: to.filter(|_| !learner),
                cause: MoveCause::Drain,
            })
        })
    }

    fn missing(&self) -> Option<Move> {
        self.free().find_map(|(id, shard)| {
            if shard.voters().count() >= self.target {
                return None;
            }
            Some(Move {
                shard: id,
                from: None,
                to: Some(self.one_more(shard)?),
                cause: MoveCause::Replication,
            })
        })
    }

    /// The node for a replica more. What an interrupted move left behind need not be copied again.
    /// Voters become more by two where they are odd, since an even number bears no more failures:
    /// so one learner waits for another.
    fn one_more(&self, shard: &Shard) -> Option<NodeId> {
        let learners = shard.learners().filter(|node| self.picture.takes(*node));
        let mut learners: Vec<NodeId> = learners.collect();
        // One that gets nowhere is found out, and called off.
        let caught_up = |node: &NodeId| shard.replicas.get(node).is_some_and(|it| it.caught_up);
        learners.sort_by_key(caught_up);
        let (first, second) = (learners.first().copied(), learners.get(1));
        match (shard.voters().count() % 2, first, second) {
            (0, Some(learner), _) | (_, Some(learner), Some(_)) => Some(learner),
            _ => self.home(shard, None),
        }
    }

    /// A replica more than anybody wants: one that never came to vote, or else the one whose zone
    /// holds another, on the node that holds most.
    fn surplus(&self) -> Option<Move> {
        self.free().find_map(|(id, shard)| {
            let voters = shard.voters().count();
            let useless = shard.learners().next();
            if voters <= self.wanted && (useless.is_none() || voters < self.target) {
                return None;
            }
            let from = useless.or_else(|| self.excess(shard))?;
            Some(Move {
                shard: id,
                from: Some(from),
                to: None,
                cause: MoveCause::Replication,
            })
        })
    }

    fn excess(&self, shard: &Shard) -> Option<NodeId> {
        shard
            .voters()
            .filter(|node| self.bears_the_loss(shard, *node, None))
            .max_by_key(|node| {
                let others = self.zones_without(shard, Some(*node));
                let shared = others.contains(self.picture.zone(*node));
                let leads = shard.leader == Some(*node);
                (shared, self.count(*node), !leads, *node)
            })
    }

    /// A move that spreads a shard over one zone more; or else one that brings two nodes nearer to
    /// each other and costs no zone.
    fn better(&self) -> Option<Move> {
        self.by_choice(|sketch, shard, from, to| sketch.zones_gained(shard, from, to) > 0)
            .or_else(|| {
                self.by_choice(|sketch, shard, from, to| {
                    sketch.zones_gained(shard, from, to) == 0
                        && sketch.count(from) >= sketch.count(to) + 2
                })
            })
    }

    fn zones_gained(&self, shard: &Shard, from: NodeId, to: NodeId) -> isize {
        let before = self.zones_without(shard, None).len();
        let mut after = self.zones_without(shard, Some(from));
        after.insert(self.picture.zone(to));
        isize::try_from(after.len()).unwrap_or(0) - isize::try_from(before).unwrap_or(0)
    }

    /// The move that takes from the fullest node and gives to the emptiest, of those that `good`
    /// allows. A replica that does not lead is cheaper to move.
    fn by_choice(&self, good: impl Fn(&Self, &Shard, NodeId, NodeId) -> bool) -> Option<Move> {
        let mut best = None;
        for (id, shard) in self.free() {
            let voters = shard.voters().count();
            // Not while one of them is away, which may come back; and not while nodes are to join,
            // as they are when there are too few for all replicas.
            let complete = voters >= target(self.wanted, usize::MAX);
            if !complete || self.picture.fit_voters(shard) < voters {
                continue;
            }
            for from in shard.voters() {
                let nodes = self.picture.nodes.keys().copied();
                for to in nodes.filter(|to| self.picture.takes(*to)) {
                    if shard.replicas.contains_key(&to) || !good(self, shard, from, to) {
                        continue;
                    }
                    let leads = shard.leader == Some(from);
                    let relief = (self.count(from) + 1).saturating_sub(self.count(to));
                    let rank = (relief, !leads);
                    if best.is_none_or(|(most, _)| rank > most) {
                        let planned = Move {
                            shard: id,
                            from: Some(from),
                            to: Some(to),
                            cause: MoveCause::Balance,
                        };
                        best = Some((rank, planned));
                    }
                }
            }
        }
        best.map(|(_, planned)| planned)
    }
}
