//! The file beside the database that remembers which node lived here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "identity";

pub(super) fn read(directory: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(directory.join(NAME)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves the file, if it is there, into another directory.
pub(super) fn move_to(directory: &Path, aside: &Path) -> io::Result<()> {
    match fs::rename(directory.join(NAME), aside.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the file whole or not at all, and durably.
pub(super) fn write(directory: &Path, text: &str) -> io::Result<()> {
    let unfinished = directory.join(format!("{NAME}.new"));
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&unfinished, directory.join(NAME))?;
    File::open(directory)?.sync_all()
}
