//! What the nodes last said of themselves: in the memory of the control group's leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postino_proto::cluster::v1::{Group, LeaderOfShard, ReportRequest};
use postino_types::{NodeId, ShardId};
use tokio::time::Instant;

/// The last report of each node.
#[derive(Default)]
pub(super) struct Reports {
    received: Mutex<BTreeMap<NodeId, Received>>,
}

#[derive(Clone)]
struct Received {
    report: Arc<ReportRequest>,
    at: Instant,
}

/// The reports at one moment.
#[derive(Clone, Default)]
pub(super) struct Heard {
    pub(super) nodes: BTreeMap<NodeId, Arc<ReportRequest>>,
    /// Of those that have reported lately.
    alive: BTreeMap<NodeId, Instant>,
}

impl Reports {
    pub(super) fn take(&self, report: ReportRequest, now: Instant) {
        let Some(node) = &report.node else { return };
        let id = NodeId::new(node.id);
        let received = Received {
            report: Arc::new(report),
            at: now,
        };
        self.lock().insert(id, received);
    }

    /// What was heard, and from whom within `patience`.
    pub(super) fn heard(&self, now: Instant, patience: Duration) -> Heard {
        let received = self.lock().clone();
        let alive = received
            .iter()
            .filter(|(_, received)| now.saturating_duration_since(received.at) < patience)
            .map(|(id, received)| (*id, received.at));
        Heard {
            alive: alive.collect(),
            nodes: received
                .into_iter()
                .map(|(id, received)| (id, received.report))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// That these nodes live, and nothing else.
    #[cfg(test)]
    pub(super) fn of_living(nodes: &[u64]) -> Self {
        let alive = nodes.iter().map(|id| (NodeId::new(*id), Instant::now()));
        Self {
            alive: alive.collect(),
            ..Self::default()
        }
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.alive.contains_key(&node)
    }

    /// Whether every node that lives has reported since `instant`.
    pub(super) fn all_since(&self, instant: Instant) -> bool {
        self.alive.values().all(|at| *at > instant)
    }

    /// Every shard that a report names, in order.
    pub(super) fn shards(&self) -> BTreeSet<ShardId> {
        let groups = self.nodes.values().flat_map(|report| &report.groups);
        groups.map(|group| ShardId::new(group.shard)).collect()
    }

    /// What a node said of a shard.
    pub(super) fn of(&self, node: NodeId, shard: ShardId) -> Option<&Group> {
        let groups = &self.nodes.get(&node)?.groups;
        groups.iter().find(|group| group.shard == shard.get())
    }

    /// The leader of a shard and what it said of it: of the nodes that live and say that they
    /// lead, the one of the latest term.
    pub(super) fn leader(&self, shard: ShardId) -> Option<(NodeId, &Group)> {
        let claims = self.alive.keys().filter_map(|node| {
            let group = self.of(*node, shard)?;
            let leads = group.leader.as_ref()?.id == node.get();
            leads.then_some((*node, group))
        });
        claims.max_by_key(|(_, group)| group.term)
    }

    /// Who leads each shard, as far as anybody said.
    pub(super) fn leaders(&self) -> Vec<LeaderOfShard> {
        let mut latest: BTreeMap<u32, LeaderOfShard> = BTreeMap::new();
        let groups = self.nodes.values().flat_map(|report| &report.groups);
        for group in groups {
            let Some(leader) = &group.leader else {
                continue;
            };
            let known = latest.get(&group.shard);
            if known.is_none_or(|known| known.term < group.term) {
                let leader = LeaderOfShard {
                    shard: group.shard,
                    term: group.term,
                    node: Some(leader.clone()),
                };
                latest.insert(group.shard, leader);
            }
        }
        latest.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use postino_proto::cluster::v1::Node;

    use super::*;

    fn node(id: u64) -> Node {
        Node {
            id,
            endpoint: format!("http://n{id}:1"),
        }
    }

    /// A report on shard 1.
    fn report(id: u64, term: u64, leader: u64) -> ReportRequest {
        ReportRequest {
            node: Some(node(id)),
            groups: vec![Group {
                shard: 1,
                term,
                leader: Some(node(leader)),
                ..Group::default()
            }],
            ..ReportRequest::default()
        }
    }

    #[test]
    fn the_latest_term_says_who_leads() {
        let (reports, now) = (Reports::default(), Instant::now());
        let patience = Duration::from_secs(5);
        reports.take(report(1, 3, 1), now);
        reports.take(report(2, 4, 2), now);
        reports.take(report(3, 5, 1), now);
        let heard = reports.heard(now, patience);
        let shard = ShardId::new(1);
        assert_eq!(heard.leader(shard).map(|(id, _)| id.get()), Some(2));
        // Who has heard of a later term knows better than those who believe that they lead.
        assert_eq!(heard.leaders()[0].node, Some(node(1)));
        assert!(heard.leader(ShardId::new(2)).is_none());
        assert!(!heard.all_since(now));

        let later = now + patience;
        reports.take(report(1, 3, 1), later);
        let heard = reports.heard(later, patience);
        assert!(heard.is_alive(NodeId::new(1)) && !heard.is_alive(NodeId::new(2)));
        assert_eq!(heard.leader(shard).map(|(id, _)| id.get()), Some(1));
        assert!(heard.all_since(now));
    }
}
