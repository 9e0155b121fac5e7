//! Taking many rows in at once: written to sorted files beside the database, then made part of it.
//!
//! Such rows pass neither the write-ahead log nor the memory tables, and are written once.

use std::path::{Path, PathBuf};

use rocksdb::{Cache, IngestExternalFileOptions, SstFileWriter};

use super::{Db, DbError, Family, Step};

/// Bytes after which a sorted file is full.
const FILE: u64 = 64 << 20;

/// A sorted file while it is written.
pub struct SortedFile<'a> {
    writer: SstFileWriter<'a>,
}

impl SortedFile<'_> {
    /// Adds a row, whose key follows those before.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), DbError> {
        Ok(self.writer.put(key, value)?)
    }

    /// Whether the next row belongs into another file.
    pub fn is_full(&self) -> bool {
        self.writer.file_size() >= FILE
    }
}

/// Sorted files in a directory of their own, which goes with this. Nothing of them is in the
/// database before [`SortedFiles::ingest`].
pub struct SortedFiles {
    db: Db,
    directory: PathBuf,
    files: Vec<(Family, PathBuf)>,
}

impl Db {
    fn incoming(&self) -> PathBuf {
        self.inner.path.join("incoming")
    }

    /// A place for sorted files, in an empty directory of this name.
    pub fn sorted_files(&self, name: &str) -> Result<SortedFiles, DbError> {
        let directory = self.incoming().join(name);
        remove(&directory)?;
        std::fs::create_dir_all(&directory)?;
        Ok(SortedFiles {
            db: self.clone(),
            directory,
            files: Vec::new(),
        })
    }

    /// Removes the files that a crash left behind, when nobody writes any yet.
    pub fn clear_sorted_files(&self) -> Result<(), DbError> {
        remove(&self.incoming())
    }
}

fn remove(directory: &Path) -> Result<(), DbError> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl SortedFiles {
    /// Writes one file of a family: `fill` adds its rows, of which there must be one at least.
    /// The file is durable when this returns.
    pub fn write<E: From<DbError>>(
        &mut self,
        family: Family,
        fill: impl FnOnce(&mut SortedFile<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.directory.join(self.files.len().to_string());
        // Blocks are cached by whoever reads the file later.
        let options = family.options(&Cache::new_lru_cache(0));
        let mut file = SortedFile {
            writer: SstFileWriter::create(&options),
        };
        file.writer.open(&path).map_err(DbError::from)?;
        fill(&mut file)?;
        file.writer.finish().map_err(DbError::from)?;
        self.files.push((family, path));
        Ok(())
    }

    /// Makes all files part of the database, family by family. Each family's rows are there all
    /// at once, and durable when this returns.
    pub fn ingest(mut self) -> Result<(), DbError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let files = std::mem::take(&mut self.files);
        for family in Family::ALL {
            let of_family = files.iter().filter(|(of, _)| *of == family);
            let paths: Vec<&PathBuf> = of_family.map(|(_, path)| path).collect();
            if !paths.is_empty() {
                let handle = self.db.handle(family);
                self.db.step(Step::Ingest, |db| {
                    let rocks = &db.inner.rocks;
                    rocks.ingest_external_file_cf_opts(handle, &options, paths)
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for SortedFiles {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(%error, "files of a snapshot could not be removed");
        }
    }
}
