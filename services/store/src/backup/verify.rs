//! Reading a backup back: nothing is missing, nothing has changed.

use std::path::Path;

use super::manifest::{Manifest, ShardFile};
use super::references::References;
use super::rows::ShardRows;
use super::{BackupError, Tell};

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
        let mut window = References::new();
        pass(directory, &manifest, file, &mut window)?;
        while let Some(next) = window.following() {
            window = next;
            pass(directory, &manifest, file, &mut window)?;
        }
        tell(&format!(
            "shard {}: {} rows, {} bytes are as they were written",
            file.shard, file.rows, file.bytes
        ));
    }
    Ok(manifest)
}

/// Goes through a shard once, and looks at the references of one window.
fn pass(
    directory: &Path,
    manifest: &Manifest,
    file: &ShardFile,
    window: &mut References,
) -> Result<(), BackupError> {
    let mut shard = ShardRows::open(directory, manifest, file)?;
    while let Some(page) = shard.next()? {
        for row in &page.rows.rows {
            let noted = window.row(page.family, &row.key, &row.value);
            noted.map_err(|what| shard.damaged(what))?;
        }
    }
    window.end().map_err(|what| shard.damaged(what))
}
