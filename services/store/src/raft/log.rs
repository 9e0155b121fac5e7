//! The log of one shard, for openraft.
//!
//! Writes are ordered by being made one after another: openraft awaits each of
//! them, and the write-ahead log keeps the order, so a write that is durable has
//! everything before it durable too. Only appends and votes wait for the sync.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use postino_types::ShardId;

use super::codec;
use super::counters::Counters;
use super::reader::LogReader;
use super::release::Alive;
use super::retention::{Extent, Retention};
use super::rows;
use super::sync::{SyncOutcome, SyncQueue};
use super::types::{Config, Entry, LogId, Vote};
use crate::db::{Db, Family, KeyRange, Read, Space, Step};

/// One shard's log.
pub(crate) struct LogStore {
    db: Db,
    shard: ShardId,
    sync: SyncQueue,
    counters: Arc<Counters>,
    sync_times: Arc<SyncTimes>,
    retention: Arc<Retention>,
    message_bytes: usize,
    _alive: Alive,
}

impl LogStore {
    pub(crate) fn new(
        db: Db,
        shard: ShardId,
        sync: SyncQueue,
        counters: Arc<Counters>,
        retention: Arc<Retention>,
        message_bytes: usize,
        alive: Alive,
    ) -> Self {
        Self {
            db,
            shard,
            sync,
            counters,
            sync_times: Arc::default(),
            retention,
            message_bytes,
            _alive: alive,
        }
    }

    /// How long the latest syncs took, by the index they covered.
    pub(crate) fn sync_times(&self) -> Arc<SyncTimes> {
        Arc::clone(&self.sync_times)
    }

    fn reader(&self) -> LogReader {
        LogReader::new(self.db.clone(), self.shard, self.message_bytes)
    }

    /// Where the log lies. It moves when a snapshot is installed, while openraft writes nothing:
    /// the purge of what the snapshot holds waits for it, and all that follows waits for the purge.
    fn space(&self) -> io::Result<Space> {
        Ok(self.db.space(self.shard)?)
    }
}

fn io_result(outcome: SyncOutcome) -> io::Result<Duration> {
    outcome.map_err(|reason| io::Error::other(reason.to_string()))
}

impl RaftLogStorage<Config> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        let space = self.space()?;
        let purged = match self.db.get(Family::Raft, rows::purged_key(space))? {
            Some(row) => Some(codec::log_id_in(&rows::decode(&row)?)),
            None => None,
        };
        let log = KeyRange::prefix(space.key());
        let last = match self.db.first(Family::Log, log.reverse())? {
            Some(row) => Some(rows::decode_entry(&row.value)?.log_id),
            None => purged,
        };
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let mut batch = self.db.batch();
        let row = rows::encode(&codec::vote_out(vote));
        batch.put(Family::Raft, rows::vote_key(self.shard), row);
        self.db.step(Step::Vote, |db| db.write(batch))?;
        self.sync.synced().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let space = self.space()?;
        let mut batch = self.db.batch();
        let (mut log, mut bodies, mut last) = (Extent::default(), 0, 0);
        for entry in entries {
            let written = rows::put_entry(&mut batch, space, &entry)?;
            log.entries += 1;
            log.bytes += written.row;
            bodies += written.bodies;
            last = entry.log_id.index;
        }
        self.db.step(Step::Append, |db| db.write(batch))?;
        self.counters.appended(log.entries, log.bytes + bodies);
        self.retention.appended(last, log);
        let sync_times = Arc::clone(&self.sync_times);
        self.sync.after_sync(move |outcome| {
            if let Ok(took) = outcome {
                sync_times.record(last, took);
            }
            callback.io_completed(io_result(outcome).map(drop));
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        let space = self.space()?;
        let tail = KeyRange::prefix(space.key()).from(rows::log_key(space, from));
        let mut batch = self.db.batch();
        batch.delete_range(Family::Log, &tail);
        // Entries that are truncated were never applied, so nothing refers to their bodies.
        batch.delete_range(Family::Bodies, &tail);
        self.db.step(Step::Truncate, |db| db.write(batch))?;
        self.retention.truncated(from);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let space = self.space()?;
        let head = KeyRange::prefix(space.key()).below(rows::log_key(space, upto.index + 1));
        let mut batch = self.db.batch();
        // Bodies stay: they go with the last reference that the state has to them.
        batch.delete_range(Family::Log, &head);
        let row = rows::encode(&codec::log_id_out(&upto));
        batch.put(Family::Raft, rows::purged_key(space), row);
        self.db.step(Step::Purge, |db| db.write(batch))?;
        self.retention.purged(upto.index);
        Ok(())
    }
}

/// How long the syncs of the latest appends took.
#[derive(Default)]
pub(crate) struct SyncTimes {
    latest: Mutex<VecDeque<(u64, Duration)>>,
}

impl SyncTimes {
    /// More than the entries that can be on their way at once.
    const KEPT: usize = 64;

    fn record(&self, last_index: u64, took: Duration) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == Self::KEPT {
            latest.pop_front();
        }
        latest.push_back((last_index, took));
    }

    /// How long the sync took that made the entry at `index` durable here. `None`
    /// if a majority had it before this node did.
    pub(crate) fn of(&self, index: u64) -> Option<Duration> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest
            .iter()
            .find(|(last, _)| *last >= index)
            .map(|(_, took)| *took)
    }
}
