//! `manifest.json`: what a backup consists of. Written last, so a directory with one is whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BackupError;

/// Every shard is one file, with all bodies.
const WHOLE: u32 = 1;
/// A shard may be several files: bodies of earlier backups are in theirs.
const INCREMENTAL: u32 = 2;

const NAME: &str = "manifest.json";

/// What a backup consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How the files are written.
    pub format: u32,
    /// The version that wrote them.
    pub version: String,
    /// The cluster that they are of, in hexadecimal digits.
    pub cluster: String,
    /// When all shards were cut: Unix time in milliseconds.
    pub taken_ms: u64,
    /// Mail shards; the control group comes on top.
    pub shard_count: u32,
    /// A file per shard, the control group first.
    pub shards: Vec<ShardFile>,
}

/// The file of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardFile {
    /// The shard.
    pub shard: u32,
    /// The file's name, in the directory of the backup.
    pub file: String,
    /// Term and index of the last log entry that it includes.
    pub term: u64,
    /// See `term`.
    pub index: u64,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
    /// Bodies of log entries up to this one are not in it, but in `earlier`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bodies_after: u64,
    /// Files of earlier backups, for their bodies: those of the first entries first. Each of these
    /// has none itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<ShardFile>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The manifest as it is written: with its own sum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    manifest: Manifest,
    blake3: String,
}

impl Manifest {
    pub(super) fn new(cluster: String, taken_ms: u64, shards: Vec<ShardFile>) -> Self {
        let whole = shards.iter().all(|file| file.earlier.is_empty());
        Self {
            format: if whole { WHOLE } else { INCREMENTAL },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster,
            taken_ms,
            shard_count: u32::try_from(shards.len().saturating_sub(1)).unwrap_or(u32::MAX),
            shards,
        }
    }

    /// Rows and bytes of the files that this backup wrote itself.
    pub fn total(&self) -> (u64, u64) {
        let sum = |of: fn(&ShardFile) -> u64| self.shards.iter().map(of).sum();
        (sum(|file| file.rows), sum(|file| file.bytes))
    }

    /// Bytes of the files that it has from earlier backups.
    pub fn earlier_bytes(&self) -> u64 {
        let earlier = self.shards.iter().flat_map(|file| &file.earlier);
        earlier.map(|file| file.bytes).sum()
    }

    /// Writes it, all of it or nothing, and makes the directory durable with it.
    pub(super) fn write(&self, directory: &Path) -> Result<(), BackupError> {
        let path = directory.join(NAME);
        let sealed = Sealed {
            manifest: self.clone(),
            blake3: self.sum(),
        };
        let mut text = serde_json::to_vec_pretty(&sealed).expect("plain values");
        text.push(b'\n');
        let draft = directory.join("manifest.json.new");
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(BackupError::io(&draft))?;
        // The files of the shards must be there before the manifest is.
        sync(directory)?;
        fs::rename(&draft, &path).map_err(BackupError::io(&path))?;
        sync(directory)
    }

    /// Reads it, and checks that it says of itself what it is. The files are not looked at.
    pub(super) fn read(directory: &Path) -> Result<Self, BackupError> {
        let path = directory.join(NAME);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BackupError::Refused(format!(
                "{} has no manifest.json: it holds no backup, or one that was not finished",
                directory.display()
            )),
            _ => BackupError::io(&path)(error),
        })?;
        let damaged = |what: &dyn std::fmt::Display| BackupError::damaged(&path, what);
        let sealed: Sealed = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        let manifest = sealed.manifest;
        if ![WHOLE, INCREMENTAL].contains(&manifest.format) {
            return Err(BackupError::Refused(format!(
                "{} has format {}, which this version cannot read; it was written by version {}",
                path.display(),
                manifest.format,
                manifest.version
            )));
        }
        if manifest.sum() != sealed.blake3 {
            return Err(damaged(&"its sum differs"));
        }
        let shards = manifest.shards.iter().map(|file| file.shard);
        if !shards.eq(0..=manifest.shard_count) {
            return Err(damaged(&"a shard is missing"));
        }
        if let Some(file) = manifest.shards.iter().find(|file| !file.has_all_bodies()) {
            let what = format!("files of shard {} do not fit together", file.shard);
            return Err(damaged(&what));
        }
        Ok(manifest)
    }

    fn sum(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain values");
        blake3::hash(&text).to_hex().to_string()
    }
}

impl ShardFile {
    /// The name of a shard's file.
    pub(super) fn name(shard: u32) -> String {
        format!("shard-{shard:04}")
    }

    /// The name of a file of an earlier backup of a shard, in the directory of a later one.
    pub(super) fn earlier_name(shard: u32, index: u64) -> String {
        format!("shard-{shard:04}-{index}")
    }

    /// What the next incremental backup needs of this one: all files with bodies, those of the first
    /// entries first.
    pub(super) fn with_bodies(&self) -> Vec<Self> {
        let own = Self {
            earlier: Vec::new(),
            ..self.clone()
        };
        let all = self.earlier.iter().cloned().chain([own]);
        all.filter(|file| file.bodies_after < file.index).collect()
    }

    /// Whether its bodies and those of the earlier files are all, without a gap.
    fn has_all_bodies(&self) -> bool {
        let mut reached = 0;
        let fits = self.earlier.iter().all(|file| {
            let fits = file.shard == self.shard
                && file.earlier.is_empty()
                && file.bodies_after == reached
                && file.index > reached;
            reached = file.index;
            fits
        });
        fits && self.bodies_after == reached && self.index >= reached
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.file)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), BackupError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(BackupError::io(directory))
}
