//! Snapshots on their way: how much of each has left, for whoever waits for its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postino_types::{NodeId, ShardId};

/// What a node is sending, by shard and receiver.
#[derive(Default)]
pub(crate) struct Shipments {
    sent: Mutex<HashMap<(ShardId, NodeId), u64>>,
}

/// One of them; it is over when this is dropped.
pub(crate) struct Shipping {
    shipments: Arc<Shipments>,
    what: (ShardId, NodeId),
}

impl Shipments {
    /// Takes down that a snapshot begins to leave.
    pub(crate) fn begin(self: &Arc<Self>, shard: ShardId, to: NodeId) -> Shipping {
        let what = (shard, to);
        self.lock().insert(what, 0);
        Shipping {
            shipments: Arc::clone(self),
            what,
        }
    }

    /// Bytes that have left; 0 when nothing is on its way.
    pub(crate) fn sent(&self, shard: ShardId, to: NodeId) -> u64 {
        self.lock().get(&(shard, to)).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ShardId, NodeId), u64>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shipping {
    /// Takes down that so many bytes more have left.
    pub(crate) fn add(&self, bytes: usize) {
        if let Some(sent) = self.shipments.lock().get_mut(&self.what) {
            *sent += bytes as u64;
        }
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.shipments.lock().remove(&self.what);
    }
}
