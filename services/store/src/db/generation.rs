//! The generations of a shard: which one is current, which are being filled, which go.
//!
//! | Meta row                              | value                                        |
//! |---------------------------------------|----------------------------------------------|
//! | `generation/`, shard                  | the current generation; absent: the first    |
//! | `doomed/`, shard, generation          | nothing: this range is to be swept           |
//!
//! A generation is doomed from before its first row until the batch that makes it current, and
//! again from the batch that makes another one current. So whatever a crash leaves behind is
//! swept by the next start, and a range that is current is never swept.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use postino_types::ShardId;
use tokio::sync::Notify;

use super::{Db, DbError, Family, Key, KeyRange, Read, Snapshot, Space, Step, WriteBatch};

/// What is known of the generations without reading.
#[derive(Default)]
pub(super) struct Generations {
    known: RwLock<Known>,
    /// There may be something to sweep.
    sweep: Notify,
}

#[derive(Default)]
struct Known {
    current: HashMap<ShardId, u32>,
    /// Under construction: doomed on disk, and yet not to be swept.
    filling: HashSet<Space>,
}

impl Generations {
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn current_key(shard: ShardId) -> Key {
    Key::new().bytes(b"generation/").u32(shard.get())
}

fn doomed_prefix() -> Key {
    Key::new().bytes(b"doomed/")
}

fn doomed_key(space: Space) -> Key {
    doomed_prefix()
        .u32(space.shard().get())
        .u32(space.generation())
}

fn parse_doomed(key: &[u8]) -> Result<Space, DbError> {
    let corrupt = || DbError::corrupt("the key of a doomed generation");
    let tail = key.last_chunk::<8>().ok_or_else(corrupt)?;
    let (shard, generation) = tail.split_at(4);
    let number = |part: &[u8]| part.try_into().map(u32::from_be_bytes);
    let shard = number(shard).map_err(|_| corrupt())?;
    let generation = number(generation).map_err(|_| corrupt())?;
    Ok(Space::new(ShardId::new(shard), generation))
}

/// A generation that is being filled. Unless [`NewGeneration::flip`] comes, it is swept once
/// this is dropped.
pub struct NewGeneration {
    db: Db,
    space: Space,
}

impl NewGeneration {
    /// Its range.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Writes the batch that makes this generation the current one. `batch` holds what must
    /// become true with it; the old generation is doomed by it, and stays readable until it is
    /// swept. Durable with the next sync.
    pub fn flip(self, mut batch: WriteBatch) -> Result<(), DbError> {
        let (shard, generation) = (self.space.shard(), self.space.generation());
        // Nobody may see one half of this, least of all the sweep.
        let mut known = self.db.inner.generations.write();
        let old = self.db.current(&mut known, shard)?;
        let row = generation.to_be_bytes();
        batch.put(Family::Meta, current_key(shard), row);
        batch.delete(Family::Meta, doomed_key(self.space));
        batch.put(Family::Meta, doomed_key(old), b"");
        self.db.step(Step::Flip, |db| db.write(batch))?;
        known.current.insert(shard, generation);
        known.filling.remove(&self.space);
        Ok(())
    }
}

impl Drop for NewGeneration {
    fn drop(&mut self) {
        let mut known = self.db.inner.generations.write();
        known.filling.remove(&self.space);
        drop(known);
        // Either this one has to go, or the one that it replaced.
        self.db.inner.generations.sweep.notify_one();
    }
}

impl Db {
    /// The current range of a shard.
    pub fn space(&self, shard: ShardId) -> Result<Space, DbError> {
        if let Some(generation) = self.inner.generations.read().current.get(&shard) {
            return Ok(Space::new(shard, *generation));
        }
        self.current(&mut self.inner.generations.write(), shard)
    }

    fn current(&self, known: &mut Known, shard: ShardId) -> Result<Space, DbError> {
        if let Some(generation) = known.current.get(&shard) {
            return Ok(Space::new(shard, *generation));
        }
        let generation = match self.get(Family::Meta, current_key(shard))? {
            None => Space::FIRST_GENERATION,
            Some(row) => u32::from_be_bytes(
                row.as_ref()
                    .try_into()
                    .map_err(|_| DbError::corrupt("the generation of a shard"))?,
            ),
        };
        known.current.insert(shard, generation);
        Ok(Space::new(shard, generation))
    }

    /// A view of the database, and the range of a shard that is whole in it.
    pub fn view(&self, shard: ShardId) -> Result<(Snapshot<'_>, Space), DbError> {
        loop {
            let space = self.space(shard)?;
            let view = self.snapshot();
            // The old generation is swept, and the new one is current, only after a flip: if
            // there was none around the snapshot, it holds all of this one.
            if self.space(shard)? == space {
                return Ok((view, space));
            }
        }
    }

    /// A generation of a shard that never was, to be filled. That it may hold rows is written
    /// down, but not yet durable: sync before the first row can become so.
    pub fn new_generation(&self, shard: ShardId) -> Result<NewGeneration, DbError> {
        let mut known = self.inner.generations.write();
        let current = self.current(&mut known, shard)?.generation();
        let doomed = self.doomed()?.into_iter();
        let taken = doomed.filter(|space| space.shard() == shard);
        let last = taken.map(Space::generation).fold(current, u32::max);
        let space = Space::new(shard, last + 1);
        let mut batch = self.batch();
        batch.put(Family::Meta, doomed_key(space), b"");
        self.write(batch)?;
        known.filling.insert(space);
        Ok(NewGeneration {
            db: self.clone(),
            space,
        })
    }

