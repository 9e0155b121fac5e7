//! Fault points: before and after each step at which a crash could leave something half done.
//!
//! Only tests of this crate see them; elsewhere they cost nothing. A test that watches is called at
//! every point, and can take an [`Image`] of the database as a crash at that moment would leave it
//! on disk: of the process, or of the power.

use super::Db;

/// What a process can be in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The write-ahead log is synced.
    Sync,
    /// A vote is written.
    Vote,
    /// Entries are appended to a log.
    Append,
    /// The end of a log is cut off.
    Truncate,
    /// The start of a log is let go.
    Purge,
    /// The sorted files of a snapshot become part of the database.
    Ingest,
    /// A generation becomes the current one.
    Flip,
    /// Generations that are no longer are deleted.
    Sweep,
}

impl Db {
    /// Takes a step, with a fault point before and one after it.
    pub(crate) fn step<T>(&self, step: Step, take: impl FnOnce(&Self) -> T) -> T {
        self.pass(step, false);
        let done = take(self);
        self.pass(step, true);
        done
    }

    #[cfg(not(test))]
    #[inline]
    fn pass(&self, _step: Step, _taken: bool) {}

    /// Syncs the write-ahead log.
    #[cfg(not(test))]
    #[inline]
    pub(super) fn sync_by<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        sync()
    }
}

#[cfg(test)]
pub(crate) use watched::{Faults, Image, Point};

#[cfg(test)]
mod watched {
    use std::collections::HashMap;
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, OnceLock};

    use tempfile::TempDir;

    use super::Step;
    use crate::db::Db;

    /// A moment: before a step, or after it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub(crate) struct Point {
        pub(crate) step: Step,
        pub(crate) taken: bool,
    }

    type Watch = Box<dyn Fn(&Db, Point) + Send + Sync>;

    /// Who watches a database, and what is durable of it.
    #[derive(Default)]
    pub(crate) struct Faults {
        watch: OnceLock<Watch>,
        /// Octets of each write-ahead log that were synced.
        synced: Mutex<HashMap<PathBuf, u64>>,
        without_sync: AtomicBool,
    }

    /// A copy of a database as a crash would have left it.
    pub(crate) struct Image {
        pub(crate) directory: TempDir,
    }

    impl Db {
        pub(super) fn pass(&self, step: Step, taken: bool) {
            if let Some(watch) = self.inner.faults.watch.get() {
                watch(self, Point { step, taken });
            }
        }

        /// Calls this at every point from now on.
        pub(crate) fn watch(&self, watch: impl Fn(&Self, Point) + Send + Sync + 'static) {
            let unwatched = self.inner.faults.watch.set(Box::new(watch));
            assert!(unwatched.is_ok(), "one watches");
        }

        /// From now on says that it has synced, and has not.
        pub(crate) fn lose_syncs(&self) {
            self.inner
                .faults
                .without_sync
                .store(true, Ordering::Relaxed);
        }

        /// Syncs the write-ahead log, and takes down what is durable then: what was written before.
        pub(crate) fn sync_by<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
            let faults = &self.inner.faults;
            if faults.watch.get().is_none() {
                return sync();
            }
            if faults.without_sync.load(Ordering::Relaxed) {
                return Ok(());
            }
            let written = logs(self.path());
            sync()?;
            faults.synced.lock().unwrap().extend(written);
            Ok(())
        }

        /// What is on disk if the process ends now: everything that was written.
        pub(crate) fn image_of_kill(&self) -> Image {
            copy(self.path(), |_, length| length)
        }

        /// What is on disk if the power fails now: of the write-ahead logs, what was synced. Sorted
        /// files and the manifest are synced as they are made.
        pub(crate) fn image_of_power_cut(&self) -> Image {
            let synced = self.inner.faults.synced.lock().unwrap().clone();
            copy(self.path(), |log, _| synced.get(log).copied().unwrap_or(0))
        }
    }

    fn is_log(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "log")
    }

    fn logs(directory: &Path) -> HashMap<PathBuf, u64> {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let logs = entries.filter(|entry| is_log(&entry.path()));
        logs.map(|log| (log.path(), log.metadata().unwrap().len()))
            .collect()
    }

    fn copy(from: &Path, length: impl Fn(&Path, u64) -> u64) -> Image {
        let directory = tempfile::tempdir().unwrap();
        copy_into(from, directory.path(), &length);
        Image { directory }
    }

    fn copy_into(from: &Path, to: &Path, length: &impl Fn(&Path, u64) -> u64) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                fs::create_dir(&target).unwrap();
                copy_into(&path, &target, length);
            } else if entry.file_name() != "LOCK" {
                let copied = fs::copy(&path, &target).unwrap();
                if is_log(&path) {
                    let file = File::options().write(true).open(&target).unwrap();
                    file.set_len(length(&path, copied).min(copied)).unwrap();
                }
            }
        }
    }
}
