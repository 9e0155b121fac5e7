//! Which letters were acknowledged, and which were only sent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What is known of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Its 250 came: it must be in the mailbox once.
    Acknowledged,
    /// The connection broke before a reply: it may be there once, or not.
    Unknown,
}

/// A journal in a file, a line a letter: `+` or `?`, the recipient, the Message-ID.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens a journal; lines are added to one that exists.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self {
            file: Mutex::new(file.with_context(|| path.display().to_string())?),
        })
    }

    /// Adds a letter. Call it after the reply was read, before the next letter is sent.
    pub fn add(&self, fate: Fate, recipient: &str, id: &str) -> Result<()> {
        let mark = match fate {
            Fate::Acknowledged => '+',
            Fate::Unknown => '?',
        };
        let line = format!("{mark} {recipient} {id}\n");
        let mut file = self.file.lock().expect("no panic while it was held");
        Ok(file.write_all(line.as_bytes())?)
    }

    /// Reads a journal: by recipient, each id with its fate.
    pub fn read(path: &Path) -> Result<BTreeMap<String, BTreeMap<String, Fate>>> {
        let mut all: BTreeMap<String, BTreeMap<String, Fate>> = BTreeMap::new();
        for line in fs::read_to_string(path)?.lines() {
            let mut words = line.split(' ');
            let fate = match words.next() {
                Some("+") => Fate::Acknowledged,
                Some("?") => Fate::Unknown,
                _ => anyhow::bail!("not a journal line: {line:?}"),
            };
            let (recipient, id) = words.next().zip(words.next()).context("a short line")?;
            all.entry(recipient.into())
                .or_default()
                .insert(id.into(), fate);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_read() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("journal");
        Journal::open(&path)?.add(Fate::Acknowledged, "a@b", "1@x")?;
        Journal::open(&path)?.add(Fate::Unknown, "a@b", "2@x")?;
        let read = Journal::read(&path)?;
        assert_eq!(read["a@b"]["1@x"], Fate::Acknowledged);
        assert_eq!(read["a@b"]["2@x"], Fate::Unknown);
        Ok(())
    }
}
