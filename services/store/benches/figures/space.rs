//! Whether there is room for what a measurement writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What statfs(2) says of a file system in memory.
const TMPFS: u64 = 0x0102_1994;

/// Fails unless `bytes` are free in `directory`, on a disk: in memory, syncs cost nothing.
pub(crate) fn require(directory: &Path, bytes: u64) -> Result<()> {
    let name = directory.display();
    let found = rustix::fs::statfs(directory).with_context(|| name.to_string())?;
    ensure!(
        u64::try_from(found.f_type).ok() != Some(TMPFS),
        "{name} is in memory: give a directory on a disk"
    );
    let block = u64::try_from(found.f_bsize).context("a block size")?;
    let free = found.f_bavail.saturating_mul(block);
    ensure!(
        free >= bytes,
        "{} MiB must be free in {name}, there are {}",
        bytes >> 20,
        free >> 20
    );
    Ok(())
}
