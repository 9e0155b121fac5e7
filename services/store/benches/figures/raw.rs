//! What the disk and RocksDB do without the store.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow};
use postino_store::db::{Db, DbSettings, Family};

use crate::load::{Load, Octets, Reading, Tally};

/// Appends to one file what all writers have, then syncs it once: no log that waits for the disk
/// can be faster.
pub(crate) fn fdatasync(directory: &Path, load: &Load, octets: &Octets) -> Result<Reading> {
    let mut file = File::create_new(directory.join("log"))?;
    let tally = Tally::default();
    let append = || -> Result<()> {
        while tally.goes_on() {
            for _ in 0..load.writers {
                file.write_all(&octets.take(load.size))?;
            }
            file.sync_data()?;
            tally.add(load.writers);
            tally.add_sync();
        }
        Ok(())
    };
    thread::scope(|scope| {
        let appending = scope.spawn(append);
        let reading = tally.measure(load, || Ok(tally.syncs()));
        joined(appending)?;
        reading
    })
}

/// Puts rows into a database that is set up as the store's is, each write synced.
pub(crate) fn rocksdb(directory: &Path, load: &Load, octets: &Octets) -> Result<Reading> {
    let db = Db::open(directory, &DbSettings::default())?;
    let tally = Tally::default();
    let put = |writer: usize| -> Result<()> {
        let mut number = 0_u64;
        while tally.goes_on() {
            let mut batch = db.batch();
            let key = [number.to_be_bytes(), (writer as u64).to_be_bytes()].concat();
            batch.put(Family::Bodies, key, octets.take(load.size));
            db.write_synced(batch)?;
            tally.add(1);
            number += 1;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let put = &put;
        let writers: Vec<_> = (0..load.writers)
            .map(|writer| scope.spawn(move || put(writer)))
            .collect();
        let reading = tally.measure(load, || syncs(&db, tally.done()));
        for writer in writers {
            joined(writer)?;
        }
        reading
    })
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a writer panicked"))?
}

/// Syncs of so many writes since the database was opened: it tells their ratio exactly, and large
/// counts in thousands.
fn syncs(db: &Db, writes: f64) -> Result<f64> {
    let text = db.statistics("rocksdb.dbstats")?.unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with("Cumulative WAL:"));
    let ratio = line
        .and_then(|line| {
            line.split(", ")
                .find_map(|part| part.strip_suffix(" writes per sync"))
        })
        .context("no syncs in rocksdb.dbstats")?;
    let ratio: f64 = ratio.parse()?;
    Ok(if ratio > 0.0 { writes / ratio } else { 0.0 })
}
