//! The commands that change and show a running system, one file each.

pub(crate) mod account;
mod account_move;
pub(crate) mod alias;
pub(crate) mod archive;
pub(crate) mod backup;
pub(crate) mod cluster;
mod cluster_status;
mod cluster_verify;
pub(crate) mod domain;
pub(crate) mod import;
pub(crate) mod output;
pub(crate) mod password;
pub(crate) mod queue;
pub(crate) mod target;

use postino_client::CallError;
use postino_client::credential::CredentialError;
use postino_store::backup::BackupError;
use tonic::Status;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The system refused, or could not do it now.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The store node refused.
    #[error("{}", .0.message())]
    Node(#[from] Status),
    /// No credential can be made from the password.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// A backup cannot be taken, trusted or restored.
    #[error("{0}")]
    Backup(#[from] BackupError),
    /// No system answers.
    #[error("{0}")]
    Unreachable(String),
    /// It was begun, and gets nowhere.
    #[error("{0}")]
    Stuck(String),
    /// What was given cannot be used.
    #[error("{0}")]
    Input(String),
    /// What was printed says it.
    #[error("see above")]
    Shown,
}
