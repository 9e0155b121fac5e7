//! The account whose mail is written or filed, and its mailboxes.

use postino_client::{Channels, StoreClient, StoreClientConfig};
use postino_config::GrpcConfig;
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{
    Account, AccountState, ListMailboxesRequest, LookupRequest, MailboxState,
};
use postino_types::{AccountId, EmailAddress, ShardId};

use crate::admin::AdminError;
use crate::cli::Target;

/// An account, and the store that keeps it.
pub(super) struct MailAccount {
    pub(super) store: StoreClient,
    pub(super) address: EmailAddress,
    pub(super) account: Account,
}

impl MailAccount {
    /// Finds the account with this address.
    pub(super) async fn find(target: &Target, address: &str) -> Result<Self, AdminError> {
        let wrong = |why: &str| AdminError::Input(format!("{address}: {why}"));
        let parsed: EmailAddress = address
            .parse()
            .map_err(|error: postino_types::AddressError| wrong(&error.to_string()))?;
        let config = StoreClientConfig {
            endpoints: vec![target.endpoint()?],
            ..StoreClientConfig::default()
        };
        let store = StoreClient::new(config, Channels::new(GrpcConfig::default()));
        let request = LookupRequest {
            address: parsed.folded(),
        };
        match store.lookup(request).await?.entry {
            Some(Entry::Account(entry)) if entry.state() == AccountState::Active => Ok(Self {
                store,
                address: parsed,
                account: Account::on(AccountId::new(entry.account), ShardId::new(entry.shard)),
            }),
            Some(Entry::Account(_)) => Err(wrong("the account is being made or removed")),
            Some(Entry::Alias(_)) => Err(wrong("an alias; name the account that it leads to")),
            None => Err(wrong("there is no such account")),
        }
    }

    /// Its mailboxes.
    pub(super) async fn mailboxes(&self) -> Result<Vec<MailboxState>, AdminError> {
        let request = ListMailboxesRequest {
            account: Some(self.account),
            subscriptions: false,
        };
        Ok(self.store.list_mailboxes(request).await?.mailboxes)
    }
}
