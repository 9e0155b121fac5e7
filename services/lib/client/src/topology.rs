//! What a client knows about the cluster: shards, leaders, nodes.

use std::collections::{BTreeSet, HashMap};

use postino_proto::store::v1::Topology;
use postino_types::ShardId;

/// A view that grows with every answer; it may be old, and is then corrected by the next refusal.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Mail shards; 0 until the first answer.
    mail_shards: u32,
    leaders: HashMap<ShardId, Leader>,
    endpoints: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Leader {
    term: u64,
    /// `None`: it failed, or is not known.
    endpoint: Option<String>,
}

impl View {
    pub(crate) fn new(endpoints: &[String]) -> Self {
        Self {
            endpoints: endpoints.iter().cloned().collect(),
            ..Self::default()
        }
    }

    pub(crate) fn mail_shards(&self) -> u32 {
        self.mail_shards
    }

    pub(crate) fn leader(&self, shard: ShardId) -> Option<&str> {
        self.leaders.get(&shard)?.endpoint.as_deref()
    }

    /// All nodes, in a fixed order.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.endpoints.iter().cloned().collect()
    }

    /// Takes an answer in. Of two leaders the one of the later term is right; in the same term
    /// there is only one (Raft's election safety), so an answer fills what is not known.
    pub(crate) fn merge(&mut self, topology: Topology) {
        self.mail_shards = topology.mail_shards;
        self.endpoints
            .extend(topology.endpoints.into_iter().filter(|e| !e.is_empty()));
        for answer in topology.leaders {
            let shard = ShardId::new(answer.shard);
            let endpoint = Some(answer.endpoint).filter(|endpoint| !endpoint.is_empty());
            let known = self.leaders.entry(shard).or_insert(Leader {
                term: 0,
                endpoint: None,
            });
            let newer = answer.term > known.term;
            if newer || (answer.term == known.term && known.endpoint.is_none()) {
                *known = Leader {
                    term: answer.term,
                    endpoint,
                };
            }
        }
    }

    /// A node said who leads: believed until an answer of a later term.
    pub(crate) fn hint(&mut self, shard: ShardId, leader: String) {
        let known = self.leaders.entry(shard).or_insert(Leader {
            term: 0,
            endpoint: None,
        });
        self.endpoints.insert(leader.clone());
        known.endpoint = Some(leader);
    }

    /// An endpoint did not lead, or did not answer: it is asked last.
    pub(crate) fn forget(&mut self, shard: ShardId, endpoint: &str) {
        if let Some(known) = self.leaders.get_mut(&shard) {
            known.endpoint.take_if(|known| known == endpoint);
        }
    }

    /// A mail shard for a new letter: the preferred one, unless it is known to have no leader; else
    /// one of those with a leader, or of all. `random` decides. `None` before the first answer.
    pub(crate) fn choose(&self, preferred: Option<ShardId>, random: u64) -> Option<ShardId> {
        let all: Vec<_> = (1..=self.mail_shards).map(ShardId::new).collect();
        let led: Vec<_> = all
            .iter()
            .copied()
            .filter(|s| self.leader(*s).is_some())
            .collect();
        if let Some(shard) = preferred
            && all.contains(&shard)
            && (led.is_empty() || led.contains(&shard))
        {
            return Some(shard);
        }
        let from = if led.is_empty() { all } else { led };
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        from.get(usize::try_from(random % count).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use postino_proto::store::v1::ShardLeader;

    use super::*;

    fn answer(shard: u32, term: u64, endpoint: &str) -> Topology {
        Topology {
            mail_shards: 3,
            leaders: vec![ShardLeader {
                shard,
                term,
                endpoint: endpoint.into(),
            }],
            endpoints: vec!["a".into(), "b".into()],
            ..Topology::default()
        }
    }

    #[test]
    fn the_later_term_wins_and_the_same_term_fills() {
        let (mut view, shard) = (View::new(&["a".into()]), ShardId::new(1));
        view.merge(answer(1, 5, "a"));
        view.merge(answer(1, 4, "b"));
        assert_eq!(view.leader(shard), Some("a"));
        view.forget(shard, "b");
        assert_eq!(view.leader(shard), Some("a"));
        view.forget(shard, "a");
        assert_eq!(view.leader(shard), None);
        view.merge(answer(1, 4, "b"));
        assert_eq!(view.leader(shard), None);
        view.merge(answer(1, 5, "a"));
        assert_eq!(view.leader(shard), Some("a"));
        view.merge(answer(1, 6, ""));
        assert_eq!(view.leader(shard), None);
        view.hint(shard, "c".into());
        assert_eq!(view.leader(shard), Some("c"));
        assert_eq!(view.endpoints(), ["a", "b", "c"]);
    }

    #[test]
    fn new_letters_go_where_there_is_a_leader() {
        let mut view = View::default();
        assert_eq!(view.choose(None, 0), None);
        view.merge(answer(2, 1, "a"));
        assert_eq!(view.choose(None, 7), Some(ShardId::new(2)));
        assert_eq!(view.choose(Some(ShardId::new(3)), 7), Some(ShardId::new(2)));
        view.forget(ShardId::new(2), "a");
        assert_eq!(view.choose(Some(ShardId::new(3)), 7), Some(ShardId::new(3)));
        assert_eq!(
            view.choose(Some(ShardId::CONTROL), 1),
            Some(ShardId::new(2))
        );
    }
}
