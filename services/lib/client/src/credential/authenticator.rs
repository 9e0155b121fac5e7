//! Log-ins: who is it, where does the account live, is the password right.

use std::time::Duration;

use moka::sync::Cache;
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{Account, AccountState, Credential, GetCredentialRequest};
use postino_types::{AccountId, EmailAddress, Secret, ShardId};

use super::checker::{CheckError, Checker, Verdict};
use crate::{CallError, DirectoryCache};

/// How long a credential is used before it is read again.
const CREDENTIAL_TTL: Duration = Duration::from_secs(1);
const CREDENTIALS: u64 = 100_000;

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// The account.
    pub account: AccountId,
    /// The shard that it lives on.
    pub shard: ShardId,
    /// Its main address.
    pub address: EmailAddress,
}

/// Why somebody has not logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Unknown user or wrong password: which of them, nobody is told.
    #[error("authentication failed")]
    Rejected,
    /// It cannot be found out now; try again later.
    #[error("authentication is not possible at the moment: {0}")]
    Unavailable(String),
}

impl From<CallError> for AuthError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CheckError> for AuthError {
    fn from(error: CheckError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Authenticates by password; clones share caches and limits.
#[derive(Clone)]
pub struct Authenticator {
    directory: DirectoryCache,
    checker: Checker,
    credentials: Cache<AccountId, Credential>,
}

impl Authenticator {
    /// Accounts and credentials come from the store behind the directory.
    pub fn new(directory: DirectoryCache, checker: Checker) -> Self {
        let credentials = Cache::builder()
            .max_capacity(CREDENTIALS)
            .time_to_live(CREDENTIAL_TTL)
            .build();
        Self {
            directory,
            checker,
            credentials,
        }
    }

    /// Checks a log-in: an address of an account, and its password. Takes as long for users who do
    /// not exist.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &Secret,
    ) -> Result<Authenticated, AuthError> {
        let Some((authenticated, credential)) = self.find(login).await? else {
            self.checker.check_nobody(password).await?;
            return Err(AuthError::Rejected);
        };
        match self
            .checker
            .check(authenticated.account, &credential, password)
            .await?
        {
            Verdict::Right => Ok(authenticated),
            Verdict::Wrong => Err(AuthError::Rejected),
        }
    }

    /// The account of a log-in name; `None` if there is none.
    async fn find(&self, login: &str) -> Result<Option<(Authenticated, Credential)>, AuthError> {
        let Ok(address) = login.parse::<EmailAddress>() else {
            return Ok(None);
        };
        let found = self.directory.address(&address).await?;
        let Some(Entry::Account(entry)) = &found.entry else {
            return Ok(None);
        };
        match entry.state() {
            AccountState::Active => {}
            AccountState::Creating => {
                return Err(AuthError::Unavailable(
                    "the account is being made".to_owned(),
                ));
            }
            AccountState::Removing | AccountState::Unspecified => return Ok(None),
        }
        let (account, shard) = (AccountId::new(entry.account), ShardId::new(entry.shard));
        let address = entry.address.parse().unwrap_or(address);
        let credential = self.credential(account, shard).await?;
        let authenticated = Authenticated {
            account,
            shard,
            address,
        };
        Ok(credential.map(|credential| (authenticated, credential)))
    }

    /// The account's credential, at most 1 s old; `None` if the account is gone or has none.
    async fn credential(
        &self,
        account: AccountId,
        shard: ShardId,
    ) -> Result<Option<Credential>, AuthError> {
        if let Some(credential) = self.credentials.get(&account) {
            return Ok(Some(credential));
        }
        let request = GetCredentialRequest {
            account: Some(Account::on(account, shard)),
        };
        let credential = match self.directory.store().get_credential(request).await {
            Ok(found) => found.credential,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(credential) = &credential {
            self.credentials.insert(account, credential.clone());
        }
        Ok(credential)
    }
}
