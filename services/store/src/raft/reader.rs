//! Reading the log: whole for replicas, lean for apply.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures::{Stream, stream};
use openraft::storage::RaftLogReader;
use openraft::{EntryPayload, OptionalSend};

use super::codec;
use super::rows;
use super::types::{Body, Config, Entry, Vote};
use crate::db::{Db, Family, KeyRange, Read, Snapshot, Space};

/// Reads one shard's log.
pub(crate) struct LogReader {
    db: Db,
    space: Space,
    message_bytes: usize,
}

impl LogReader {
    pub(crate) fn new(db: Db, space: Space, message_bytes: usize) -> Self {
        Self {
            db,
            space,
            message_bytes,
        }
    }

    fn keys(&self, range: &impl RangeBounds<u64>) -> KeyRange {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.checked_add(1),
            Bound::Excluded(index) => Some(*index),
            Bound::Unbounded => None,
        };
        let keys = KeyRange::prefix(self.space.key()).from(rows::log_key(self.space, start));
        match end {
            Some(end) => keys.below(rows::log_key(self.space, end)),
            None => keys,
        }
    }

    /// Entries without their bodies.
    fn lean(&self, range: &impl RangeBounds<u64>) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut rows = self.db.scan(Family::Log, self.keys(range));
        while let Some((_, row)) = rows.advance()? {
            push_next(&mut entries, rows::decode_entry(row)?)?;
        }
        Ok(entries)
    }

    /// Entries with their bodies: the first one, and as many more as fit a message.
    fn whole(&self, range: &impl RangeBounds<u64>) -> io::Result<Vec<Entry>> {
        // One view for rows and bodies: a truncation in between must not show.
        let view = self.db.snapshot();
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut rows = view.scan(Family::Log, self.keys(range));
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
            self.join_bodies(&view, &mut entry)?;
            push_next(&mut entries, entry)?;
        }
        Ok(entries)
    }

    fn join_bodies(&self, view: &Snapshot<'_>, entry: &mut Entry) -> io::Result<()> {
        let index = entry.log_id.index;
        let EntryPayload::Normal(batch) = &mut entry.payload else {
            return Ok(());
        };
        for (number, command) in (0_u32..).zip(&mut batch.commands) {
            if let Body::Stored(len) = command.body {
                let key = rows::body_key(self.space, index, number);
                command.body = match view.get(Family::Bodies, key)? {
                    Some(body) if body.len() as u64 == len => Body::Inline(body),
                    None if self.applied(view)? >= index => Body::Gone(len),
                    _ => {
                        let reason = format!("body {number} of entry {index} is damaged");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                    }
                };
            }
        }
        Ok(())
    }

    /// The last index that the shard's state includes; 0 for none.
    fn applied(&self, view: &Snapshot<'_>) -> io::Result<u64> {
        let Some(row) = view.get(Family::Raft, rows::applied_key(self.space))? else {
            return Ok(0);
        };
        let (last, _) = codec::applied_in(rows::decode(&row)?)?;
        Ok(last.map_or(0, |last| last.index))
    }
}

/// Appends an entry that must follow the one before: a log with a hole in it
/// would let a replica skip what others applied.
fn push_next(entries: &mut Vec<Entry>, entry: Entry) -> io::Result<()> {
    if let Some(before) = entries.last()
        && before.log_id.index + 1 != entry.log_id.index
    {
        let reason = format!(
            "the log has a hole between {} and {}",
            before.log_id, entry.log_id
        );
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
        self.lean(&range)
    }

    /// Lean: it feeds apply, which only needs to know where the bodies lie.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        match self.lean(&range) {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        }
    }

    /// Whole: it feeds replication. Bounded by bytes.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.whole(&(start..end))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let key = rows::vote_key(self.space.shard());
        match self.db.get(Family::Raft, key)? {
            Some(row) => Ok(Some(codec::vote_in(&rows::decode(&row)?))),
            None => Ok(None),
        }
    }
}
