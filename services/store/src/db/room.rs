//! How much room the disk has, and a file that can be given up when it has too little.
//!
//! RocksDB must never meet a full disk: a log that cannot be written ends the replica. So what
//! brings new bytes is refused while there is still room for what must go on: votes, purging,
//! compaction, and the deletes that make room again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use tokio::sync::watch;

use super::{Db, DbError};

/// How much room the disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Enough.
    #[default]
    Ample,
    /// Less than the reserve: nothing new is proposed here.
    Low,
    /// Hardly any: nothing new is taken from other nodes either.
    Critical,
}

impl Room {
    /// Whether anything new may come.
    pub const fn is_ample(self) -> bool {
        matches!(self, Self::Ample)
    }

    /// What `free` bytes mean for a disk that was like this before.
    fn judge(self, free: u64, reserve: u64) -> Self {
        // A little more than the reserve, or it would go back and forth.
        let enough = match self {
            Self::Ample => reserve,
            Self::Low | Self::Critical => reserve.saturating_add(reserve / 4),
        };
        match free {
            free if free >= enough => Self::Ample,
            free if free >= reserve / 4 => Self::Low,
            _ => Self::Critical,
        }
    }
}

/// What is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomSettings {
    /// Bytes; with less the disk counts as full. 0 switches the watch off.
    pub reserve: u64,
    /// Bytes of the file that is given up when the disk is nearly full.
    pub ballast: u64,
}

/// Watches the disk of a database.
pub struct RoomWatch {
    db: Db,
    settings: RoomSettings,
    room: Room,
}

impl RoomWatch {
    /// Watches the disk of `db`, which is thought to be empty until the first look.
    pub fn new(db: Db, settings: RoomSettings) -> Self {
        Self {
            db,
            settings,
            room: Room::Ample,
        }
    }

    /// What the looks find, as it changes.
    pub fn room(&self) -> watch::Receiver<Room> {
        self.db.room()
    }

    /// Looks once, and tells whoever waits for [`Db::room`]. Returns what it is like now.
    pub fn look(&mut self) -> Result<Room, DbError> {
        if self.settings.reserve == 0 {
            return Ok(Room::Ample);
        }
        let free = self.free()?;
        let room = self.room.judge(free, self.settings.reserve);
        if room != self.room {
            let mib = free >> 20;
            match room {
                Room::Ample => tracing::info!(free_mib = mib, "the disk has room again"),
                _ => tracing::error!(
                    free_mib = mib,
                    ?room,
                    "the disk is full: nothing new is taken"
                ),
            }
            self.room = room;
        }
        self.db.inner.room.send_if_modified(|known| {
            let changed = *known != room;
            *known = room;
            changed
        });
        self.tend_ballast(free)?;
        Ok(room)
    }

    fn free(&self) -> Result<u64, DbError> {
        let disk = rustix::fs::statvfs(self.db.path()).map_err(io::Error::from)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Gives the ballast up when there is hardly any room, and takes it again when there is
    /// plenty.
    fn tend_ballast(&self, free: u64) -> Result<(), DbError> {
        let RoomSettings { reserve, ballast } = self.settings;
        let path = self.ballast();
        let there = path.try_exists()?;
        match self.room {
            Room::Critical if there => {
                std::fs::remove_file(path)?;
                tracing::warn!("the ballast is given up");
            }
            Room::Ample if !there && ballast > 0 && free / 2 > reserve.saturating_add(ballast) => {
                let file = OpenOptions::new().write(true).create_new(true).open(path)?;
                allocate(&file, ballast)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.db.path().join("ballast")
    }
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::empty();
    Ok(rustix::fs::fallocate(file, flags, 0, bytes)?)
}

impl Db {
    /// How much room the disk has, as it changes.
    pub fn room(&self) -> watch::Receiver<Room> {
        self.inner.room.subscribe()
    }

    /// Says that the disk is like this; for tests.
    #[cfg(test)]
    pub(crate) fn pretend_room(&self, room: Room) {
        self.inner.room.send_replace(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbSettings;

    #[test]
    fn a_disk_is_full_below_the_reserve_and_has_room_well_above_it() {
        let judge = |before: Room, free| before.judge(free, 100);
        assert_eq!(judge(Room::Ample, 100), Room::Ample);
        assert_eq!(judge(Room::Ample, 99), Room::Low);
        assert_eq!(judge(Room::Ample, 24), Room::Critical);
        assert_eq!(judge(Room::Low, 110), Room::Low);
        assert_eq!(judge(Room::Critical, 30), Room::Low);
        assert_eq!(judge(Room::Low, 125), Room::Ample);
    }

    #[test]
    fn the_ballast_is_there_until_room_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let settings = |reserve| RoomSettings {
            reserve,
            ballast: 1 << 20,
        };
        let ballast = directory.path().join("ballast");
        let mut watch = RoomWatch::new(db.clone(), settings(1));
        assert_eq!(watch.look().unwrap(), Room::Ample);
        assert_eq!(std::fs::metadata(&ballast).unwrap().len(), 1 << 20);
        assert_eq!(watch.look().unwrap(), Room::Ample);
        // No disk is that large.
        let mut watch = RoomWatch::new(db.clone(), settings(u64::MAX));
        assert_eq!(watch.look().unwrap(), Room::Critical);
        assert!(!ballast.exists());
        assert_eq!(*db.room().borrow(), Room::Critical);
        assert!(!db.room().borrow().is_ample());
    }
}
