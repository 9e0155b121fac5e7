//! Reading a backup back: nothing is missing, nothing has changed.

use std::path::Path;

use bytes::Bytes;
use postino_proto::admin::v1::ShardHead;
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::raft::v1::SnapshotRows;

use super::file::Reader;
use super::manifest::{Manifest, ShardFile};
use super::references::References;
use super::{BackupError, Tell};
use crate::db::Family;
use crate::identity::ClusterId;
use crate::raft::{Tally, is_sent};

/// Reads the backup in `directory`: the sums and counts of all files, and that every body that a row
/// refers to is there.
pub async fn verify(directory: &Path, tell: &'static Tell) -> Result<Manifest, BackupError> {
    let directory = directory.to_owned();
    let read = tokio::task::spawn_blocking(move || read_back(&directory, tell));
    read.await.map_err(BackupError::broken)?
}

/// The same. Blocks.
pub(super) fn read_back(directory: &Path, tell: &Tell) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(directory)?;
    for file in &manifest.shards {
        shard(directory, &manifest, file)?;
        tell(&format!(
            "shard {}: {} rows, {} bytes are as they were written",
            file.shard, file.rows, file.bytes
        ));
    }
    Ok(manifest)
}

fn shard(directory: &Path, manifest: &Manifest, file: &ShardFile) -> Result<(), BackupError> {
    let mut window = References::new();
    pass(directory, manifest, file, &mut window)?;
    while let Some(next) = window.following() {
        window = next;
        pass(directory, manifest, file, &mut window)?;
    }
    Ok(())
}

/// Goes through a file once, and looks at the references of one window.
fn pass(
    directory: &Path,
    manifest: &Manifest,
    file: &ShardFile,
    window: &mut References,
) -> Result<(), BackupError> {
    let mut reader = Reader::open(&file.path(directory))?;
    let Some(Part::Head(head)) = reader.next()?.and_then(|part| part.part) else {
        return Err(reader.damaged("it has no head"));
    };
    if !is_head_of(&head, manifest, file) {
        return Err(reader.damaged("it is of another shard or backup"));
    }
    let mut order = Order::default();
    let mut tally = Tally::default();
    let mut rows = 0;
    loop {
        match reader.next()?.and_then(|part| part.part) {
            Some(Part::Rows(some)) => {
                let family = Family::by_name(&some.family).filter(|family| is_sent(*family));
                let unknown = || format!("it has rows of a family {:?}", some.family);
                let family = family.ok_or_else(|| reader.damaged(unknown()))?;
                rows += some.rows.len() as u64;
                let checked = check_rows(family, some, &mut order, &mut tally, window);
                checked.map_err(|what| reader.damaged(what))?;
            }
            Some(Part::End(end)) if end == tally.end() && rows == file.rows => break,
            Some(Part::End(_)) => return Err(reader.damaged("rows are missing or differ")),
            Some(Part::Head(_)) => return Err(reader.damaged("a part is where none belongs")),
            None => return Err(reader.damaged("it is cut short")),
        }
    }
    if reader.next()?.is_some() {
        return Err(reader.damaged("something follows its end"));
    }
    let read = reader.read();
    if read.bytes != file.bytes || read.blake3 != file.blake3 {
        return Err(reader.damaged("its sum differs"));
    }
    window.end().map_err(|what| reader.damaged(what))
}

/// Whether a file is of the shard and of the backup that the manifest says.
pub(super) fn is_head_of(head: &ShardHead, manifest: &Manifest, file: &ShardFile) -> bool {
    head.shard == file.shard
        && head.shard_count == manifest.shard_count
        && (head.term, head.index) == (file.term, file.index)
        && ClusterId::from_bytes(&head.cluster_id)
            .is_ok_and(|id| id.to_string() == manifest.cluster)
}

fn check_rows(
    family: Family,
    rows: SnapshotRows,
    order: &mut Order,
    tally: &mut Tally,
    window: &mut References,
) -> Result<(), String> {
    for row in rows.rows {
        order.next(family, &row.key)?;
        tally.count(family, &row.key, &row.value);
        window.row(family, &row.key, &row.value)?;
    }
    Ok(())
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
