//! Where the other nodes of the cluster are, as this one last heard: kept on its volume, since a
//! node without a replica knows of nobody when it starts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use postino_proto::cluster::v1 as proto;
use postino_types::NodeId;
use prost::Message;

use super::service::{node_in, node_out};
use crate::db::{Db, Family, Read};
use crate::raft::NodeAddress;

const KEY: &[u8] = b"peers";
const VERSION: u8 = 1;

/// The nodes of the cluster and their endpoints.
pub(crate) struct Peers {
    db: Db,
    known: Mutex<BTreeMap<NodeId, String>>,
}

impl Peers {
    /// What was known when the node last ran. It is a hint: what cannot be read is forgotten.
    pub(super) fn load(db: Db) -> Self {
        let row = db.get(Family::Meta, KEY).ok().flatten();
        let known = row.map(|row| decode(&row)).unwrap_or_default();
        Self {
            db,
            known: Mutex::new(known),
        }
    }

    /// Every node that is known, this one among them.
    pub(crate) fn all(&self) -> Vec<NodeAddress> {
        let known = self.known();
        let address = |(id, endpoint): (&NodeId, &String)| NodeAddress {
            id: *id,
            endpoint: endpoint.clone(),
        };
        known.iter().map(address).collect()
    }

    /// Takes down what the nodes are now. Nothing is written if that is no news.
    pub(crate) fn learn(&self, nodes: Vec<NodeAddress>) {
        let nodes: BTreeMap<NodeId, String> = nodes
            .into_iter()
            .map(|node| (node.id, node.endpoint))
            .collect();
        let mut known = self.known();
        if *known == nodes || nodes.is_empty() {
            return;
        }
        let mut batch = self.db.batch();
        batch.put(Family::Meta, KEY, encode(&nodes));
        // Lost, it is heard again; so there is no reason to wait for a sync.
        if let Err(error) = self.db.write(batch) {
            tracing::warn!(%error, "the nodes of the cluster could not be written down");
        }
        *known = nodes;
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(nodes: &BTreeMap<NodeId, String>) -> Vec<u8> {
    let node = |(id, endpoint): (&NodeId, &String)| {
        node_out(NodeAddress {
            id: *id,
            endpoint: endpoint.clone(),
        })
    };
    let message = proto::Peers {
        nodes: nodes.iter().map(node).collect(),
    };
    let mut row = vec![VERSION];
    row.extend(message.encode_to_vec());
    row
}

fn decode(row: &[u8]) -> BTreeMap<NodeId, String> {
    let message = match row.split_first() {
        Some((&VERSION, message)) => proto::Peers::decode(message).unwrap_or_default(),
        _ => proto::Peers::default(),
    };
    let nodes = message.nodes.into_iter().map(node_in);
    nodes.map(|node| (node.id, node.endpoint)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbSettings;

    #[test]
    fn the_row_is_golden() {
        let nodes = BTreeMap::from([
            (NodeId::new(1), "a".to_owned()),
            (NodeId::new(300), "b".to_owned()),
        ]);
        let golden = b"\x01\x0a\x05\x08\x01\x12\x01a\x0a\x06\x08\xac\x02\x12\x01b";
        assert_eq!(encode(&nodes), golden);
        assert_eq!(decode(golden), nodes);
        // Of another version, or not readable: forgotten.
        assert_eq!(decode(b"\x02\x0a"), BTreeMap::new());
        assert_eq!(decode(b"\x01\x0a"), BTreeMap::new());
        // A later version may say more.
        let more = [&golden[..], b"\xa0\x06\x01"].concat();
        assert_eq!(decode(&more), nodes);
    }

    #[test]
    fn what_was_learnt_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let peers = Peers::load(db.clone());
        assert_eq!(peers.all(), []);
        let node = NodeAddress {
            id: NodeId::new(4),
            endpoint: "http://a:1".into(),
        };
        peers.learn(vec![node.clone()]);
        // Nobody is no news.
        peers.learn(Vec::new());
        assert_eq!(Peers::load(db).all(), [node]);
    }
}
