//! Where the nodes of the cluster are.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{PoisonError, RwLock};

use postino_types::NodeId;

/// A store node and where it serves gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub id: NodeId,
    /// Its endpoint, a URL such as `http://10.0.0.7:7000`.
    pub endpoint: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} at {}", self.id, self.endpoint)
    }
}

/// Where peers said they are, and whose disk is full. A membership records where a
/// node was when it joined; a node that came back elsewhere says so when it connects.
#[derive(Default)]
pub(crate) struct AddressBook {
    announced: RwLock<HashMap<NodeId, String>>,
    full: RwLock<HashSet<NodeId>>,
}

impl AddressBook {
    /// Takes down what `id` said of itself. Returns whether that is news.
    pub(crate) fn announce(&self, id: NodeId, endpoint: &str) -> bool {
        if endpoint.is_empty() {
            return false;
        }
        let mut announced = self
            .announced
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = announced.insert(id, endpoint.to_owned());
        before.as_deref() != Some(endpoint)
    }

    /// Takes down whether the disk of `id` is full.
    pub(crate) fn announce_disk(&self, id: NodeId, full: bool) {
        if self.has_full_disk(id) != full {
            let mut known = self.full.write().unwrap_or_else(PoisonError::into_inner);
            match full {
                true => known.insert(id),
                false => known.remove(&id),
            };
        }
    }

    /// Whether the disk of `id` was full when it answered last.
    pub(crate) fn has_full_disk(&self, id: NodeId) -> bool {
        let known = self.full.read().unwrap_or_else(PoisonError::into_inner);
        known.contains(&id)
    }

    /// Where `id` is: what it said last, or else `recorded`.
    pub(crate) fn resolve(&self, id: NodeId, recorded: &str) -> String {
        self.announced
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .map_or_else(|| recorded.to_owned(), Clone::clone)
    }
}
