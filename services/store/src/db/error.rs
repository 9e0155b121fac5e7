//! What goes wrong with the database; none of it is temporary.

use thiserror::Error;

/// What can go wrong with the database. None of it is temporary: a disk that is
/// full or broken stays so, and the replica has to stop.
#[derive(Debug, Error)]
pub enum DbError {
    /// RocksDB refused or failed.
    #[error("the database failed: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A file beside the database could not be written or removed.
    #[error("a file of the database: {0}")]
    Io(#[from] std::io::Error),
    /// A row is not what this version wrote.
    #[error("the database holds a row that cannot be read: {0}")]
    Corrupt(String),
}

impl DbError {
    /// A row that should hold `what` cannot be read.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// Whether the disk does not give back what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Rocks(error) if error.kind() == rocksdb::ErrorKind::Corruption)
    }
}

impl From<DbError> for std::io::Error {
    fn from(error: DbError) -> Self {
        Self::other(error)
    }
}
