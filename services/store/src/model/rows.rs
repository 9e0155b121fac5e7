//! How rows are read and ranged over, whatever they come from, and the format of their values.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;

use crate::db::{Db, DbError, Direction, Family, Key, KeyRange, Read, Snapshot};

/// Whether to go on with the next row.
pub(crate) type Flow = ControlFlow<()>;

/// A range of keys, with the end excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) direction: Direction,
}

impl Range {
    /// Every key below `prefix`, which is never all `0xff`: it starts with a shard number.
    pub(crate) fn prefix(prefix: Key) -> Self {
        let start = prefix.into_vec();
        let mut end = start.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self {
            start,
            end,
            direction: Direction::Forward,
        }
    }

    /// The part from `key` on.
    pub(crate) fn from(mut self, key: Key) -> Self {
        self.start = self.start.max(key.into_vec());
        self
    }

    /// The part behind `key`.
    pub(crate) fn after(self, key: Key) -> Self {
        self.from(key.u8(0))
    }

    /// The part below `key`.
    pub(crate) fn below(mut self, key: Key) -> Self {
        self.end = self.end.min(key.into_vec());
        self
    }

    /// The same, read downwards.
    pub(crate) fn reverse(mut self) -> Self {
        self.direction = Direction::Reverse;
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub(crate) fn key_range(&self) -> KeyRange {
        let range = KeyRange::new(&self.start, &self.end);
        match self.direction {
            Direction::Forward => range,
            Direction::Reverse => range.reverse(),
        }
    }
}

/// What is called with the key and the value of each row.
pub(crate) type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<Flow, DbError> + 'a;

/// Rows to read: of the database, of a snapshot, or of what a commit will have written.
pub(crate) trait Rows {
    /// One row.
    fn get(&self, family: Family, key: Key) -> Result<Option<Bytes>, DbError>;

    /// The rows of a range, until `each` breaks.
    fn visit(&self, family: Family, range: &Range, each: &mut Visitor<'_>) -> Result<(), DbError>;

    /// One row of prost.
    fn row<M: Message + Default>(&self, family: Family, key: Key) -> Result<Option<M>, DbError>
    where
        Self: Sized,
    {
        self.get(family, key)?.map(decode).transpose()
    }

    /// Up to `limit` rows.
    fn page(
        &self,
        family: Family,
        range: &Range,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, DbError> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.visit(family, range, &mut |key, value| {
            rows.push((key.to_vec(), Bytes::copy_from_slice(value)));
            Ok(match rows.len() < limit {
                true => Flow::Continue(()),
                false => Flow::Break(()),
            })
        })?;
        Ok(rows)
    }

    /// The first row of a range.
    fn head(&self, family: Family, range: &Range) -> Result<Option<(Vec<u8>, Bytes)>, DbError> {
        Ok(self.page(family, range, 1)?.pop())
    }
}

fn visit_read(
    read: &impl Read,
    family: Family,
    range: &Range,
    each: &mut Visitor<'_>,
) -> Result<(), DbError> {
    if range.is_empty() {
        return Ok(());
    }
    let mut rows = read.scan(family, range.key_range());
    while let Some((key, value)) = rows.advance()? {
        if each(key, value)?.is_break() {
            break;
        }
    }
    Ok(())
}

impl Rows for Db {
    fn get(&self, family: Family, key: Key) -> Result<Option<Bytes>, DbError> {
        Read::get(self, family, key)
    }

    fn visit(&self, family: Family, range: &Range, each: &mut Visitor<'_>) -> Result<(), DbError> {
        visit_read(self, family, range, each)
    }
}

impl Rows for Snapshot<'_> {
    fn get(&self, family: Family, key: Key) -> Result<Option<Bytes>, DbError> {
        Read::get(self, family, key)
    }

    fn visit(&self, family: Family, range: &Range, each: &mut Visitor<'_>) -> Result<(), DbError> {
        visit_read(self, family, range, each)
    }
}

/// The format of every row so far.
const FORMAT: u8 = 1;

/// A row's value: the format, then the message.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    let mut row = Vec::with_capacity(1 + message.encoded_len());
    row.push(FORMAT);
    message
        .encode(&mut row)
        .expect("a vector grows as far as it has to");
    row.into()
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<M: Message + Default>(row: Bytes) -> Result<M, DbError> {
    match row.first() {
        Some(&FORMAT) => M::decode(row.slice(1..)).map_err(DbError::corrupt),
        Some(format) => Err(DbError::corrupt(format!("a row of format {format}"))),
        None => Err(DbError::corrupt("an empty row")),
    }
}

/// A row of fixed length without content, or with these bytes.
pub(crate) fn fixed(parts: &[&[u8]]) -> Bytes {
    let mut row = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    row.push(FORMAT);
    for part in parts {
        row.extend_from_slice(part);
    }
    row.into()
}

/// The last four bytes of a key or value, as a number.
pub(crate) fn last_u32(bytes: &[u8]) -> Result<u32, DbError> {
    let tail = bytes.last_chunk::<4>();
    tail.map(|tail| u32::from_be_bytes(*tail))
        .ok_or_else(|| DbError::corrupt("a number is cut short"))
}

/// The last eight bytes of a key or value, as a number.
pub(crate) fn last_u64(bytes: &[u8]) -> Result<u64, DbError> {
    let tail = bytes.last_chunk::<8>();
    tail.map(|tail| u64::from_be_bytes(*tail))
        .ok_or_else(|| DbError::corrupt("a number is cut short"))
}
