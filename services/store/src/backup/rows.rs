//! The rows of a shard: as one file has them, and as the files of an incremental backup have them
//! together.
//!
//! A file is right only as a whole: what it gave is what was written once it says that there is no
//! more.

use std::path::Path;

use bytes::Bytes;
use postino_proto::admin::v1::ShardHead;
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::raft::v1::SnapshotRows;

use super::BackupError;
use super::file::Reader;
use super::manifest::{Manifest, ShardFile};
use super::references;
use crate::db::Family;
use crate::identity::ClusterId;
use crate::raft::{Tally, is_sent};

/// Rows of one family.
pub(super) struct Page {
    pub(super) family: Family,
    pub(super) rows: SnapshotRows,
    /// Bodies of an earlier backup: some may be of no use any more.
    pub(super) is_earlier: bool,
}

/// The rows of one file.
struct FileRows {
    reader: Reader,
    file: ShardFile,
    head: ShardHead,
    order: Order,
    tally: Tally,
    rows: u64,
    is_over: bool,
}

impl FileRows {
    fn open(directory: &Path, manifest: &Manifest, file: &ShardFile) -> Result<Self, BackupError> {
        let mut reader = Reader::open(&file.path(directory))?;
        let Some(Part::Head(head)) = reader.next()?.and_then(|part| part.part) else {
            return Err(reader.damaged("it has no head"));
        };
        if !is_head_of(&head, manifest, file) {
            return Err(reader.damaged("it is of another shard or backup"));
        }
        Ok(Self {
            reader,
            file: file.clone(),
            head,
            order: Order::default(),
            tally: Tally::default(),
            rows: 0,
            is_over: false,
        })
    }

    /// The next rows; `None` behind the last ones, if the file is what was written.
    fn next(&mut self) -> Result<Option<(Family, SnapshotRows)>, BackupError> {
        if self.is_over {
            return Ok(None);
        }
        match self.reader.next()?.and_then(|part| part.part) {
            Some(Part::Rows(rows)) => {
                let unknown = || format!("it has rows of a family {:?}", rows.family);
                let family = Family::by_name(&rows.family).filter(|family| is_sent(*family));
                let family = family.ok_or_else(|| self.reader.damaged(unknown()))?;
                for row in &rows.rows {
                    let next = self.order.next(family, &row.key);
                    next.map_err(|what| self.reader.damaged(what))?;
                    self.tally.count(family, &row.key, &row.value);
                    if family == Family::Bodies && !self.is_ours(&row.key) {
                        return Err(self.reader.damaged("it has a body of another file"));
                    }
                }
                self.rows += rows.rows.len() as u64;
                Ok(Some((family, rows)))
            }
            Some(Part::End(end)) if end == self.tally.end() && self.rows == self.file.rows => {
                self.end().map(|()| None)
            }
            Some(Part::End(_)) => Err(self.reader.damaged("rows are missing or differ")),
            Some(Part::Head(_)) => Err(self.reader.damaged("a part is where none belongs")),
            None => Err(self.reader.damaged("it is cut short")),
        }
    }

    /// Whether a body is of an entry that this file is about.
    fn is_ours(&self, key: &[u8]) -> bool {
        let entries = self.file.bodies_after + 1..=self.file.index;
        references::place(key).is_ok_and(|(index, _)| entries.contains(&index))
    }

    fn end(&mut self) -> Result<(), BackupError> {
        self.is_over = true;
        if self.reader.next()?.is_some() {
            return Err(self.reader.damaged("something follows its end"));
        }
        let read = self.reader.read();
        match read.bytes == self.file.bytes && read.blake3 == self.file.blake3 {
            true => Ok(()),
            false => Err(self.reader.damaged("its sum differs")),
        }
    }
}

