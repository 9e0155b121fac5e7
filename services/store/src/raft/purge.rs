//! Purging a shard's log once it is over its limits.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use postino_types::ShardId;
use tokio_util::sync::CancellationToken;

use super::reader;
use super::retention::Retention;
use super::types::Raft;
use crate::db::Db;

/// The pause between two looks at a log that is over its limits.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a purge may take to be begun.
const BEGIN: Duration = Duration::from_secs(10);

pub(crate) struct Purger {
    pub(crate) raft: Raft,
    pub(crate) shard: ShardId,
    pub(crate) retention: Arc<Retention>,
}

impl Purger {
    /// Purges until the node stops. `found` is the last index of the log that was there before.
    pub(crate) async fn run(self, db: Db, found: u64, closed: CancellationToken) {
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.keep_within_limits(db, found) => {}
        }
    }

    async fn keep_within_limits(&self, db: Db, found: u64) {
        let (shard, room) = (self.shard, db.room());
        let measured = tokio::task::spawn_blocking(move || reader::measure(&db, shard, found));
        match measured.await {
            Ok(Ok(entries)) => self.retention.found(entries),
            // Whoever needs the log will find out, and say so.
            Ok(Err(error)) => tracing::warn!(%shard, %error, "the log cannot be measured"),
            Err(error) => tracing::error!(%shard, %error, "the log was not measured"),
        }
        loop {
            self.retention.over().await;
            let has_room = room.borrow().is_ample();
            if let Some(upto) = self.due(has_room)
                && self.purge(upto).await.is_err()
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Up to where the log is to be purged now.
    fn due(&self, has_room: bool) -> Option<u64> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let applied = now.last_applied.map_or(0, |id| id.index);
        let followers = now.replication.as_ref().and_then(|replication| {
            let matched = replication.values();
            matched.map(|id| id.map_or(0, |id| id.index)).min()
        });
        self.retention.purge_upto(applied, followers, has_room)
    }

    /// openraft purges only what a snapshot includes, and ours is the state itself: it has to be
    /// told how far that has come.
    async fn purge(&self, upto: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.raft.trigger().snapshot().await?;
        let included = self
            .raft
            .wait(Some(BEGIN))
            .metrics(
                |now| now.snapshot.is_some_and(|id| id.index >= upto),
                "the state is described",
            )
            .await;
        // Later, then.
        if included.is_ok() {
            tracing::debug!(shard = %self.shard, upto, "purging the log");
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(())
    }
}
