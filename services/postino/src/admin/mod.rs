//! The commands that change and show a running system, one file each.

pub(crate) mod account;
pub(crate) mod alias;
pub(crate) mod cluster;
pub(crate) mod domain;
pub(crate) mod import;
pub(crate) mod output;
pub(crate) mod password;
pub(crate) mod queue;
pub(crate) mod target;

use postino_client::CallError;
use postino_client::credential::CredentialError;
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
    /// No system answers.
    #[error("{0}")]
    Unreachable(String),
    /// What was given cannot be used.
    #[error("{0}")]
    Input(String),
}
