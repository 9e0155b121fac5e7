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
mod range;
mod read;
mod settings;
mod space;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use postino_types::ShardId;

pub use batch::WriteBatch;
pub use error::DbError;
pub use family::Family;
pub use range::{Direction, KeyRange};
pub use read::{LentRow, Read, Row, Scan, Snapshot};
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
    generations: RwLock<HashMap<ShardId, u32>>,
}

impl Db {
    /// Opens the database in `directory`, which is made if it is missing.
    ///
    /// Replays the write-ahead log. A log that is damaged anywhere but in its very
    /// tail is an error: what was synced must be there, or the replica is not the
    /// one that voted.
    pub fn open(directory: &Path, settings: &DbSettings) -> Result<Self, DbError> {
        let families = family::descriptors(settings);
        let rocks =
            rocksdb::DB::open_cf_descriptors(&settings.database_options(), directory, families)?;
        Ok(Self {
            inner: Arc::new(Inner {
                rocks,
                path: directory.to_owned(),
                generations: RwLock::new(HashMap::new()),
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
        Ok(self.inner.rocks.write(batch.into_rocks())?)
    }

    /// Makes everything written so far durable.
    pub fn sync_wal(&self) -> Result<(), DbError> {
        Ok(self.inner.rocks.flush_wal(true)?)
    }

    /// A view of the database as it is now, which later writes do not change.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(self)
    }

    /// The current range of a shard.
    pub fn space(&self, shard: ShardId) -> Result<Space, DbError> {
        if let Some(generation) = self.generations_read().get(&shard) {
            return Ok(Space::new(shard, *generation));
        }
        let generation = match self.get(Family::Meta, Space::generation_key(shard))? {
            None => Space::FIRST_GENERATION,
            Some(row) => u32::from_be_bytes(
                row.as_ref()
                    .try_into()
                    .map_err(|_| DbError::corrupt("the generation of a shard"))?,
            ),
        };
        self.inner
            .generations
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(shard, generation);
        Ok(Space::new(shard, generation))
    }

    fn generations_read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<ShardId, u32>> {
        self.inner
            .generations
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
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

    fn handle(&self, family: Family) -> &rocksdb::ColumnFamily {
        self.inner
            .rocks
            .cf_handle(family.name())
            .expect("every family was opened with the database")
    }
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
