//! Why a backup cannot be taken, trusted or restored.

use std::path::{Path, PathBuf};

use tonic::Status;

/// Why a backup cannot be taken, trusted or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what the backup wrote.
    #[error("{} is damaged: {what}; take another backup, or another copy of this one", .path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It must not be done.
    #[error("{0}")]
    Refused(String),
    /// A node refused, or did not answer.
    #[error("{}: {}", .what, .status.message())]
    Node {
        /// What it was asked for.
        what: String,
        /// Its answer.
        status: Status,
    },
}

impl BackupError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }

    pub(super) fn node(what: impl Into<String>) -> impl FnOnce(Status) -> Self {
        |status| Self::Node {
            what: what.into(),
            status,
        }
    }

    /// The end of a task that must not end by itself.
    pub(super) fn broken(error: tokio::task::JoinError) -> Self {
        Self::Refused(format!("the work broke off: {error}"))
    }
}
