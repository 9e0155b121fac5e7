//! `ports.json`: which address each listener got, for whoever started the process with port 0.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const NAME: &str = "ports.json";

/// Listener name to address.
pub(crate) type Ports = BTreeMap<String, SocketAddr>;

/// The file while the process is ready; removed when dropped.
pub(crate) struct PortsFile(PathBuf);

impl PortsFile {
    /// Removes what an earlier process left, so that nobody takes it for this one's.
    pub(crate) fn forget(data: &Path) -> io::Result<()> {
        match fs::remove_file(data.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file in one step: a reader sees all of it or none.
    pub(crate) fn write(data: &Path, ports: &Ports) -> io::Result<Self> {
        let path = data.join(NAME);
        let partial = data.join(format!("{NAME}.partial"));
        let mut file = File::create(&partial)?;
        file.write_all(serde_json::to_string_pretty(ports)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(partial, &path)?;
        Ok(Self(path))
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}

/// The address of a listener of the process that runs on a data directory.
pub(crate) fn read(data: &Path) -> io::Result<Ports> {
    let text = fs::read(data.join(NAME))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
