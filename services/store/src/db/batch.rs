//! Writes to several families that happen together or not at all.

use super::{Db, Family, KeyRange};

/// Writes that happen together or not at all.
pub struct WriteBatch {
    db: Db,
    rocks: rocksdb::WriteBatch,
}

impl WriteBatch {
    pub(super) fn new(db: Db) -> Self {
        Self {
            db,
            rocks: rocksdb::WriteBatch::default(),
        }
    }

    pub(super) fn into_rocks(self) -> rocksdb::WriteBatch {
        self.rocks
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.rocks.put_cf(self.db.handle(family), key, value);
    }

    /// Removes a row; one that is not there is no error.
    pub fn delete(&mut self, family: Family, key: impl AsRef<[u8]>) {
        self.rocks.delete_cf(self.db.handle(family), key);
    }

    /// Removes every row of a range. Cheap to write, but each such range costs
    /// later reads near it a little: for many rows at once, not for one or two.
    /// An unbounded range is cut at 64 bytes of `0xff`, behind every key we write.
    pub fn delete_range(&mut self, family: Family, range: &KeyRange) {
        let end = range.end.clone().unwrap_or_else(|| vec![u8::MAX; 64]);
        self.rocks
            .delete_range_cf(self.db.handle(family), range.start.clone(), end);
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.rocks.len()
    }

    /// Whether it holds no writes.
    pub fn is_empty(&self) -> bool {
        self.rocks.is_empty()
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.rocks.size_in_bytes()
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBatch")
            .field("len", &self.len())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
