//! The data directory: private, and of one process at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

/// The lock of the process that uses the directory; the system lets go of it when that ends.
const LOCK: &str = "lock";
/// Nobody but the owner: all mail and every password's hash is in there.
const PRIVATE: u32 = 0o700;

/// A data directory that is this process's alone.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it is missing, shuts everybody else out, and takes it. What this
    /// process makes from now on is private, too.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(path)?;
        let mut permissions = std::fs::metadata(path)?.permissions();
        // Made by an earlier version, or by hand: what others could read, they no longer can.
        permissions.set_mode(permissions.mode() & !0o077);
        match std::fs::set_permissions(path, permissions) {
            // A volume that somebody else owns: what is made in it is private all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            outcome => outcome?,
        }
        let path = path.canonicalize()?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::other("another process uses this data directory"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_of_one_process() -> io::Result<()> {
        let parent = tempfile::tempdir()?;
        let path = parent.path().join("a/b");
        std::fs::create_dir_all(&path)?;
        let mode = |path: &Path| Ok::<_, io::Error>(path.metadata()?.permissions().mode() & 0o777);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let held = DataDirectory::open(&path)?;
        assert_eq!(mode(&path)?, 0o700);
        let error = DataDirectory::open(&path).expect_err("taken").to_string();
        assert!(error.contains("another process"), "{error}");
        drop(held);
        DataDirectory::open(&path).map(drop)
    }
}
