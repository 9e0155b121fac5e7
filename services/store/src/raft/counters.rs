//! What the replicated log counts: syncs, their time, and what each made durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the log of this node has done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    synced_writes: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterSnapshot {
    /// Times the write-ahead log was synced.
    pub syncs: u64,
    /// Microseconds spent in it.
    pub sync_micros: u64,
    /// Appends and votes that those syncs made durable.
    pub synced_writes: u64,
    /// Log entries appended, over all shards.
    pub entries: u64,
    /// Bytes of entries and bodies appended.
    pub bytes: u64,
}

impl Counters {
    pub(crate) fn synced(&self, writes: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.synced_writes
            .fetch_add(writes as u64, Ordering::Relaxed);
    }

    pub(crate) fn appended(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The numbers as they are now.
    pub fn snapshot(&self) -> CounterSnapshot {
        CounterSnapshot {
            syncs: self.syncs.load(Ordering::Relaxed),
            sync_micros: self.sync_micros.load(Ordering::Relaxed),
            synced_writes: self.synced_writes.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
