//! One RocksDB per node: every shard's log, bodies and state, behind one write-ahead log.
//!
//! [`Db`] is a cheap handle. Everything that belongs to a shard lies under its
//! [`Space`], so that a shard is a range; everything of one kind lies in its
//! [`Family`], so that each kind is stored the way it is used. Reads go through
//! [`Read`], which the database and a consistent [`Snapshot`] share.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use postino_store::db::{Db, DbSettings, Family, KeyRange, Read};
//! use postino_types::ShardId;
//! # let dir = tempfile::tempdir()?;
//! let db = Db::open(dir.path(), &DbSettings::default())?;
//! let space = db.space(ShardId::new(3))?;
//!
//! let mut batch = db.batch();
//! batch.put(Family::Mailbox, space.key().u64(7).text("INBOX"), b"row");
//! db.write(batch)?; // all of it or none; durable with the next sync_wal
//!
//! let snapshot = db.snapshot();
//! let mut rows = snapshot.scan(Family::Mailbox, KeyRange::prefix(space.key().u64(7)));
//! while let Some((key, value)) = rows.advance()? {
//!     println!("{key:?} {value:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Writes are never synced one by one: a row is durable once the group commit of
//! [`crate::raft`] has synced the log past it, and rows become durable in the
//! order in which they were written.

mod batch;
mod error;
mod family;
mod fault;
mod generation;
mod ingest;
mod range;
mod read;
mod room;
mod settings;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

pub use batch::WriteBatch;
pub use error::DbError;
pub use family::Family;
use family::Merging;
pub(crate) use fault::Step;
#[cfg(test)]
pub(crate) use fault::{Faults, Image, Point};
use generation::Generations;
pub use generation::NewGeneration;
pub use ingest::{SortedFile, SortedFiles};
pub use range::{Direction, KeyRange};
pub use read::{LentRow, Read, Row, Scan, Snapshot};
pub use room::{Room, RoomSettings, RoomWatch};
pub use settings::DbSettings;
pub use space::{Key, Space};

/// The node's database. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    rocks: rocksdb::DB,
    path: PathBuf,
    /// Which generation of each shard is the current one (see [`Space`]).
    generations: Generations,
    /// How much room the disk has, as the last look found it.
    room: watch::Sender<Room>,
    /// What was found to be damaged, once something was.
    damage: watch::Sender<Option<String>>,
    /// Why a write failed, once one did.
    failure: watch::Sender<Option<String>>,
    #[cfg(test)]
    faults: Faults,
}

impl Db {
    /// Opens the database in `directory`, which is made if it is missing.
    ///
    /// Replays the write-ahead log. A log that is damaged anywhere but in its very
    /// tail is an error: what was synced must be there, or the replica is not the
    /// one that voted.
    pub fn open(directory: &Path, settings: &DbSettings) -> Result<Self, DbError> {
        Self::open_merging(directory, settings, Merging::Automatic)
    }

    /// The same, without anything that goes on in the background.
    #[cfg(test)]
    pub(crate) fn open_still(directory: &Path) -> Result<Self, DbError> {
        Self::open_merging(directory, &DbSettings::default(), Merging::Never)
    }

    fn open_merging(
        directory: &Path,
        settings: &DbSettings,
        merging: Merging,
    ) -> Result<Self, DbError> {
        let families = family::descriptors(settings, merging);
        let rocks =
            rocksdb::DB::open_cf_descriptors(&settings.database_options(), directory, families)?;
        Ok(Self {
            inner: Arc::new(Inner {
                rocks,
                path: directory.to_owned(),
                generations: Generations::default(),
                room: watch::Sender::new(Room::Ample),
                damage: watch::Sender::new(None),
                failure: watch::Sender::new(None),
                #[cfg(test)]
                faults: Faults::default(),
            }),
        })
    }

    /// Where the database lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A new, empty batch of writes.
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(self.clone())
    }

    /// Writes a batch, all of it or nothing, without waiting for the disk.
    pub fn write(&self, batch: WriteBatch) -> Result<(), DbError> {
        let written = self.checked(self.inner.rocks.write(batch.into_rocks()));
        if let Err(error) = &written {
            first(&self.inner.failure, error);
        }
        written
    }

    /// Writes a batch and returns once it is durable, by RocksDB's own means. The store never does
    /// this: it is what the group commit is measured against.
    pub fn write_synced(&self, batch: WriteBatch) -> Result<(), DbError> {
        let mut synced = rocksdb::WriteOptions::default();
        synced.set_sync(true);
        Ok(self.inner.rocks.write_opt(batch.into_rocks(), &synced)?)
    }

    /// Makes everything written so far durable.
    pub fn sync_wal(&self) -> Result<(), DbError> {
        let flush = || self.inner.rocks.flush_wal(true);
        self.checked(self.step(Step::Sync, |db| db.sync_by(flush)))
    }

    /// A view of the database as it is now, which later writes do not change.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(self)
    }

    /// Writes the memory tables to files; for tests and for an orderly stop.
    pub fn flush(&self) -> Result<(), DbError> {
        let handles: Vec<_> = Family::ALL.iter().map(|f| self.handle(*f)).collect();
        Ok(self
            .inner
            .rocks
            .flush_cfs_opt(&handles, &rocksdb::FlushOptions::default())?)
    }

    /// A number that RocksDB keeps about one family, such as
    /// `rocksdb.estimate-live-data-size`; `None` if it knows no such number.
    pub fn property(&self, family: Family, name: &str) -> Result<Option<u64>, DbError> {
        Ok(self
            .inner
            .rocks
            .property_int_value_cf(self.handle(family), name)?)
    }

    /// Why a write failed, once one did. Groups whose write it was go no further, in this process.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.inner.failure.subscribe()
    }

    /// What was found to be damaged on the disk: nothing at first.
    pub fn damage(&self) -> watch::Receiver<Option<String>> {
        self.inner.damage.subscribe()
    }

    /// Lets whoever waits for [`Db::damage`] know if something did not have its checksum.
    fn checked<T>(&self, outcome: Result<T, rocksdb::Error>) -> Result<T, DbError> {
        outcome.map_err(|error| {
            let error = DbError::from(error);
            if error.is_damage() {
                first(&self.inner.damage, &error);
            }
            error
        })
    }

    /// What RocksDB tells of itself in words, such as `rocksdb.dbstats`; `None` if it knows no such
    /// text.
    pub fn statistics(&self, name: &str) -> Result<Option<String>, DbError> {
        Ok(self.inner.rocks.property_value(name)?)
    }

    fn handle(&self, family: Family) -> &rocksdb::ColumnFamily {
        self.inner
            .rocks
            .cf_handle(family.name())
            .expect("every family was opened with the database")
    }
}

/// Tells of an error, if it is the first.
fn first(told: &watch::Sender<Option<String>>, error: &DbError) {
    told.send_if_modified(|known| {
        let is_first = known.is_none();
        known.get_or_insert_with(|| error.to_string());
        is_first
    });
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
