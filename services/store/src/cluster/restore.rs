//! Making a cluster that begins with the state of a backup.
//!
//! No group runs while its rows come, and nothing but the identity, written last, makes the node
//! one of a cluster. Until then a row says that a restore is under way; a node that finds it and has
//! no identity was interrupted, and takes nothing but another restore.

use std::sync::Arc;

use postino_proto::raft::v1::SnapshotPart;
use postino_types::ShardId;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Cluster, ClusterError, FIRST_NODE};
use crate::backup::Renewal;
use crate::db::{Db, DbError, Family, Read};
use crate::identity::{ClusterId, Identity, IdentityError};
use crate::raft::{Machine, NodeAddress, Seed, SnapshotError, seed};

const UNDER_WAY: &[u8] = b"restoring";

/// Why a node cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What came is not what was sent, or cannot be written.
    #[error("the backup cannot be taken in: {0}")]
    Rows(String),
    /// The node's part in the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl From<SnapshotError> for RestoreError {
    fn from(error: SnapshotError) -> Self {
        Self::Rows(error.to_string())
    }
}

impl From<DbError> for RestoreError {
    fn from(error: DbError) -> Self {
        Self::Rows(error.to_string())
    }
}

impl From<IdentityError> for RestoreError {
    fn from(error: IdentityError) -> Self {
        Self::Cluster(error.into())
    }
}

/// A restore under way. Nobody else changes the node's cluster meanwhile.
pub(crate) struct Restoring {
    cluster: Cluster,
    changing: Arc<OwnedMutexGuard<()>>,
    identity: Identity,
}

/// Whether a restore was interrupted on a node that has no identity.
pub(super) fn is_under_way(db: &Db) -> Result<bool, DbError> {
    Ok(Read::get(db, Family::Meta, UNDER_WAY)?.is_some())
}

impl Cluster {
    /// Starts to take a backup in, on a node that belongs to no cluster.
    pub(crate) async fn begin_restore(&self, shard_count: u32) -> Result<Restoring, RestoreError> {
        let changing = Arc::clone(&self.inner.changing).lock_owned().await;
        let parts = &self.inner.parts;
        let identity = Identity::new(
            ClusterId::random().map_err(IdentityError::from)?,
            FIRST_NODE,
            shard_count,
        )?;
        if let Some(known) = Identity::load(&parts.db, &parts.directory)? {
            return Err(IdentityError::Exists(known.cluster).into());
        }
        let mut batch = parts.db.batch();
        batch.put(Family::Meta, UNDER_WAY, b"");
        parts.db.write(batch)?;
        parts.db.sync_wal()?;
        // What an interrupted restore left.
        parts.db.clear_sorted_files()?;
        let db = parts.db.clone();
        let swept = tokio::task::spawn_blocking(move || db.sweep()).await;
        swept.map_err(|error| RestoreError::Rows(error.to_string()))??;
        Ok(Restoring {
            cluster: self.clone(),
            changing: Arc::new(changing),
            identity,
        })
    }
}

impl Restoring {
    /// A task that takes one shard in, whose rows include the log up to this term and index.
    pub(crate) fn shard(
        &self,
        shard: ShardId,
        (term, index): (u64, u64),
        now_ms: u64,
        parts: mpsc::Receiver<SnapshotPart>,
    ) -> tokio::task::JoinHandle<Result<(), RestoreError>> {
        let cluster = &self.cluster.inner.parts;
        let db = cluster.db.clone();
        let seed = Seed {
            shard,
            term,
            index,
            member: NodeAddress {
                id: self.identity.node,
                endpoint: cluster.endpoint.clone(),
            },
        };
        let (machine, changing) = (Arc::clone(&cluster.machine), Arc::clone(&self.changing));
        tokio::task::spawn_blocking(move || {
            let taken = take_in(&db, &*machine, &seed, now_ms, parts);
            // Whoever asked may have gone; nobody else begins before this has ended.
            drop(changing);
            taken
        })
    }

    /// Makes the node the first one of the new cluster, once all shards are in. Goes on to the end,
    /// whether or not anybody waits for it.
    pub(crate) async fn finish(self) -> Result<Identity, RestoreError> {
        let finished = tokio::spawn(self.found()).await;
        finished.map_err(|error| RestoreError::Rows(error.to_string()))?
    }

    async fn found(self) -> Result<Identity, RestoreError> {
        let parts = &self.cluster.inner.parts;
        self.identity.store(&parts.db, &parts.directory)?;
        let mut batch = parts.db.batch();
        batch.delete(Family::Meta, UNDER_WAY);
        parts.db.write(batch)?;
        self.cluster.start(self.identity).await?;
        Ok(self.identity)
    }
}

fn take_in(
    db: &Db,
    machine: &dyn Machine,
    from: &Seed,
    now_ms: u64,
    parts: mpsc::Receiver<SnapshotPart>,
) -> Result<(), RestoreError> {
    let mut renewal = Renewal::new(from.shard, now_ms);
    seed(db, machine, from, parts, &mut |family, key, value| {
        renewal.row(family, key, value)
    })?;
    Ok(())
}