/// Whether a file is of the shard and of the backup that the manifest says.
fn is_head_of(head: &ShardHead, manifest: &Manifest, file: &ShardFile) -> bool {
    head.shard == file.shard
        && head.shard_count == manifest.shard_count
        && (head.term, head.index) == (file.term, file.index)
        && head.bodies_after == file.bodies_after
        && ClusterId::from_bytes(&head.cluster_id)
            .is_ok_and(|id| id.to_string() == manifest.cluster)
}

/// Rows come family by family, in ascending order of keys.
#[derive(Default)]
struct Order {
    families: Vec<Family>,
    last: Option<Bytes>,
}

impl Order {
    fn next(&mut self, family: Family, key: &Bytes) -> Result<(), String> {
        if self.families.last() != Some(&family) {
            // Bodies come last, after all that refers to them.
            if self.families.contains(&family) || self.families.contains(&Family::Bodies) {
                return Err(format!("rows of family {} are out of place", family.name()));
            }
            self.families.push(family);
            self.last = None;
        }
        if self.last.as_ref().is_some_and(|last| last >= key) {
            return Err(format!("rows of family {} are out of order", family.name()));
        }
        self.last = Some(key.clone());
        Ok(())
    }
}

/// The rows of a shard in one sequence, with the bodies of all files in the order of their places.
pub(super) struct ShardRows<'a> {
    directory: &'a Path,
    manifest: &'a Manifest,
    file: &'a ShardFile,
    own: FileRows,
    /// All that refers to bodies has come.
    state_is_over: bool,
    /// The first bodies of `own`, which come behind those of the earlier files.
    held: Option<(Family, SnapshotRows)>,
    earlier: std::slice::Iter<'a, ShardFile>,
    current: Option<FileRows>,
}

impl<'a> ShardRows<'a> {
    pub(super) fn open(
        directory: &'a Path,
        manifest: &'a Manifest,
        file: &'a ShardFile,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            directory,
            manifest,
            file,
            own: FileRows::open(directory, manifest, file)?,
            state_is_over: false,
            held: None,
            earlier: file.earlier.iter(),
            current: None,
        })
    }

    /// What comes before the rows of a shard that has all its bodies.
    pub(super) fn head(&self) -> ShardHead {
        ShardHead {
            bodies_after: 0,
            ..self.own.head.clone()
        }
    }

    /// That the backup's own file is not what it should be.
    pub(super) fn damaged(&self, what: impl std::fmt::Display) -> BackupError {
        BackupError::damaged(&self.file.path(self.directory), what)
    }

    /// The next rows; `None` behind the last ones, if all files are what was written.
    pub(super) fn next(&mut self) -> Result<Option<Page>, BackupError> {
        if !self.state_is_over {
            match self.own.next()? {
                Some((family, rows)) if family != Family::Bodies => {
                    return Ok(Some(Page::own(family, rows)));
                }
                first_bodies => {
                    self.held = first_bodies;
                    self.state_is_over = true;
                }
            }
        }
        if let Some(rows) = self.earlier_bodies()? {
            return Ok(Some(Page {
                family: Family::Bodies,
                rows,
                is_earlier: true,
            }));
        }
        let next = match self.held.take() {
            Some(held) => Some(held),
            None => self.own.next()?,
        };
        Ok(next.map(|(family, rows)| Page::own(family, rows)))
    }

    fn earlier_bodies(&mut self) -> Result<Option<SnapshotRows>, BackupError> {
        loop {
            let Some(file) = &mut self.current else {
                let Some(next) = self.earlier.next() else {
                    return Ok(None);
                };
                self.current = Some(FileRows::open(self.directory, self.manifest, next)?);
                continue;
            };
            match file.next()? {
                Some((Family::Bodies, rows)) => return Ok(Some(rows)),
                // What the state was then.
                Some(_) => {}
                None => self.current = None,
            }
        }
    }
}

impl Page {
    fn own(family: Family, rows: SnapshotRows) -> Self {
        Self {
            family,
            rows,
            is_earlier: false,
        }
    }
}
