//! Taking a snapshot in: rows to sorted files, files into the database, and then the flip.

use std::vec::IntoIter;

use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::snapshot_part::Part;
use postino_types::ShardId;
use tokio::sync::mpsc;

use super::tally::Tally;
use super::{Meta, Renew, SnapshotError};
use crate::db::{Db, Family, KeyRange, NewGeneration, Read, Snapshot, SortedFiles, Space};
use crate::db::{DbError, WriteBatch};
use crate::raft::codec;
use crate::raft::rows;
use crate::raft::types::LogId;

/// A snapshot that is here, in files; nothing of it is in the database.
pub(crate) struct Incoming {
    db: Db,
    // Dropped first: once the generation is, its number may be given again.
    files: SortedFiles,
    generation: NewGeneration,
}

/// Writes the parts of a snapshot to files, for a new generation of the shard. Blocks.
pub(crate) fn write(
    db: &Db,
    shard: ShardId,
    parts: mpsc::Receiver<proto::SnapshotPart>,
) -> Result<Incoming, SnapshotError> {
    write_renewed(db, shard, parts, &mut |_, _, value| Ok(Some(value)))
}

/// The same, with each row as `renew` has it.
pub(super) fn write_renewed(
    db: &Db,
    shard: ShardId,
    parts: mpsc::Receiver<proto::SnapshotPart>,
    renew: &mut Renew<'_>,
) -> Result<Incoming, SnapshotError> {
    let generation = db.new_generation(shard)?;
    let space = generation.space();
    let mut files = db.sorted_files(&format!("{shard}-{}", space.generation()))?;
    let mut rows = Rows::new(parts, renew);
    while let Some(family) = rows.family()? {
        files.write(family, |file| {
            while rows.family()? == Some(family) && !file.is_full() {
                let Some(row) = rows.rows.next() else { break };
                file.put(space.key().bytes(&row.key), &row.value)?;
            }
            Ok::<(), SnapshotError>(())
        })?;
    }
    Ok(Incoming {
        db: db.clone(),
        files,
        generation,
    })
}

impl Incoming {
    /// Takes the files into the database, under a generation that is not current. That it is
    /// doomed must be durable before, so that a crash leaves nothing unswept. Blocks.
    pub(crate) fn ingest(self) -> Result<Ingested, DbError> {
        self.files.ingest()?;
        Ok(Ingested {
            db: self.db,
            generation: self.generation,
        })
    }
}

/// A snapshot that is in the database, where nobody looks.
pub(crate) struct Ingested {
    db: Db,
    generation: NewGeneration,
}

impl Ingested {
    /// Where it lies.
    pub(crate) fn space(&self) -> Space {
        self.generation.space()
    }

    /// Makes it the shard's state, and lets the log start behind it. In force with the next
    /// sync; a crash before leaves what was there.
    pub(crate) fn flip(self, meta: &Meta) -> Result<(), SnapshotError> {
        let new = self.generation.space();
        let mut batch = self.db.batch();
        let applied = codec::applied_out(meta.last_log_id.as_ref(), &meta.last_membership);
        batch.put(Family::Raft, rows::applied_key(new), rows::encode(&applied));
        if let Some(last) = &meta.last_log_id {
            let purged = rows::encode(&codec::log_id_out(last));
            batch.put(Family::Raft, rows::purged_key(new), purged);
            let (view, old) = self.db.view(new.shard())?;
            keep_tail(&mut batch, &view, (old, new), last)?;
        }
        Ok(self.generation.flip(batch)?)
    }
}

/// Copies what this replica has of the log behind the snapshot, if its log agrees with it: it
/// may have answered for those entries.
fn keep_tail(
    batch: &mut WriteBatch,
    view: &Snapshot<'_>,
    (old, new): (Space, Space),
    last: &LogId,
) -> Result<(), SnapshotError> {
    let Some(row) = view.get(Family::Log, rows::log_key(old, last.index))? else {
        return Ok(());
    };
    if rows::decode_entry(&row)?.log_id != *last {
        return Ok(());
    }
    let skip = old.key().as_slice().len();
    for family in [Family::Log, Family::Bodies] {
        let tail = KeyRange::prefix(old.key()).from(rows::log_key(old, last.index + 1));
        let mut rows = view.scan_once(family, tail);
        while let Some((key, value)) = rows.advance()? {
            batch.put(family, new.key().bytes(&key[skip..]), value);
        }
    }
    Ok(())
}

/// The rows of a snapshot, one after another.
struct Rows<'a, 'b> {
    renew: &'a mut Renew<'b>,
    parts: mpsc::Receiver<proto::SnapshotPart>,
    family: Option<Family>,
    rows: IntoIter<proto::snapshot_rows::Row>,
    tally: Tally,
    ended: bool,
}

impl<'a, 'b> Rows<'a, 'b> {
    fn new(parts: mpsc::Receiver<proto::SnapshotPart>, renew: &'a mut Renew<'b>) -> Self {
        Self {
            renew,
            parts,
            family: None,
            rows: Vec::new().into_iter(),
            tally: Tally::default(),
            ended: false,
        }
    }

    /// The family of the next row; `None` once all rows have come, and are what was sent.
    fn family(&mut self) -> Result<Option<Family>, SnapshotError> {
        while self.rows.as_slice().is_empty() && !self.ended {
            let part = self.parts.blocking_recv();
            match part.and_then(|part| part.part) {
                Some(Part::Rows(rows)) => {
                    let family = Family::by_name(&rows.family).filter(|family| is_sent(*family));
                    let unknown = || SnapshotError::UnknownFamily(rows.family.clone());
                    let family = family.ok_or_else(unknown)?;
                    self.family = Some(family);
                    self.rows = self.counted(family, rows.rows)?.into_iter();
                }
                Some(Part::End(end)) if end == self.tally.end() => {
                    self.family = None;
                    self.ended = true;
                }
                Some(Part::End(_)) => return Err(SnapshotError::Damaged),
                Some(Part::Head(_)) => return Err(SnapshotError::Misplaced),
                None => return Err(SnapshotError::BrokeOff),
            }
        }
        Ok(self.family)
    }

    /// Counts rows as they were sent, and gives them as they are to be kept.
    fn counted(
        &mut self,
        family: Family,
        rows: Vec<proto::snapshot_rows::Row>,
    ) -> Result<Vec<proto::snapshot_rows::Row>, SnapshotError> {
        let mut kept = Vec::with_capacity(rows.len());
        for mut row in rows {
            self.tally.count(family, &row.key, &row.value);
            if let Some(value) = (self.renew)(family, &row.key, row.value)? {
                row.value = value;
                kept.push(row);
            }
        }
        Ok(kept)
    }
}

/// Whether rows of a family belong into a snapshot.
pub(crate) fn is_sent(family: Family) -> bool {
    family == Family::Bodies || Family::STATE.contains(&family)
}
