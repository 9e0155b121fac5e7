//! Reading the log: whole for replicas, lean for apply.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::{Stream, stream};
use openraft::storage::RaftLogReader;
use openraft::{EntryPayload, OptionalSend};
use postino_types::ShardId;

use super::codec;
use super::rows;
use super::snapshot::applied_index;
use super::types::{Body, Config, Entry, Vote};
use crate::db::{Db, DbError, Family, KeyRange, Read, Snapshot, Space};
use crate::model::last_u64;

/// Reads one shard's log.
pub(crate) struct LogReader {
    db: Db,
    shard: ShardId,
    message_bytes: usize,
}

/// The index and the bytes of each entry of the log up to `upto`, without bodies.
pub(crate) fn measure(db: &Db, shard: ShardId, upto: u64) -> Result<Vec<(u64, u64)>, DbError> {
    let (view, space) = db.view(shard)?;
    let mut rows = view.scan_once(Family::Log, keys(space, &(..=upto)));
    let mut entries = Vec::new();
    while let Some((key, row)) = rows.advance()? {
        entries.push((last_u64(key)?, row.len() as u64));
    }
    Ok(entries)
}

/// The index that a range begins with, if it says so.
fn first(range: &impl RangeBounds<u64>) -> Option<u64> {
    match range.start_bound() {
        Bound::Included(index) => Some(*index),
        Bound::Excluded(index) => Some(index.saturating_add(1)),
        Bound::Unbounded => None,
    }
}

fn keys(space: Space, range: &impl RangeBounds<u64>) -> KeyRange {
    let start = first(range).unwrap_or(0);
    let end = match range.end_bound() {
        Bound::Included(index) => index.checked_add(1),
        Bound::Excluded(index) => Some(*index),
        Bound::Unbounded => None,
    };
    let keys = KeyRange::prefix(space.key()).from(rows::log_key(space, start));
    match end {
        Some(end) => keys.below(rows::log_key(space, end)),
        None => keys,
    }
}

impl LogReader {
    pub(crate) fn new(db: Db, shard: ShardId, message_bytes: usize) -> Self {
        Self {
            db,
            shard,
            message_bytes,
        }
    }

    /// Entries without their bodies; `from` is the index that they must begin with, if there are
    /// any.
    fn lean(&self, range: &impl RangeBounds<u64>, from: Option<u64>) -> io::Result<Vec<Entry>> {
        let (view, space) = self.db.view(self.shard)?;
        let mut entries = Vec::new();
        let mut rows = view.scan(Family::Log, keys(space, range));
        while let Some((_, row)) = rows.advance()? {
            push_next(&mut entries, from, rows::decode_entry(row)?)?;
        }
        Ok(entries)
    }

    /// Entries with their bodies: the first one, and as many more as fit a message.
    fn whole(&self, range: &impl RangeBounds<u64>) -> io::Result<Vec<Entry>> {
        // One view for rows and bodies: a truncation in between must not show.
        let (view, space) = self.db.view(self.shard)?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut rows = view.scan(Family::Log, keys(space, range));
        while let Some((_, row)) = rows.advance()? {
            let mut entry = rows::decode_entry(row)?;
            bytes += row.len();
            if let EntryPayload::Normal(batch) = &entry.payload {
                bytes += batch
                    .commands
                    .iter()
                    .map(|c| c.body.len() as usize)
                    .sum::<usize>();
            }
            if bytes > self.message_bytes && !entries.is_empty() {
                break;
            }
            join_bodies(&view, space, &mut entry)?;
            push_next(&mut entries, first(range), entry)?;
        }
        Ok(entries)
    }
}

fn join_bodies(view: &Snapshot<'_>, space: Space, entry: &mut Entry) -> io::Result<()> {
    let index = entry.log_id.index;
    let EntryPayload::Normal(batch) = &mut entry.payload else {
        return Ok(());
    };
    for (number, command) in (0_u32..).zip(&mut batch.commands) {
        if let Body::Stored(len) = command.body {
            let key = rows::body_key(space, index, number);
            command.body = match view.get(Family::Bodies, key)? {
                Some(body) if body.len() as u64 == len => Body::Inline(body),
                None if applied_index(view, space)? >= index => Body::Gone(len),
                _ => {
                    let reason = format!("body {number} of entry {index} is damaged");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            };
        }
    }
    Ok(())
}

/// Appends an entry that must follow the one before, or be the `first` one: a log with a hole in
/// it would let a replica skip what others applied.
fn push_next(entries: &mut Vec<Entry>, first: Option<u64>, entry: Entry) -> io::Result<()> {
    let expected = entries.last().map(|before| before.log_id.index + 1);
    if let Some(index) = expected.or(first)
        && index != entry.log_id.index
    {
        let reason = format!("the log has a hole between {index} and {}", entry.log_id);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    entries.push(entry);
    Ok(())
}

impl RaftLogReader<Config> for LogReader {
    /// Lean: openraft uses it to find memberships and log ids.
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.lean(&range, None)
    }

    /// Lean: it feeds apply, which only needs to know where the bodies lie.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        match self.lean(&range, first(&range)) {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        }
    }

    /// Whole: it feeds replication. Bounded by bytes.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.whole(&(start..end))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let key = rows::vote_key(self.shard);
        match self.db.get(Family::Raft, key)? {
            Some(row) => Ok(Some(codec::vote_in(&rows::decode(&row)?))),
            None => Ok(None),
        }
    }
}
