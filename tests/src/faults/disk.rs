//! A small disk of a store's own, in memory, that can be filled and freed again. Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// How often filling is tried while somebody else writes.
const TRIES: usize = 1000;
/// What is taken at once: a piece that does not fit is given back whole, which takes time.
const PIECE: u64 = 256 << 20;

/// A mounted disk. Unmounted when dropped; drop it after the processes that use it.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts an empty one at a path; memory is taken as it is used.
    pub fn mount(at: PathBuf, octets: u64) -> Result<Self> {
        fs::create_dir_all(&at)?;
        let size = format!("size={octets}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "postino-faults"]);
        let output = mount.arg(&at).output().context("mount")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mount: {said}");
        Ok(Self { at })
    }

    fn filling(&self) -> PathBuf {
        self.at.join("filling")
    }

    /// Octets that are free.
    pub fn free(&self) -> Result<u64> {
        let disk = statvfs(&self.at)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Fills it until so many octets are free.
    pub fn fill(&self, left: u64) -> Result<()> {
        let file = File::create(self.filling())?;
        let mut end = 0;
        for _ in 0..TRIES {
            let Some(more) = self.free()?.checked_sub(left).filter(|more| *more > 0) else {
                return Ok(());
            };
            let piece = more.min(PIECE);
            match fallocate(&file, FallocateFlags::empty(), end, piece) {
                Ok(()) => end += piece,
                // Somebody else took some meanwhile.
                Err(Errno::NOSPC | Errno::INTR) => {}
                Err(error) => return Err(error).context("fallocate"),
            }
        }
        bail!("{} octets are free yet, not {left}", self.free()?)
    }

    /// Frees what was filled.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.filling())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        // What the folder of a cluster could not take away with itself; nothing that holds anything.
        for path in self.at.ancestors().take(2).map(Path::to_owned) {
            let _ = fs::remove_dir(path);
        }
    }
}
