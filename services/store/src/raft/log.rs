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
use tokio::sync::oneshot;

use super::codec;
use super::counters::Counters;
use super::reader::LogReader;
use super::rows;
use super::sync::{SyncOutcome, SyncQueue};
use super::types::{Config, Entry, LogId, Vote};
use crate::db::{Db, Family, KeyRange, Read, Space};

/// One shard's log.
pub(crate) struct LogStore {
    db: Db,
    space: Space,
    sync: SyncQueue,
    counters: Arc<Counters>,
    sync_times: Arc<SyncTimes>,
    message_bytes: usize,
}

impl LogStore {
    pub(crate) fn new(
        db: Db,
        space: Space,
        sync: SyncQueue,
        counters: Arc<Counters>,
        message_bytes: usize,
    ) -> Self {
        Self {
            db,
            space,
            sync,
            counters,
            sync_times: Arc::default(),
            message_bytes,
        }
    }

    /// How long the latest syncs took, by the index they covered.
    pub(crate) fn sync_times(&self) -> Arc<SyncTimes> {
        Arc::clone(&self.sync_times)
    }

    fn reader(&self) -> LogReader {
        LogReader::new(self.db.clone(), self.space, self.message_bytes)
    }

    fn everything(&self) -> KeyRange {
        KeyRange::prefix(self.space.key())
    }
}

fn io_result(outcome: SyncOutcome) -> io::Result<Duration> {
    outcome.map_err(|reason| io::Error::other(reason.to_string()))
}

impl RaftLogStorage<Config> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        let purged = match self.db.get(Family::Raft, rows::purged_key(self.space))? {
            Some(row) => Some(codec::log_id_in(&rows::decode(&row)?)),
            None => None,
        };
        let last = match self.db.first(Family::Log, self.everything().reverse())? {
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
        batch.put(Family::Raft, rows::vote_key(self.space.shard()), row);
        self.db.write(batch)?;
        let (done, synced) = oneshot::channel();
        self.sync.after_sync(move |outcome| {
            // A receiver that is gone belonged to a group that has been shut down.
            let _ = done.send(outcome);
        });
        let outcome = synced
            .await
            .map_err(|_| io::Error::other("the sync thread has ended"))?;
        io_result(outcome).map(drop)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = self.db.batch();
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        for entry in entries {
            bytes += rows::put_entry(&mut batch, self.space, &entry)?;
            last = entry.log_id.index;
            count += 1;
        }
        self.db.write(batch)?;
        self.counters.appended(count, bytes);
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
        let tail = self.everything().from(rows::log_key(self.space, from));
        let mut batch = self.db.batch();
        batch.delete_range(Family::Log, &tail);
        // Entries that are truncated were never applied, so nothing refers to their bodies.
        batch.delete_range(Family::Bodies, &tail);
        Ok(self.db.write(batch)?)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let head = self.everything();
        let head = head.below(rows::log_key(self.space, upto.index + 1));
        let mut batch = self.db.batch();
        // Bodies stay: the state refers to them.
        batch.delete_range(Family::Log, &head);
        let row = rows::encode(&codec::log_id_out(&upto));
        batch.put(Family::Raft, rows::purged_key(self.space), row);
        Ok(self.db.write(batch)?)
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
