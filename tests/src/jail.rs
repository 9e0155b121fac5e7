//! Programs in a directory of their own: Exim and OpenSMTPD have their paths and users compiled in,
//! so each runs in a root directory that holds nothing but what it needs. Needs root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The user in every jail that mail is filed as, and the only one that is not the server's own.
pub const SERVER: u32 = 101;

/// A root directory. Removed when dropped.
pub struct Jail(TempDir);

/// Where `deploy/packages.sh` unpacks servers that cannot be installed.
pub fn unpacked(package: &str) -> Result<PathBuf> {
    let servers = match std::env::var_os("POSTINO_SERVERS") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into()))
            .join(".cache/postino-servers"),
    };
    let directory = servers.join(package);
    ensure!(directory.is_dir(), "run deploy/packages.sh test");
    Ok(directory)
}

impl Jail {
    /// An empty one, with the devices that every program opens, and these users: name and id.
    pub fn new(users: &[(&str, u32)]) -> Result<Self> {
        let jail = Self(TempDir::with_prefix("postino-jail-")?);
        fs::set_permissions(jail.0.path(), fs::Permissions::from_mode(0o755))?;
        jail.directory("/tmp", None)?;
        fs::set_permissions(jail.path("/tmp"), fs::Permissions::from_mode(0o1777))?;
        jail.directory("/var/run", None)?;
        jail.directory("/dev", None)?;
        for (name, minor) in [("null", "3"), ("urandom", "9")] {
            let node = jail.path("/dev").join(name);
            let mut mknod = Command::new("mknod");
            mknod.args(["-m", "666"]).arg(node).args(["c", "1", minor]);
            ensure!(mknod.status()?.success(), "mknod {name}");
        }
        let mut passwd = "root:x:0:0::/:/bin/sh\n".to_owned();
        let mut group = "root:x:0:\n".to_owned();
        for (name, id) in users {
            passwd += &format!("{name}:x:{id}:{id}::/box:/bin/false\n");
            group += &format!("{name}:x:{id}:\n");
        }
        jail.write("/etc/passwd", &passwd)?;
        jail.write("/etc/group", &group)?;
        jail.write("/etc/hosts", "127.0.0.1 localhost\n")?;
        Ok(jail)
    }

    /// Where a path of the jail is outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside.trim_start_matches('/'))
    }

    /// Makes a directory, of this owner.
    pub fn directory(&self, inside: &str, owner: Option<u32>) -> Result<()> {
        let path = self.path(inside);
        fs::create_dir_all(&path)?;
        chown(&path, owner, owner).with_context(|| format!("chown {inside}"))
    }

    /// Writes a file that only its owner, root, may change.
    pub fn write(&self, inside: &str, text: &str) -> Result<()> {
        self.copy_place(inside)?;
        fs::write(self.path(inside), text).with_context(|| inside.to_owned())
    }

    /// Copies a program in, with its libraries.
    pub fn program(&self, outside: &Path, inside: &str) -> Result<()> {
        self.copy(outside, inside)?;
        let listed = Command::new("ldd").arg(outside).output()?;
        let listed = String::from_utf8(listed.stdout)?;
        ensure!(!listed.contains("not found"), "{listed}");
        let libraries = listed.split_whitespace().filter(|w| w.starts_with('/'));
        for library in libraries {
            self.copy(Path::new(library), library)?;
        }
        Ok(())
    }

    /// Copies a file in; what is there stays.
    pub fn copy(&self, outside: &Path, inside: &str) -> Result<()> {
        self.copy_place(inside)?;
        if !self.path(inside).exists() {
            fs::copy(outside, self.path(inside))
                .with_context(|| format!("{} to {inside}", outside.display()))?;
        }
        Ok(())
    }

    fn copy_place(&self, inside: &str) -> Result<()> {
        let path = self.path(inside);
        Ok(fs::create_dir_all(path.parent().context("a directory")?)?)
    }

    /// A command that runs in the jail.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.0.path()).arg(program).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}
