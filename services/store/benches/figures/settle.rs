//! A stopped store's database when all its work is done: flushed, compacted, measured.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postino_store::db::{Db, DbSettings, Family};

/// How long compaction may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks in a row must find nothing to do.
const QUIET: u32 = 10;

/// What RocksDB counts while it has something to do.
const WORK: [&str; 4] = [
    "rocksdb.mem-table-flush-pending",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.num-running-compactions",
];

/// Writes what memory holds to files, waits until nothing is left to compact, and gives the bytes
/// of all files. `directory` is a store's, stopped.
pub(crate) fn settled(directory: &Path) -> Result<u64> {
    let path = directory.join("db");
    let db = Db::open(&path, &DbSettings::default())?;
    db.flush()?;
    let (begin, mut quiet) = (Instant::now(), 0);
    while quiet < QUIET {
        ensure!(
            begin.elapsed() < PATIENCE,
            "compaction takes over {PATIENCE:?}"
        );
        quiet = if is_busy(&db)? { 0 } else { quiet + 1 };
        thread::sleep(LOOK);
    }
    drop(db);
    size_of(&path)
}

fn is_busy(db: &Db) -> Result<bool> {
    for family in Family::ALL {
        for work in WORK {
            if db.property(family, work)?.unwrap_or(0) > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The bytes of the files in a directory.
fn size_of(directory: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}
