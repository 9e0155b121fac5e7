use thiserror::Error;

/// What can go wrong with the database. None of it is temporary: a disk that is
/// full or broken stays so, and the replica has to stop.
#[derive(Debug, Error)]
pub enum DbError {
    /// RocksDB refused or failed.
    #[error("the database failed: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A row is not what this version wrote.
    #[error("the database holds a row that cannot be read: {0}")]
    Corrupt(String),
}

impl DbError {
    /// A row that should hold `what` cannot be read.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }
}

impl From<DbError> for std::io::Error {
    fn from(error: DbError) -> Self {
        Self::other(error)
    }
}