    fn doomed(&self) -> Result<Vec<Space>, DbError> {
        let mut rows = self.scan(Family::Meta, KeyRange::prefix(doomed_prefix()));
        let mut doomed = Vec::new();
        while let Some((key, _)) = rows.advance()? {
            doomed.push(parse_doomed(key)?);
        }
        Ok(doomed)
    }

    /// Waits until there may be something to sweep.
    pub async fn sweep_due(&self) {
        self.inner.generations.sweep.notified().await;
    }

    /// Deletes the rows of generations that are no longer, or never came to be. Returns how
    /// many there were. Who reads one of them reads on, by the view that they have.
    pub fn sweep(&self) -> Result<usize, DbError> {
        let mut swept = 0;
        for space in self.doomed()? {
            // It may have become the current one since the list was made.
            let known = self.inner.generations.read();
            let doomed = self.get(Family::Meta, doomed_key(space))?.is_some();
            if known.filling.contains(&space) || !doomed {
                continue;
            }
            let mut batch = self.batch();
            for family in Family::ALL
                .into_iter()
                .filter(|family| *family != Family::Meta)
            {
                batch.delete_range(family, &KeyRange::prefix(space.key()));
            }
            batch.delete(Family::Meta, doomed_key(space));
            self.step(Step::Sweep, |db| db.write(batch))?;
            swept += 1;
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbSettings;

    const SHARD: ShardId = ShardId::new(3);

    fn put(db: &Db, space: Space, value: &[u8]) {
        let mut batch = db.batch();
        batch.put(Family::Spool, space.key().u8(1), value);
        db.write(batch).unwrap();
    }

    fn value(read: &impl Read, space: Space) -> Option<Vec<u8>> {
        let row = read.get(Family::Spool, space.key().u8(1)).unwrap();
        row.map(|row| row.to_vec())
    }

    #[test]
    fn rows_of_generations_are_golden() {
        let space = Space::new(SHARD, 258);
        assert_eq!(current_key(SHARD).as_slice(), b"generation/\0\0\0\x03");
        let key = doomed_key(space);
        assert_eq!(key.as_slice(), b"doomed/\0\0\0\x03\0\0\x01\x02");
        assert_eq!(parse_doomed(key.as_slice()).unwrap(), space);
    }

    #[test]
    fn a_flip_shows_the_new_generation_and_the_old_one_goes_lazily() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let old = db.space(SHARD).unwrap();
        put(&db, old, b"old");
        let (view, space) = db.view(SHARD).unwrap();
        let new = db.new_generation(SHARD).unwrap();
        assert_eq!(new.space().generation(), 2);
        put(&db, new.space(), b"new");
        // It is being filled, so a sweep leaves it alone.
        assert_eq!(db.sweep().unwrap(), 0);
        assert_eq!(db.space(SHARD).unwrap(), old);
        new.flip(db.batch()).unwrap();
        let current = db.space(SHARD).unwrap();
        assert_eq!(current.generation(), 2);
        assert_eq!(value(&db, old).as_deref(), Some(&b"old"[..]));
        assert_eq!(db.sweep().unwrap(), 1);
        assert_eq!(value(&db, old), None);
        assert_eq!(value(&db, current).as_deref(), Some(&b"new"[..]));
        assert_eq!(value(&view, space).as_deref(), Some(&b"old"[..]));
        drop(view);
        drop(db);
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        assert_eq!(db.space(SHARD).unwrap(), current);
        assert_eq!(db.sweep().unwrap(), 0);
    }

    #[test]
    fn a_sweep_beside_flips_leaves_what_is_current() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    db.sweep().unwrap();
                }
            });
            let fill = |shard: u32| {
                let shard = ShardId::new(shard);
                for _ in 0..300 {
                    let new = db.new_generation(shard).unwrap();
                    put(&db, new.space(), b"row");
                    new.flip(db.batch()).unwrap();
                    let (view, space) = db.view(shard).unwrap();
                    assert_eq!(value(&view, space).as_deref(), Some(&b"row"[..]));
                }
            };
            let filling = [1, 2].map(|shard| threads.spawn(move || fill(shard)));
            let filled = filling.map(std::thread::ScopedJoinHandle::join);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(filled.iter().all(Result::is_ok));
        });
    }

    #[test]
    fn a_generation_that_was_never_finished_is_swept_by_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let old = db.space(SHARD).unwrap();
        put(&db, old, b"old");
        let new = db.new_generation(SHARD).unwrap();
        put(&db, new.space(), b"half");
        let half = new.space();
        drop((new, db));
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        assert_eq!(db.space(SHARD).unwrap(), old);
        // A number is not given twice while its rows may be there.
        let next = db.new_generation(SHARD).unwrap();
        assert_eq!(next.space().generation(), half.generation() + 1);
        assert_eq!(db.sweep().unwrap(), 1);
        assert_eq!(value(&db, half), None);
        assert_eq!(value(&db, old).as_deref(), Some(&b"old"[..]));
        drop(next);
        assert_eq!(db.sweep().unwrap(), 1);
    }
}
