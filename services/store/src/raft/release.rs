//! Letting go of a replica that this node holds no longer: its rows are freed, and the group waits,
//! empty, until the node is made a member once more.
//!
//! Two things outlive the rows. The vote, as it outlives everything: a node never votes twice in a
//! term. And the entry with which the node ceased to be a member: until its log reaches that entry
//! again, it is mute, as if it were away. It votes for nobody: otherwise it could help somebody to the
//! lead who knows older members, and lacks what this node once helped to commit. And it does not stand
//! for election: a log that is sent from its beginning tells of those members one after the other, and
//! among them this node may have been the only one. An entry of a later term is as good: whoever led
//! that term had everything that was committed before.

use std::future::Future;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use postino_types::ShardId;
use tokio::sync::mpsc;

use super::error::RaftError;
use super::group::Group;
use super::node::RaftNode;
use super::rows;
use super::types::{LogId, Raft};
use crate::db::{Db, DbError, Family, Read};

/// How long a replica that ends may take until nothing of it writes any more.
const END: Duration = Duration::from_secs(30);

/// Held by whatever may write for a replica.
pub(crate) type Alive = mpsc::Sender<()>;

/// A place in a log; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl From<LogId> for Place {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            index: id.index,
        }
    }
}

impl RaftNode {
    /// Lets go of the replica of a shard. `confirm` says where in the log the membership stands that
    /// this node is no part of, as the shard's leader knows it, and committed; or `None`, and
    /// everything stays. True if the rows go; one replica at a time, so also false while another is
    /// let go.
    ///
    /// It counts only once the replica takes nothing in any more, since what a leader has heard from
    /// a replica must stay true: one that was made a member meanwhile must not forget. It is asked
    /// before, too, so that no member is ended for nothing.
    pub(crate) async fn release<F>(
        &self,
        shard: ShardId,
        confirm: impl Fn() -> F,
    ) -> Result<bool, RaftError>
    where
        F: Future<Output = Option<Place>>,
    {
        let Ok(_one) = self.inner.releasing.try_lock() else {
            return Ok(false);
        };
        let Some(group) = self.group(shard) else {
            return Ok(false);
        };
        // A snapshot on its way here says that it is wanted.
        let Ok(_none) = group.receiving().try_lock() else {
            return Ok(false);
        };
        if group.status().last_index == 0 || confirm().await.is_none() {
            return Ok(false);
        }
        self.end(&group).await?;
        let removed_at = confirm().await;
        if let Some(removed_at) = removed_at {
            let db = self.db().clone();
            let forgotten = tokio::task::spawn_blocking(move || forget(&db, shard, removed_at));
            let failed = |reason: String| RaftError::Group { shard, reason };
            let forgotten = forgotten.await.map_err(|error| failed(error.to_string()))?;
            forgotten?;
            tracing::info!(%shard, ?removed_at, "a replica that this node holds no longer is let go");
        }
        let anew = self.inner.starter.start(shard).await?;
        self.replace(anew);
        Ok(removed_at.is_some())
    }

    /// Ends a replica, until nothing of it writes any more.
    async fn end(&self, group: &Group) -> Result<(), RaftError> {
        group.end().await;
        let ended = tokio::time::timeout(END, group.ended()).await;
        ended.map_err(|_| RaftError::Group {
            shard: group.shard(),
            reason: "it does not end; start the process again".to_owned(),
        })
    }
}

/// Makes an empty generation the shard's. Durable when this returns.
fn forget(db: &Db, shard: ShardId, removed_at: Place) -> Result<(), DbError> {
    let empty = db.new_generation(shard)?;
    db.sync_wal()?;
    let mut batch = db.batch();
    batch.put(
        Family::Raft,
        rows::removed_key(shard),
        rows::place(removed_at),
    );
    empty.flip(batch)?;
    db.sync_wal()
}

/// The end of a replica's log.
pub(super) fn log_end(raft: &Raft) -> Place {
    let metrics = raft.data_metrics();
    let last = metrics.borrow_watched().last_log;
    last.map_or(Place::default(), Place::from)
}

/// Has a replica that is mute stand for election from when its log has reached that entry.
pub(super) async fn unmute(raft: Raft, removed_at: Place) {
    let mut metrics = raft.data_metrics();
    while log_end(&raft) < removed_at {
        // Ends with the group.
        if metrics.changed().await.is_err() {
            return;
        }
    }
    raft.runtime_config().elect(true);
}

/// The entry with which this node had ceased to be a member when it let its rows go; the very first
/// place if it never did.
pub(crate) fn removed_at(db: &Db, shard: ShardId) -> Result<Place, DbError> {
    let row = db.get(Family::Raft, rows::removed_key(shard))?;
    row.map_or(Ok(Place::default()), |row| {
        rows::parse_place(&row).map_err(DbError::corrupt)
    })
}
