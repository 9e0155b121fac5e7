//! Reading: single rows and ranges, of the database or of a snapshot.

use bytes::Bytes;
use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::{Db, DbError, Direction, Family, KeyRange};

/// Reading rows, from the database as it is or from a [`Snapshot`] of it.
pub trait Read {
    /// A row's value.
    fn get(&self, family: Family, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, DbError>;

    /// The values of many rows, in the order of their keys in `keys`. `sorted`
    /// keys are found faster.
    fn multi_get(
        &self,
        family: Family,
        keys: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Option<Bytes>>, DbError>;

    /// The rows of a range, in its direction.
    fn scan(&self, family: Family, range: KeyRange) -> Scan<'_>;

    /// Whether there is such a row.
    fn contains(&self, family: Family, key: impl AsRef<[u8]>) -> Result<bool, DbError>;

    /// The first row of a range, in its direction.
    fn first(&self, family: Family, range: KeyRange) -> Result<Option<Row>, DbError> {
        self.scan(family, range).next().transpose()
    }
}

/// A row, taken out of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// A row's key and value, lent until the scan goes on.
pub type LentRow<'a> = (&'a [u8], &'a [u8]);

/// The rows of a range. [`Scan::advance`] lends them without copying; as an
/// iterator it hands out copies.
pub struct Scan<'a> {
    db: &'a Db,
    rows: DBRawIteratorWithThreadMode<'a, rocksdb::DB>,
    direction: Direction,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Start,
    Inside,
    End,
}

impl Scan<'_> {
    /// The next row, or `None` at the end of the range.
    pub fn advance(&mut self) -> Result<Option<LentRow<'_>>, DbError> {
        match (&self.state, self.direction) {
            (State::Start, Direction::Forward) => self.rows.seek_to_first(),
            (State::Start, Direction::Reverse) => self.rows.seek_to_last(),
            (State::Inside, Direction::Forward) => self.rows.next(),
            (State::Inside, Direction::Reverse) => self.rows.prev(),
            (State::End, _) => return Ok(None),
        }
        if self.rows.valid() {
            self.state = State::Inside;
            return Ok(self.rows.item());
        }
        self.state = State::End;
        self.db.checked(self.rows.status())?;
        Ok(None)
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, DbError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance()
            .map(|row| {
                row.map(|(key, value)| Row {
                    key: Bytes::copy_from_slice(key),
                    value: Bytes::copy_from_slice(value),
                })
            })
            .transpose()
    }
}

fn bounded(mut options: ReadOptions, range: KeyRange) -> (ReadOptions, Direction) {
    options.set_iterate_lower_bound(range.start);
    if let Some(end) = range.end {
        options.set_iterate_upper_bound(end);
    }
    (options, range.direction)
}

impl Read for Db {
    fn get(&self, family: Family, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, DbError> {
        let row = self.inner.rocks.get_cf(self.handle(family), key);
        let row = self.checked(row)?;
        Ok(row.map(Bytes::from))
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Option<Bytes>>, DbError> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.inner
            .rocks
            .batched_multi_get_cf(self.handle(family), &keys, false)
            .into_iter()
            .map(|row| {
                Ok(self
                    .checked(row)?
                    .map(|value| Bytes::copy_from_slice(&value)))
            })
            .collect()
    }

    fn scan(&self, family: Family, range: KeyRange) -> Scan<'_> {
        let (options, direction) = bounded(ReadOptions::default(), range);
        Scan {
            db: self,
            rows: self
                .inner
                .rocks
                .raw_iterator_cf_opt(self.handle(family), options),
            direction,
            state: State::Start,
        }
    }

    fn contains(&self, family: Family, key: impl AsRef<[u8]>) -> Result<bool, DbError> {
        let row = self.inner.rocks.get_pinned_cf(self.handle(family), key);
        Ok(self.checked(row)?.is_some())
    }
}

/// The database as it was at one moment.
pub struct Snapshot<'a> {
    db: &'a Db,
    rocks: rocksdb::SnapshotWithThreadMode<'a, rocksdb::DB>,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(db: &'a Db) -> Self {
        Self {
            db,
            rocks: db.inner.rocks.snapshot(),
        }
    }

    /// The rows of a range that nobody will ask for again soon: they are not kept in memory.
    pub fn scan_once(&self, family: Family, range: KeyRange) -> Scan<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        self.scan_with(options, family, range)
    }

    /// The value of a row that nobody will ask for again soon, as [`Snapshot::scan_once`].
    pub fn get_once(
        &self,
        family: Family,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, DbError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let row = self.rocks.get_cf_opt(self.db.handle(family), key, options);
        let row = self.db.checked(row)?;
        Ok(row.map(Bytes::from))
    }

    fn scan_with(&self, options: ReadOptions, family: Family, range: KeyRange) -> Scan<'_> {
        let (options, direction) = bounded(options, range);
        Scan {
            db: self.db,
            rows: self
                .rocks
                .raw_iterator_cf_opt(self.db.handle(family), options),
            direction,
            state: State::Start,
        }
    }
}

impl Read for Snapshot<'_> {
    fn get(&self, family: Family, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, DbError> {
        let row = self.rocks.get_cf(self.db.handle(family), key);
        let row = self.db.checked(row)?;
        Ok(row.map(Bytes::from))
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Option<Bytes>>, DbError> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.rocks);
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.db
            .inner
            .rocks
            .batched_multi_get_cf_opt(self.db.handle(family), &keys, false, &options)
            .into_iter()
            .map(|row| {
                let row = self.db.checked(row)?;
                Ok(row.map(|value| Bytes::copy_from_slice(&value)))
            })
            .collect()
    }

    fn scan(&self, family: Family, range: KeyRange) -> Scan<'_> {
        self.scan_with(ReadOptions::default(), family, range)
    }

    fn contains(&self, family: Family, key: impl AsRef<[u8]>) -> Result<bool, DbError> {
        let row = self.rocks.get_pinned_cf(self.db.handle(family), key);
        Ok(self.db.checked(row)?.is_some())
    }
}
