//! Who this node is: written once, kept on its volume, never changed.
//!
//! The identity lies twice in the data directory: as a row of the database, and
//! as a small file beside it. A database that is empty beside a file that names a
//! node has lost that node's votes and log. Such a node must not vote again under
//! its id, since it could vote twice in a term, so it does not start at all.

mod cluster_id;
mod marker;

use std::path::Path;

use postino_proto::cluster::v1 as proto;
use postino_types::{NodeId, ShardId};
use prost::Message;

pub use cluster_id::{ClusterId, ClusterIdError};

use crate::db::{Db, DbError, Family, Read};

const KEY: &[u8] = b"identity";
const VERSION: u8 = 1;

/// Mail shards that a cluster may have.
pub const MAX_SHARDS: u32 = 1024;

/// Who a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node in it.
    pub node: NodeId,
    /// The cluster's mail shards, numbered from 1; the control group comes on top.
    pub shard_count: u32,
}

/// Why the identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The database has no identity, or another, while the marker names this one.
    #[error(
        "the data directory was {marker}, but its database is not: its votes and log are lost, \
         and it must not come back under its id; empty the directory and add it as a new node"
    )]
    StateLost {
        /// What the marker says.
        marker: String,
    },
    /// The node has an identity already.
    #[error("this node already belongs to cluster {0}")]
    Exists(ClusterId),
    /// The number of shards is zero or too large.
    #[error("a cluster has 1 to {MAX_SHARDS} shards, not {0}")]
    ShardCount(u32),
    /// The identity's row or message cannot be read.
    #[error("the identity cannot be read: {0}")]
    Corrupt(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The marker could not be read or written.
    #[error("the identity marker: {0}")]
    Io(#[from] std::io::Error),
}

/// Moves the marker into another directory: the node that lived here is to be forgotten.
pub(crate) fn set_aside(directory: &Path, aside: &Path) -> std::io::Result<()> {
    marker::move_to(directory, aside)
}

impl Identity {
    /// The identity of a new cluster's first node.
    pub fn first(shard_count: u32) -> Result<Self, IdentityError> {
        Self::new(ClusterId::random()?, NodeId::new(1), shard_count)
    }

    /// The identity of a node in a cluster.
    pub fn new(cluster: ClusterId, node: NodeId, shard_count: u32) -> Result<Self, IdentityError> {
        if shard_count == 0 || shard_count > MAX_SHARDS {
            return Err(IdentityError::ShardCount(shard_count));
        }
        Ok(Self {
            cluster,
            node,
            shard_count,
        })
    }

    /// Every group: the control group, then the mail shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..=self.shard_count).map(ShardId::new)
    }

    /// The mail shards.
    pub fn mail_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (1..=self.shard_count).map(ShardId::new)
    }

    /// Reads the identity of the node whose data lies in `directory`; `None` for a
    /// node that belongs to no cluster yet.
    pub fn load(db: &Db, directory: &Path) -> Result<Option<Self>, IdentityError> {
        let marker = marker::read(directory)?;
        let identity = match db.get(Family::Meta, KEY)? {
            Some(row) => Some(decode(&row)?),
            None => None,
        };
        match (identity, marker) {
            (None, None) => Ok(None),
            (Some(identity), Some(marker)) if marker == identity.to_string() => Ok(Some(identity)),
            // The row is written first, so a crash in between leaves no marker.
            (Some(identity), None) => {
                marker::write(directory, &identity.to_string())?;
                Ok(Some(identity))
            }
            (_, Some(marker)) => Err(IdentityError::StateLost { marker }),
        }
    }

    /// Writes the identity of a node that has none, durably.
    pub fn store(&self, db: &Db, directory: &Path) -> Result<(), IdentityError> {
        if let Some(known) = Self::load(db, directory)? {
            return Err(IdentityError::Exists(known.cluster));
        }
        let mut row = vec![VERSION];
        row.extend(proto::Identity::from(*self).encode_to_vec());
        let mut batch = db.batch();
        batch.put(Family::Meta, KEY, row);
        db.write(batch)?;
        db.sync_wal()?;
        Ok(marker::write(directory, &self.to_string())?)
    }
}

fn decode(row: &[u8]) -> Result<Identity, IdentityError> {
    let corrupt = |what: &dyn std::fmt::Display| IdentityError::Corrupt(what.to_string());
    let message = match row.split_first() {
        Some((&VERSION, message)) => message,
        Some((version, _)) => return Err(corrupt(&format!("unknown version {version}"))),
        None => return Err(corrupt(&"it is empty")),
    };
    let message = proto::Identity::decode(message).map_err(|error| corrupt(&error))?;
    Identity::try_from(&message)
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)
    }
}

impl From<Identity> for proto::Identity {
    fn from(identity: Identity) -> Self {
        Self {
            cluster_id: identity.cluster.to_bytes(),
            node_id: identity.node.get(),
            shard_count: identity.shard_count,
        }
    }
}

impl TryFrom<&proto::Identity> for Identity {
    type Error = IdentityError;

    fn try_from(message: &proto::Identity) -> Result<Self, IdentityError> {
        let cluster = ClusterId::from_bytes(&message.cluster_id)
            .map_err(|error| IdentityError::Corrupt(error.to_string()))?;
        if message.node_id == 0 {
            return Err(IdentityError::Corrupt("node 0".to_owned()));
        }
        Self::new(cluster, NodeId::new(message.node_id), message.shard_count)
    }
}

#[cfg(test)]
mod tests;
