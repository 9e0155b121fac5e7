//! The backup that an incremental one goes on from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::BackupError;
use super::manifest::{Manifest, ShardFile};
use crate::identity::Identity;

/// A backup that was taken before, of which the bodies are taken over.
pub(super) struct Earlier {
    directory: PathBuf,
    manifest: Manifest,
}

impl Earlier {
    /// Reads what it consists of. Its files are looked at when they are taken over, and read when the
    /// new backup is verified.
    pub(super) fn read(directory: &Path) -> Result<Self, BackupError> {
        Ok(Self {
            directory: directory.to_owned(),
            manifest: Manifest::read(directory)?,
        })
    }

    /// Whether it is of this cluster: an index of the log says nothing in another.
    pub(super) fn check(&self, identity: &Identity) -> Result<(), BackupError> {
        match self.manifest.cluster == identity.cluster.to_string() {
            true => Ok(()),
            false => Err(BackupError::Refused(format!(
                "{} is a backup of cluster {}, and this is {}; take a whole one",
                self.directory.display(),
                self.manifest.cluster,
                identity.cluster
            ))),
        }
    }

    /// The last log entry of a shard that it includes.
    pub(super) fn index(&self, shard: u32) -> u64 {
        self.shard(shard).map_or(0, |file| file.index)
    }

    fn shard(&self, shard: u32) -> Option<&ShardFile> {
        let mut shards = self.manifest.shards.iter();
        shards.find(|file| file.shard == shard)
    }

    /// Takes a shard's files over into another directory. Blocks.
    pub(super) fn take(&self, shard: u32, directory: &Path) -> Result<Vec<ShardFile>, BackupError> {
        let files = self.shard(shard).map(ShardFile::with_bodies);
        let mut files = files.unwrap_or_default();
        for file in &mut files {
            let from = file.path(&self.directory);
            file.file = ShardFile::earlier_name(shard, file.index);
            let to = file.path(directory);
            let length = fs::metadata(&from).map_err(BackupError::io(&from))?.len();
            if length != file.bytes {
                return Err(BackupError::damaged(&from, "its size differs"));
            }
            link(&from, &to)?;
        }
        Ok(files)
    }
}

/// The same file under another name; a copy of it where there can be none, as on another disk.
fn link(from: &Path, to: &Path) -> Result<(), BackupError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copied = fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    copied.map_err(BackupError::io(to))
}
