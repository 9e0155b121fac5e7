//! Who logs in, and whether the password is right.

use postino_client::StoreClient;
use postino_client::credential::{AuthError, Authenticator};
use postino_types::Secret;

use crate::account::MailAccount;

/// Why a log-in failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// No such user, or another password; the client is not told which.
    #[error("wrong user or password")]
    Wrong,
    /// It could not be checked.
    #[error("{0}")]
    Unavailable(String),
}

/// Checks passwords and opens accounts.
#[tonic::async_trait]
pub(crate) trait Logins: Send + Sync {
    /// The mail of the user, if the password is theirs.
    async fn log_in(&self, user: &str, password: &Secret) -> Result<MailAccount, LoginError>;
}

/// Log-ins by password against the directory and the account's credential.
pub(crate) struct PasswordLogins {
    pub(crate) authenticator: Authenticator,
    pub(crate) store: StoreClient,
}

#[tonic::async_trait]
impl Logins for PasswordLogins {
    async fn log_in(&self, user: &str, password: &Secret) -> Result<MailAccount, LoginError> {
        match self.authenticator.authenticate(user, password).await {
            Ok(who) => Ok(MailAccount::new(self.store.clone(), who.account, who.shard)),
            Err(AuthError::Rejected) => Err(LoginError::Wrong),
            Err(AuthError::Unavailable(reason)) => Err(LoginError::Unavailable(reason)),
        }
    }
}
